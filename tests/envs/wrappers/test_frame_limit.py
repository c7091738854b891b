import pytest

from envs import Catch
from envs.wrappers import FrameLimit

# A game of Catch with one ball ends by itself at its eleventh step.


def ends(env):
    env.reset(seed=0)
    steps = [env.step(0)[2:4]]
    while not any(steps[-1]):
        steps.append(env.step(0)[2:4])
    return len(steps), *steps[-1]


@pytest.mark.parametrize(
    ("max_frames", "expected"), [(1, (1, False, True)), (10, (10, False, True)), (12, (11, True, False))]
)
def test_an_episode_is_truncated_at_the_limit(max_frames, expected):
    assert ends(FrameLimit(Catch(), max_frames=max_frames)) == expected


def test_an_episode_that_truly_ends_at_the_limit_is_terminated_and_not_truncated():
    assert ends(FrameLimit(Catch(), max_frames=11)) == (11, True, False)


def test_every_episode_has_its_own_limit():
    env = FrameLimit(Catch(), max_frames=4)
    assert ends(env) == ends(env) == (4, False, True)


def test_a_limit_below_one_is_refused():
    with pytest.raises(ValueError, match="max_frames must be at least 1, got 0"):
        FrameLimit(Catch(), max_frames=0)
