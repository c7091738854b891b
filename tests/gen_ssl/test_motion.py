import numpy as np
import pytest
import torch

from gen_ssl.motion import MotionWeights, moving_pixels


def test_pixels_move_where_they_differ_from_the_frame_before_and_the_oldest_from_the_one_after():
    frames = torch.zeros((1, 3, 2, 3), dtype=torch.uint8)
    frames[0, 1, 0, 0] = 5
    frames[0, 2, 1, 2] = 7
    expected = torch.zeros((1, 3, 2, 3))
    expected[0, 0, 0, 0] = 1  # as in the next frame
    expected[0, 1, 0, 0] = 1
    expected[0, 2, 0, 0] = 1  # back to 0
    expected[0, 2, 1, 2] = 1
    assert torch.equal(moving_pixels(frames), expected)


def test_weights_follow_their_formula_and_average_to_one():
    frames = torch.randint(0, 2, (5, 3, 7, 11), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    moving = moving_pixels(frames).numpy()
    expected = 1 + 13 * moving
    expected /= expected.mean(axis=(1, 2, 3), keepdims=True)
    weights = MotionWeights(13.0)(frames)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    np.testing.assert_allclose(weights.mean(dim=(1, 2, 3)), np.ones(5), rtol=1e-6)


def test_where_nothing_moves_all_pixels_count_alike():
    assert torch.equal(MotionWeights()(torch.full((2, 3, 5, 7), 9, dtype=torch.uint8)), torch.ones(2, 3, 5, 7))


def test_motion_in_single_frames_and_negative_emphasis_are_refused():
    with pytest.raises(ValueError, match="motion shows in stacks of at least 2 frames, got 1"):
        MotionWeights()(torch.zeros((2, 1, 5, 7), dtype=torch.uint8))
    with pytest.raises(ValueError, match="emphasis must be at least 0, got -1.0"):
        MotionWeights(-1.0)
