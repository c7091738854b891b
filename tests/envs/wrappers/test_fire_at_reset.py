import ale_py
import numpy as np
import pytest

from envs.wrappers import FireAtReset


def breakout():
    return ale_py.AtariEnv("breakout", frameskip=1, repeat_action_probability=0.0)


def test_an_episode_starts_with_one_frame_of_fire():
    plain, fired = breakout(), FireAtReset(breakout())
    plain.reset(seed=0)
    after_fire = plain.step(1)[0]
    frame, info = fired.reset(seed=0)
    np.testing.assert_array_equal(frame, after_fire)
    assert info["episode_frame_number"] == 1
    assert "seeds" in info  # what the reset itself said is kept


def test_a_game_without_fire_is_refused():
    with pytest.raises(ValueError, match=r"needs an environment with the action FIRE, got the actions \['NOOP'"):
        FireAtReset(ale_py.AtariEnv("freeway", frameskip=1))
