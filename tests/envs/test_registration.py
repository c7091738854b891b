import subprocess
import sys

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from stable_baselines3.common.env_checker import check_env as stable_baselines3_check_env

import envs

pytestmark = [
    # Said of every environment made by wrappers.
    pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version"),
]


@pytest.fixture(autouse=True)
def _no_screen_nor_loudspeaker(monkeypatch):
    # The check renders in every mode, "human" included.
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")


def conforms(name):
    env = gym.make(f"cartridge/{name}-v0")
    gymnasium_check_env(env)
    stable_baselines3_check_env(env)
    env.close()


@pytest.mark.parametrize("name", ["Catch", "Breakout", "Pong"])
def test_an_environment_conforms_to_gymnasium_and_stable_baselines3(name):
    conforms(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", envs.ATARI_GAMES)
def test_every_game_conforms_to_gymnasium_and_stable_baselines3(name):
    conforms(name)


def test_everything_is_registered_under_cartridge():
    registered = {spec.name for spec in gym.registry.values() if spec.namespace == "cartridge"}
    assert registered == {*envs.ATARI_GAMES, "Catch"}


def test_gymnasium_imports_the_package_named_before_the_colon():
    program = "import gymnasium; print(gymnasium.make('envs:cartridge/Catch-v0').reset(seed=0)[0].shape)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "(1, 84, 84)\n"


def test_make_and_make_vec_take_the_rules_of_play():
    env = gym.make("cartridge/Pong-v0", stack=2, frame_size=42, full_action_space=True)
    assert env.observation_space.shape == (2, 42, 42)
    assert env.action_space.n == 18
    vector = gym.make_vec("cartridge/Pong-v0", num_envs=3, frame_size=42, num_threads=1, seed=1)
    assert isinstance(vector, envs.SeededEpisodes)
    assert vector.observation_space.shape == (3, 1, 42, 42)
    catch = gym.make_vec("cartridge/Catch-v0", num_envs=3, frame_size=24, num_balls=2, seed=1)
    assert catch.observation_space.shape == (3, 1, 24, 24)


def test_an_environment_is_made_again_from_its_spec():
    env = gym.make("cartridge/Pong-v0", stack=2)
    assert str(gym.make(env.spec)) == str(env)
