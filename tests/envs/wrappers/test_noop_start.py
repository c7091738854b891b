import ale_py
import gymnasium as gym
import numpy as np
import pytest

from envs import Catch
from envs.wrappers import NoopStart


def pong():
    return ale_py.AtariEnv("pong", frameskip=1, repeat_action_probability=0.0)


def test_an_episode_starts_after_zero_to_max_steps_idle_frames():
    env = NoopStart(pong(), max_steps=4)
    env.reset(seed=0)
    assert {env.reset()[1]["episode_frame_number"] for _ in range(60)} == {0, 1, 2, 3, 4}


def test_steps_that_the_reset_already_took_are_counted():
    env = NoopStart(pong(), max_steps=4, steps_taken=3)
    env.reset(seed=0)
    assert {env.reset()[1]["episode_frame_number"] for _ in range(60)} == {0, 1}


def test_the_first_frame_is_the_one_after_the_idle_frames():
    env, plain = NoopStart(pong(), max_steps=30), pong()
    frame, info = env.reset(seed=3)
    expected = plain.reset(seed=3)[0]
    for _ in range(info["episode_frame_number"]):
        expected = plain.step(0)[0]
    assert info["episode_frame_number"] > 0
    np.testing.assert_array_equal(frame, expected)


def test_a_game_that_ends_while_idle_is_started_again():
    class NamedActions(gym.Wrapper):
        def get_action_meanings(self):
            return ["NOOP", "LEFT", "RIGHT"]

    env = NoopStart(NamedActions(Catch()), max_steps=100)  # a game lasts 11 steps
    for seed in range(20):
        env.reset(seed=seed)
        env.step(0)  # would fall out of the court if the last game were over


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="max_steps must be at least 0, got -1"):
        NoopStart(pong(), max_steps=-1)

    class NoIdleAction(gym.Wrapper):
        def get_action_meanings(self):
            return ["FIRE"]

    with pytest.raises(ValueError, match="needs an environment whose first action is NOOP, got FIRE"):
        NoopStart(NoIdleAction(Catch()), max_steps=3)
