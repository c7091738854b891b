import numpy as np

from agents.frame_stacker import FrameStacker


def frames(*values):
    """One 1x2x3 frame per environment, filled with a number."""
    return np.array(values, np.uint8)[:, None, None, None] * np.ones((1, 1, 2, 3), np.uint8)


def test_a_stack_begins_with_its_first_frame_repeated_and_then_rolls():
    stacker = FrameStacker(2, (1, 2, 3), 3)
    assert stacker.reset(frames(1, 11))[:, :, 0, 0].tolist() == [[1, 1, 1], [11, 11, 11]]
    none = np.zeros(2, bool)
    stacker.push(frames(2, 12), none)
    assert stacker.push(frames(3, 13), none)[:, :, 0, 0].tolist() == [[1, 2, 3], [11, 12, 13]]


def test_a_new_episode_shows_nothing_of_the_old_one():
    stacker = FrameStacker(2, (1, 2, 3), 3)
    stacker.reset(frames(1, 11))
    stacks = stacker.push(frames(2, 20), np.array([False, True]))
    assert stacks[:, :, 0, 0].tolist() == [[1, 1, 2], [20, 20, 20]]


def test_the_channels_of_a_frame_stay_together():
    stacker = FrameStacker(1, (2, 1, 1), 2)
    stacker.reset(np.array([[[[1]], [[2]]]], np.uint8))
    stacks = stacker.push(np.array([[[[3]], [[4]]]], np.uint8), np.zeros(1, bool))
    assert stacks[0, :, 0, 0].tolist() == [1, 2, 3, 4]
