import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from gen_ssl.gaussian_posterior import GaussianPosterior, Posterior
from gen_ssl.vae import VAE, VAEConfig, traversal

CONFIG = VAEConfig(beta=1.0, pixel_deviation=0.3, latent_dim=5, decoder_width=2)


def divergence_of_the_paper(mean, log_variance):
    """Kingma and Welling 2014, appendix B: -D_KL = 1/2 sum of (1 + ln s^2 - m^2 - s^2)."""
    return -sum(0.5 * (1 + lv - m**2 - math.exp(lv)) for m, lv in zip(mean, log_variance, strict=True))


def test_the_divergence_and_its_gradient_are_those_of_the_paper(slopes):
    moments = np.random.default_rng(0).normal(size=(2, 3, 5))
    mean, log_variance = (torch.from_numpy(part).requires_grad_() for part in moments)
    ours = Posterior(mean, log_variance).divergence().sum(dim=1)
    expected = [divergence_of_the_paper(*pair) for pair in zip(*moments, strict=True)]
    np.testing.assert_allclose(ours.detach(), expected, atol=1e-6)
    ours.sum().backward()
    wanted = slopes(lambda moved: sum(divergence_of_the_paper(*pair) for pair in zip(*moved, strict=True)), moments)
    np.testing.assert_allclose(np.stack([mean.grad, log_variance.grad]), wanted, atol=1e-5)


def test_the_divergence_is_the_integral_that_defines_it():
    mean, deviation = 0.7, 0.4
    posterior = norm(mean, deviation)
    integral, _ = quad(lambda z: posterior.pdf(z) * (posterior.logpdf(z) - norm.logpdf(z)), -4, 5)
    ours = Posterior(torch.tensor([[mean]]), torch.tensor([[2 * math.log(deviation)]])).divergence()
    assert float(ours) == pytest.approx(integral, abs=1e-6)


def test_samples_have_the_mean_and_the_deviation_and_pass_gradients_on():
    mean, log_variance = torch.tensor([[2.0, -1.0]]), torch.tensor([[0.0, 2 * math.log(3.0)]])
    mean.requires_grad_()
    log_variance.requires_grad_()
    many = Posterior(mean.expand(40_000, -1), log_variance.expand(40_000, -1))
    samples = many.sample(torch.Generator().manual_seed(0))
    torch.testing.assert_close(samples.mean(dim=0), torch.tensor([2.0, -1.0]), atol=0.06, rtol=0)
    torch.testing.assert_close(samples.std(dim=0), torch.tensor([1.0, 3.0]), atol=0.06, rtol=0)
    samples.square().mean(dim=0).sum().backward()  # mean^2 + variance
    torch.testing.assert_close(mean.grad, torch.tensor([[4.0, -2.0]]), atol=0.1, rtol=0)
    torch.testing.assert_close(log_variance.grad, torch.tensor([[1.0, 9.0]]), atol=0.3, rtol=0)


def negative_elbo(method, frames, noise, beta):
    """The whole loss in NumPy from what encoder, posterior and decoder say."""
    posterior = method.posterior(method.encoder(frames))
    mean, log_variance = (part.detach().numpy() for part in posterior)
    latents = mean + np.exp(log_variance / 2) * noise
    decoded = method.decoder(torch.from_numpy(latents)).detach().numpy()
    losses = []
    for sample in range(len(frames)):
        squares = ((frames[sample].numpy() / 255 - decoded[sample]) ** 2).sum()
        divergence = divergence_of_the_paper(mean[sample], log_variance[sample])
        losses.append(squares / (2 * method.config.pixel_deviation**2) + beta * divergence)
    return np.mean(losses)


@pytest.mark.parametrize("beta", [1.0, 4.0, 0.0])
def test_a_step_is_the_negative_elbo_summed_over_dimensions_and_averaged_over_the_batch(
    make_encoder, make_batch, generator, beta
):
    method = VAE(make_encoder(), VAEConfig(beta=beta, pixel_deviation=0.3, latent_dim=5, decoder_width=2)).double()
    batch = make_batch()
    noise = torch.randn((5, 5), generator=torch.Generator().manual_seed(0)).double().numpy()
    output = method(batch, generator)
    assert output.loss.item() == pytest.approx(negative_elbo(method, batch.stacks[0], noise, beta), rel=1e-6)
    metrics = output.metrics
    assert output.loss.item() == pytest.approx(
        float(metrics["reconstruction_error"] + beta * metrics["divergence_nats"]), rel=1e-6
    )


def test_dimensions_that_say_nothing_are_not_active(make_encoder, make_batch, generator):
    method = VAE(make_encoder(), CONFIG).double()
    with torch.no_grad():
        for layer in (method.posterior.mean, method.posterior.log_variance):
            layer.weight.zero_()
            layer.bias.zero_()
        method.posterior.mean.bias[[1, 4]] = 1.0
    assert method(make_batch(), generator).metrics["active_dimensions"] == 2


def test_moments_are_in_float32_at_least():
    posterior = GaussianPosterior(3, 2).bfloat16()(torch.ones(5, 3, dtype=torch.bfloat16))
    assert posterior.mean.dtype == posterior.log_variance.dtype == torch.float32


def test_samples_come_from_the_prior_and_the_generator_alone(make_encoder, generator):
    method = VAE(make_encoder(), CONFIG).double()
    samples = method.sample(7, generator)
    assert samples.shape == (7, 3, 29, 37)
    latents = torch.randn((7, 5), generator=torch.Generator().manual_seed(0)).double()
    expected = (255 * method.decoder(latents)).round().to(torch.uint8)
    assert torch.equal(samples, expected)


def test_a_traversal_changes_one_dimension_only():
    mean = torch.tensor([[1.0, 2.0, 3.0]])
    assert traversal(mean, 1, torch.tensor([-1.0, 0.5])).tolist() == [[1, -1, 3], [1, 0.5, 3]]
    assert mean.tolist() == [[1, 2, 3]]


def test_the_traversal_of_a_stack_passes_through_its_own_reconstruction(make_encoder, make_batch):
    method = VAE(make_encoder(), CONFIG).double()
    frames = make_batch().stacks[0, :1]
    own = method.posterior(method.encoder(frames)).mean
    values = torch.stack([own[0, 3], own[0, 3] + 1]).detach()
    pictures = method.traverse(frames, 3, values)
    assert torch.equal(pictures[:1], (255 * method.decoder(own)).round().to(torch.uint8))


def test_reconstructions_samples_and_a_traversal_can_be_seen(make_encoder, make_batch, generator):
    pictures = VAE(make_encoder(), CONFIG).double().pictures(make_batch(), generator)
    assert {name: tuple(images.shape) for name, images in pictures.items()} == {
        "reconstructions": (5, 1, 29, 74),
        "samples": (5, 1, 29, 37),
        "traversal": (7, 1, 29, 37),
    }


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="beta must be at least 0, got -1.0"):
        VAEConfig(beta=-1.0)
    with pytest.raises(ValueError, match="pixel_deviation must be positive, got 0.0"):
        VAEConfig(pixel_deviation=0.0)
    with pytest.raises(ValueError, match="dimension must lie between 0 and 2, got 3"):
        traversal(torch.zeros(1, 3), 3, torch.zeros(1))
