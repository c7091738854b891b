"""The variational autoencoder (Kingma and Welling 2014), and beta-VAE (Higgins et al. 2017).

With q(z | x) = N(mean, diag(variance)) from the encoder's features, z drawn from it, and y = decoder(z):

    loss = mean over the batch of  sum over pixels of (x - y)^2 / (2 s^2)  +  beta * sum over z of KL(q || N(0, 1))

which for beta = 1 is the negative ELBO of Gaussian pixels of deviation s, up to a constant.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from .decoder import ConvDecoder
from .encoders import Encoder
from .frames.frame_batch import FrameBatch
from .gaussian_posterior import GaussianPosterior, Posterior
from .images import as_pixels, side_by_side
from .method import MethodOutput, check_batch
from .reconstruction import PixelWeights, equal_weights, gaussian_error, motion_metrics
from .views.drawing import draw_normal


@dataclass(frozen=True, kw_only=True)
class VAEConfig:
    """The loss and the sizes; beta above 1 is beta-VAE."""

    beta: float = 1.0
    pixel_deviation: float = 1.0
    latent_dim: int = 64
    decoder_width: int = 32

    def __post_init__(self) -> None:
        if self.beta < 0:
            raise ValueError(f"beta must be at least 0, got {self.beta}")
        if self.pixel_deviation <= 0:
            raise ValueError(f"pixel_deviation must be positive, got {self.pixel_deviation}")


class VAE(nn.Module):
    """Rebuilds stacks from a Gaussian latent vector that is kept near the standard normal distribution."""

    encoder: Encoder

    def __init__(self, encoder: Encoder, config: VAEConfig, *, pixel_weights: PixelWeights = equal_weights) -> None:
        """Builds posterior and decoder; `pixel_weights` say which pixels' errors count for more."""
        super().__init__()
        self.time_offsets = (0,)
        self.encoder = encoder
        self.config = config
        self.posterior = GaussianPosterior(encoder.feature_dim, config.latent_dim)
        self.decoder = ConvDecoder(config.latent_dim, encoder.frame_shape, width=config.decoder_width)
        self._pixel_weights = pixel_weights

    def forward(self, batch: FrameBatch, generator: torch.Generator) -> MethodOutput:
        """Returns the negative ELBO of one sample of z per stack."""
        check_batch(batch, self.time_offsets)
        frames = batch.stacks[0]
        posterior = self.posterior(self.encoder(frames))
        reconstruction = self.decoder(posterior.sample(generator))
        errors = gaussian_error(
            reconstruction, frames, self._pixel_weights(frames), pixel_deviation=self.config.pixel_deviation
        )
        loss, metrics = negative_elbo(errors, posterior, beta=self.config.beta)
        return MethodOutput(loss, metrics | motion_metrics(reconstruction, frames))

    @torch.no_grad()
    def sample(self, num_samples: int, generator: torch.Generator) -> UInt8[Tensor, "n c h w"]:
        """Returns stacks of new frames, decoded from the prior."""
        latents = draw_normal((num_samples, self.config.latent_dim), generator).to(self.decoder.linear.weight)
        return as_pixels(self.decoder(latents))

    @torch.no_grad()
    def traverse(
        self, frames: UInt8[Tensor, "1 c h w"], dimension: int, values: Float[Tensor, " n"]
    ) -> UInt8[Tensor, "n c h w"]:
        """Returns what a stack becomes when one dimension of its latent mean takes each of these values.

        Raises:
            ValueError: there is no such dimension.
        """
        latents = traversal(self.posterior(self.encoder(frames)).mean, dimension, values)
        return as_pixels(self.decoder(latents))

    @torch.no_grad()
    def pictures(self, batch: FrameBatch, generator: torch.Generator) -> dict[str, UInt8[Tensor, "n colours h w"]]:
        """Returns reconstructions beside their stacks, samples, and traversals of the dimension used most."""
        frames = batch.stacks[0]
        posterior = self.posterior(self.encoder(frames))
        most_used = int(posterior.divergence().mean(dim=0).argmax())
        values = torch.linspace(-2, 2, 7, device=frames.device)
        return {
            "reconstructions": side_by_side(frames, as_pixels(self.decoder(posterior.mean))),
            "samples": self.sample(len(frames), generator)[:, -1:],
            "traversal": self.traverse(frames[:1], most_used, values)[:, -1:],
        }


def negative_elbo(errors: Float[Tensor, " b"], posterior: Posterior, *, beta: float) -> MethodOutput:
    """Returns the loss, its two parts, and how many dimensions of z say anything: a divergence above 0.01 nats."""
    by_dimension = posterior.divergence()
    divergence = by_dimension.sum(dim=1)
    metrics = {
        "reconstruction_error": errors.detach().mean(),
        "divergence_nats": divergence.detach().mean(),
        "active_dimensions": (by_dimension.detach().mean(dim=0) > 0.01).sum(),
    }
    return MethodOutput((errors + beta * divergence).mean(), metrics)


def traversal(mean: Float[Tensor, "1 z"], dimension: int, values: Float[Tensor, " n"]) -> Float[Tensor, "n z"]:
    """Returns copies of a latent vector that differ in one dimension; raises ValueError where it has no such one."""
    if not 0 <= dimension < mean.shape[1]:
        raise ValueError(f"dimension must lie between 0 and {mean.shape[1] - 1}, got {dimension}")
    latents = mean.repeat(len(values), 1)
    latents[:, dimension] = values.to(latents)
    return latents
