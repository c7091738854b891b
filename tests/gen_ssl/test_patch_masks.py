import numpy as np
import pytest
import torch

from gen_ssl.patch_masks import MotionScores, num_seen, patches_of, pixels_of, random_scores, split_patches

FRAME_SHAPE = (3, 10, 15)  # 2 x 3 patches of 5 pixels
SIDE = 5


def test_patches_are_cut_row_by_row_with_channels_last():
    pixels = np.random.default_rng(0).normal(size=(2, *FRAME_SHAPE))
    cut = np.stack(
        [
            [
                sample[:, 5 * row : 5 * row + 5, 5 * column : 5 * column + 5].transpose(1, 2, 0).ravel()
                for row in range(2)
                for column in range(3)
            ]
            for sample in pixels
        ]
    )
    patches = patches_of(torch.from_numpy(pixels), SIDE)
    np.testing.assert_array_equal(patches, cut)
    np.testing.assert_array_equal(pixels_of(patches, SIDE, FRAME_SHAPE), pixels)


def test_the_patches_of_the_largest_scores_are_masked():
    kept, masked = split_patches(torch.tensor([[0.3, 0.1, 0.9, 0.2], [0.0, 0.7, 0.1, 0.8]]), 3)
    assert kept.tolist() == [[1, 3, 0], [0, 2, 1]]
    assert masked.tolist() == [[2], [3]]


def test_random_masks_hide_every_patch_equally_often():
    frames = torch.zeros((6_000, *FRAME_SHAPE), dtype=torch.uint8)
    scores = random_scores(frames, SIDE, torch.Generator().manual_seed(0))
    _, masked = split_patches(scores, 2)
    counts = masked.flatten().bincount()
    assert counts.sum() == 4 * 6_000
    assert (counts - 4_000).abs().max() < 150  # a standard deviation of 37


def moving_frames(num_stacks):
    """Stacks in which patches 1 and 5 change, one in the oldest and one in the newest step."""
    frames = torch.zeros((num_stacks, *FRAME_SHAPE), dtype=torch.uint8)
    frames[:, 0, 3, 7] = 9
    frames[:, 2, 8, 12] = 9
    return frames


def test_full_emphasis_masks_everything_that_moves_first():
    scores = MotionScores(1.0)(moving_frames(50), SIDE, torch.Generator().manual_seed(0))
    _, masked = split_patches(scores, 4)
    assert torch.equal(masked.sort(dim=1).values, torch.tensor([[1, 5]]).expand(50, -1))


def test_half_emphasis_masks_what_moves_more_often_and_not_always():
    scores = MotionScores(0.5)(moving_frames(3_000), SIDE, torch.Generator().manual_seed(0))
    _, masked = split_patches(scores, 4)
    counts = masked.flatten().bincount(minlength=6)
    assert 1.5 * counts[[0, 2, 3, 4]].max() < counts[[1, 5]].min() < 3_000


def test_no_emphasis_is_a_random_mask():
    draws = [torch.Generator().manual_seed(0) for _ in range(2)]
    frames = moving_frames(3)
    assert torch.equal(MotionScores(0.0)(frames, SIDE, draws[0]), random_scores(frames, SIDE, draws[1]))


def test_motion_cannot_be_seen_in_single_frames():
    with pytest.raises(ValueError, match="motion shows in stacks of at least 2 frames, got 1"):
        MotionScores()(torch.zeros((2, 1, 10, 15), dtype=torch.uint8), SIDE, torch.Generator())
    with pytest.raises(ValueError, match="emphasis must lie between 0 and 1, got 2.0"):
        MotionScores(2.0)


@pytest.mark.parametrize(("ratio", "kept"), [(0.75, 9), (0.5, 18), (0.74, 9), (0.03, 34)])
def test_the_number_of_patches_that_are_seen_is_rounded_down(ratio, kept):
    assert num_seen(36, ratio) == kept


@pytest.mark.parametrize("ratio", [0.99, 0.0])
def test_a_mask_that_leaves_nothing_to_see_or_to_predict_is_refused(ratio):
    kept = {0.99: 0, 0.0: 36}[ratio]
    with pytest.raises(ValueError, match=f"at least 1 of 36 patches .* got {ratio}, which leaves {kept} to see"):
        num_seen(36, ratio)
