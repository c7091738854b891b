import numpy as np
import pytest
import torch

from gen_ssl.autoencoder import Autoencoder, AutoencoderConfig
from gen_ssl.motion import MotionWeights
from gen_ssl.reconstruction import equal_weights, gaussian_error, motion_metrics

CONFIG = AutoencoderConfig(latent_dim=3, decoder_width=2)


def error_of_one(reconstruction, frame, weights, deviation):
    """-ln of a product of Gaussians, without its constant."""
    return sum(
        weights[index] * (frame[index] / 255 - reconstruction[index]) ** 2 / (2 * deviation**2)
        for index in np.ndindex(frame.shape)
    )


def random_frames(shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_the_error_and_its_gradient_are_those_of_a_gaussian(slopes):
    frames = random_frames((2, 3, 2, 3))
    reconstruction, weights = np.random.default_rng(0).uniform(size=(2, 2, 3, 2, 3))
    ours = torch.from_numpy(reconstruction).requires_grad_()
    errors = gaussian_error(ours, frames, torch.from_numpy(weights), pixel_deviation=0.3)

    def expected(moved):
        return [error_of_one(*parts, 0.3) for parts in zip(moved, frames.numpy(), weights, strict=True)]

    np.testing.assert_allclose(errors.detach(), expected(reconstruction), atol=1e-6)
    errors.sum().backward()
    np.testing.assert_allclose(ours.grad, slopes(lambda moved: sum(expected(moved)), reconstruction), atol=1e-5)


def test_equal_weights_are_ones():
    assert torch.equal(equal_weights(random_frames((2, 1, 3, 5))), torch.ones(2, 1, 3, 5))


def test_the_error_of_moving_pixels_leaves_the_others_out():
    frames = torch.zeros((1, 2, 3, 5), dtype=torch.uint8)
    frames[0, 1, 2, 4] = 255  # moves, in both frames
    reconstruction = torch.full((1, 2, 3, 5), 0.5)
    reconstruction[0, :, 2, 4] = 0.2
    error = motion_metrics(reconstruction, frames)["moving_pixel_error"]
    assert float(error) == pytest.approx((0.2**2 + 0.8**2) / 2)
    assert motion_metrics(reconstruction[:, :1], frames[:, :1]) == {}  # no motion in single frames


@pytest.mark.parametrize("pixel_weights", [equal_weights, MotionWeights(7.0)])
def test_a_step_sums_over_pixels_and_averages_over_the_batch(make_encoder, make_batch, generator, pixel_weights):
    method = Autoencoder(make_encoder(), CONFIG, pixel_weights=pixel_weights).double()
    frames = make_batch().stacks[0]
    reconstructions = method.reconstruct(frames).detach().numpy()
    weights = pixel_weights(frames).double().numpy()
    squares = weights * (frames.numpy() / 255 - reconstructions) ** 2 / 2
    expected = squares.sum(axis=(1, 2, 3)).mean()
    assert method(make_batch(), generator).loss.item() == pytest.approx(expected, rel=1e-6)


def test_reconstructions_can_be_seen_beside_their_frames(make_encoder, make_batch, generator):
    method = Autoencoder(make_encoder(), CONFIG).double()
    batch = make_batch()
    frames, rebuilt = method.pictures(batch, generator)["reconstructions"].split(37, dim=3)
    assert torch.equal(frames, batch.stacks[0][:, -1:])
    expected = 255 * method.reconstruct(batch.stacks[0])[:, -1:].detach()
    assert (rebuilt - expected).abs().max() <= 0.51
