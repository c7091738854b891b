import ale_py
import numpy as np
import pytest

from envs import Catch
from envs.wrappers import NoopStart


def atari(game, obs_type="rgb"):
    return ale_py.AtariEnv(game, frameskip=1, repeat_action_probability=0.0, obs_type=obs_type)


@pytest.mark.parametrize("game", ["pong", "backgammon"])  # the second is played without the action NOOP
def test_an_episode_starts_after_zero_to_max_frames_idle_frames(game):
    env = NoopStart(atari(game), max_frames=4)
    before = atari(game).reset()[1]["episode_frame_number"]  # the console's own start takes some in Backgammon
    env.reset(seed=0)
    assert {env.reset()[1]["episode_frame_number"] - before for _ in range(60)} == {0, 1, 2, 3, 4}


def test_frames_that_the_reset_already_took_are_counted():
    env = NoopStart(atari("pong"), max_frames=4, frames_taken=3)
    env.reset(seed=0)
    assert {env.reset()[1]["episode_frame_number"] for _ in range(60)} == {0, 1}


@pytest.mark.parametrize("obs_type", ["rgb", "grayscale", "ram"])
def test_the_first_observation_is_the_one_after_the_idle_frames(obs_type):
    env, plain = NoopStart(atari("freeway", obs_type), max_frames=30), atari("freeway", obs_type)
    observation, info = env.reset(seed=3)
    expected = plain.reset(seed=3)[0]
    for _ in range(info["episode_frame_number"]):
        expected = plain.step(0)[0]
    assert info["episode_frame_number"] > 0
    assert "seeds" in info  # what the reset itself said is kept
    np.testing.assert_array_equal(observation, expected)


def test_a_game_that_ends_while_idle_is_started_again():
    env = NoopStart(atari("assault"), max_frames=1400)  # ends after 642 idle frames
    env.reset(seed=0)
    frames = [env.reset()[1]["frame_number"] - env.unwrapped.ale.getEpisodeFrameNumber() for _ in range(6)]
    assert not env.unwrapped.ale.game_over()
    # Frames that belong to games which ended in the start-up.
    assert max(np.diff(frames)) >= 642


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="max_frames must be at least 0, got -1"):
        NoopStart(atari("pong"), max_frames=-1)
    with pytest.raises(ValueError, match="NoopStart needs an ale_py.AtariEnv, got Catch"):
        NoopStart(Catch(), max_frames=3)
