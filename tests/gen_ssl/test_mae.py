import math

import numpy as np
import pytest
import torch

from gen_ssl.encoders import ViT
from gen_ssl.mae import MAE, MAEConfig, masked_error, normalised_patches
from gen_ssl.patch_masks import patches_of

FRAME_SHAPE = (3, 10, 15)
SIDE = 5
CONFIG = MAEConfig(mask_ratio=0.5, decoder_dim=8, decoder_depth=1, decoder_heads=2)


def make_method(config=CONFIG, **parts):
    torch.manual_seed(0)
    encoder = ViT(FRAME_SHAPE, patch_size=SIDE, embed_dim=12, depth=2, num_heads=3)
    return MAE(encoder, config, **parts).double()


def targets_of_the_paper(pixels, epsilon):
    """He et al. 2022, section 3, and the paper's code: every patch less its mean, over its unbiased deviation."""
    patches = patches_of(torch.from_numpy(pixels), SIDE).numpy()
    targets = np.empty_like(patches)
    for sample, index in np.ndindex(patches.shape[:2]):
        patch = patches[sample, index]
        variance = sum((x - patch.mean()) ** 2 for x in patch) / (len(patch) - 1)
        targets[sample, index] = (patch - patch.mean()) / math.sqrt(variance + epsilon)
    return targets


def error_of_the_paper(predictions, targets, masked):
    mask = np.zeros(predictions.shape[:2])
    for sample, indices in enumerate(masked):
        mask[sample, indices] = 1
    return (((predictions - targets) ** 2).mean(axis=2) * mask).sum() / mask.sum()


@pytest.mark.parametrize("epsilon", [1e-6, (1 / 255) ** 2])
def test_the_target_is_the_normalised_patch_of_the_paper(epsilon):
    pixels = np.random.default_rng(0).uniform(size=(2, *FRAME_SHAPE))
    ours = normalised_patches(torch.from_numpy(pixels), SIDE, epsilon)
    np.testing.assert_allclose(ours, targets_of_the_paper(pixels, epsilon), atol=1e-6)


def test_error_and_gradient_are_those_of_the_paper(slopes):
    predictions, targets = np.random.default_rng(0).normal(size=(2, 2, 6, 5))
    masked = np.array([[4, 0, 2], [1, 5, 3]])
    ours = torch.from_numpy(predictions).requires_grad_()
    error = masked_error(ours, torch.from_numpy(targets), torch.from_numpy(masked))
    assert float(error.detach()) == pytest.approx(error_of_the_paper(predictions, targets, masked), abs=1e-6)
    error.backward()
    expected = slopes(lambda moved: error_of_the_paper(moved, targets, masked), predictions)
    np.testing.assert_allclose(ours.grad, expected, atol=1e-5)


def test_no_gradient_reaches_the_targets():
    predictions, targets = (torch.ones(1, 2, 3, requires_grad=True) for _ in range(2))
    masked_error(predictions, targets, torch.tensor([[0]])).backward()
    assert targets.grad is None
    assert predictions.grad is not None


def test_targets_of_flat_patches_are_zero_and_a_grey_level_of_noise_stays_small():
    frames = torch.full((1, *FRAME_SHAPE), 87 / 255)
    assert normalised_patches(frames, SIDE, CONFIG.epsilon).abs().max() < 1e-3
    frames[0, 0, 0, 0] += 1 / 255  # the paper's epsilon makes 3.5 of it, as much as of a sprite
    assert normalised_patches(frames, SIDE, 1e-6).abs().max() > 3
    assert normalised_patches(frames, SIDE, CONFIG.epsilon).abs().max() < 1


def scores_that_mask(indices):
    def scores(frames, patch_size, generator):
        values = torch.zeros((len(frames), 6))
        values[:, indices] = 1
        return values

    return scores


def test_the_encoder_does_not_see_masked_pixels(make_batch, generator):
    method = make_method(scores=scores_that_mask([0, 2, 4]))
    batch = make_batch(frame_shape=FRAME_SHAPE)
    kept, masked = method._split(batch.stacks[0], generator)
    assert sorted(masked[0].tolist()) == [0, 2, 4]
    tokens = method.encoder.forward_tokens(batch.stacks[0], kept)
    changed = batch.stacks[0].clone()
    changed[:, :, :5, :5] = 0  # patch 0
    torch.testing.assert_close(method.encoder.forward_tokens(changed, kept), tokens)
    changed[:, :, :5, 5:10] = 0  # patch 1
    assert not torch.allclose(method.encoder.forward_tokens(changed, kept), tokens)


def test_predictions_stand_at_their_patches_whatever_the_order_of_the_tokens(make_batch):
    method = make_method()
    frames = make_batch(frame_shape=FRAME_SHAPE).stacks[0]
    orders = [([5, 0, 3], [1, 2, 4]), ([3, 5, 0], [4, 1, 2])]
    predictions = []
    for kept, masked in orders:
        kept, masked = (torch.tensor([indices]).expand(5, -1) for indices in (kept, masked))
        predictions.append(method._decode(method.encoder.forward_tokens(frames, kept), kept, masked))
    torch.testing.assert_close(*predictions)


def test_a_step_scores_the_masked_patches_only(make_batch, generator):
    masked = np.tile([0, 2, 4], (5, 1))
    method = make_method(scores=scores_that_mask([0, 2, 4]))
    batch = make_batch(frame_shape=FRAME_SHAPE)
    output = method(batch, generator)
    kept, hidden = (torch.tensor([indices]).expand(5, -1) for indices in ([1, 3, 5], [0, 2, 4]))
    predictions = method._decode(method.encoder.forward_tokens(batch.stacks[0], kept), kept, hidden)
    targets = targets_of_the_paper(batch.stacks[0].numpy() / 255, CONFIG.epsilon)
    expected = error_of_the_paper(predictions.detach().numpy(), targets, masked)
    assert output.loss.item() == pytest.approx(expected, abs=1e-6)


def test_a_perfect_prediction_is_shown_as_the_frame_itself(make_batch, generator):
    # The class that decodes is not replaced: its last layer is set to say what the target is.
    batch = make_batch(frame_shape=FRAME_SHAPE, batch_size=1)
    method = make_method(scores=scores_that_mask([2]), config=MAEConfig(mask_ratio=0.1, decoder_dim=8, decoder_heads=2))
    target = normalised_patches(batch.stacks[0].double() / 255, SIDE, CONFIG.epsilon)[0, 2]
    with torch.no_grad():
        method.predict.weight.zero_()
        method.predict.bias.copy_(target)
    shown = method.pictures(batch, generator)["masked_and_reconstructed"]
    frame, seen, filled = shown.split(15, dim=3)
    assert torch.equal(frame, batch.stacks[0][:, -1:])
    assert torch.equal(filled, frame)
    assert (seen[..., :5, 10:] == 0).all()
    assert torch.equal(seen[..., :, :10], frame[..., :, :10])


def test_other_encoders_and_impossible_masks_are_refused(make_encoder):
    with pytest.raises(ValueError, match="a masked autoencoder needs a ViT, .* got a DQN2013CNN"):
        MAE(make_encoder(), CONFIG)
    with pytest.raises(ValueError, match="mask_ratio must leave at least 1 of 6 patches .* got 0.9, which leaves 0"):
        make_method(MAEConfig(mask_ratio=0.9))
    for arguments, message in (
        ({"mask_ratio": 1.0}, "mask_ratio must lie between 0 and 1, got 1.0"),
        ({"epsilon": 0.0}, "epsilon must be positive, got 0.0"),
        ({"decoder_depth": 0}, "decoder_depth must be at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            MAEConfig(**arguments)
