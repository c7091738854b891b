"""The conditional variational autoencoder (Sohn et al. 2015): posterior and decoder also know the game or the action.

    loss = mean over the batch of  sum over pixels of (x - y)^2 / (2 s^2)  +  beta * sum over z of KL(q || N(0, 1))

with q(z | x, c), y = decoder(z, c) and c one-hot; the prior of z does not depend on c. The encoder itself does not see
c, so what it learns can be used where c is unknown.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from .decoder import ConvDecoder
from .encoders import Encoder
from .frames.frame_batch import FrameBatch
from .gaussian_posterior import GaussianPosterior, Posterior
from .images import as_pixels, side_by_side
from .method import MethodOutput, check_batch
from .reconstruction import PixelWeights, equal_weights, gaussian_error, motion_metrics
from .vae import VAEConfig, negative_elbo, traversal
from .views.drawing import draw_normal

Condition = Literal["game", "action"]


@dataclass(frozen=True, kw_only=True)
class ConditionalVAEConfig:
    """What is known besides the frames, and the loss and sizes of the VAE."""

    condition: Condition = "game"
    vae: VAEConfig = field(default_factory=VAEConfig)

    def __post_init__(self) -> None:
        if self.condition not in ("game", "action"):
            raise ValueError(f"condition must be 'game' or 'action', got {self.condition!r}")


class ConditionalVAE(nn.Module):
    """Rebuilds stacks from a latent vector and a class that is given: what the class tells, z need not."""

    encoder: Encoder

    def __init__(
        self,
        encoder: Encoder,
        config: ConditionalVAEConfig,
        *,
        num_classes: int,
        pixel_weights: PixelWeights = equal_weights,
    ) -> None:
        """Builds posterior and decoder for `num_classes` games or actions."""
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        # The action that led to a stack, not the one chosen in sight of it, which of random play says nothing.
        self.time_offsets = (1,) if config.condition == "action" else (0,)
        self.encoder = encoder
        self.config = config
        self.num_classes = num_classes
        sizes = config.vae
        self.posterior = GaussianPosterior(encoder.feature_dim + num_classes, sizes.latent_dim)
        self.decoder = ConvDecoder(sizes.latent_dim + num_classes, encoder.frame_shape, width=sizes.decoder_width)
        self._pixel_weights = pixel_weights

    def forward(self, batch: FrameBatch, generator: torch.Generator) -> MethodOutput:
        """Returns the negative conditional ELBO of one sample of z per stack."""
        check_batch(batch, self.time_offsets)
        frames, classes = batch.stacks[0], self._classes(batch)
        posterior = self._posterior_of(frames, classes)
        reconstruction = self._decode(posterior.sample(generator), classes)
        errors = gaussian_error(
            reconstruction, frames, self._pixel_weights(frames), pixel_deviation=self.config.vae.pixel_deviation
        )
        loss, metrics = negative_elbo(errors, posterior, beta=self.config.vae.beta)
        return MethodOutput(loss, metrics | motion_metrics(reconstruction, frames))

    @torch.no_grad()
    def sample(self, classes: Int64[Tensor, " n"], generator: torch.Generator) -> UInt8[Tensor, "n c h w"]:
        """Returns stacks of new frames, one for each of these classes."""
        latents = draw_normal((len(classes), self.config.vae.latent_dim), generator)
        return as_pixels(self._decode(latents.to(self.decoder.linear.weight), classes))

    @torch.no_grad()
    def traverse(
        self, frames: UInt8[Tensor, "1 c h w"], classes: Int64[Tensor, "1"], dimension: int, values: Float[Tensor, " n"]
    ) -> UInt8[Tensor, "n c h w"]:
        """Returns what a stack becomes when one dimension of its latent mean takes each of these values.

        Raises:
            ValueError: there is no such dimension.
        """
        latents = traversal(self._posterior_of(frames, classes).mean, dimension, values)
        return as_pixels(self._decode(latents, classes.expand(len(latents))))

    @torch.no_grad()
    def pictures(self, batch: FrameBatch, generator: torch.Generator) -> dict[str, UInt8[Tensor, "n colours h w"]]:
        """Returns reconstructions beside their stacks, samples of the same classes, and a stack as each class."""
        frames, classes = batch.stacks[0], self._classes(batch)
        means = self._posterior_of(frames, classes).mean
        every_class = torch.arange(self.num_classes, device=frames.device)
        as_each = self._decode(means[:1].expand(self.num_classes, -1), every_class)
        return {
            "reconstructions": side_by_side(frames, as_pixels(self._decode(means, classes))),
            "samples": self.sample(classes, generator)[:, -1:],
            "as_each_class": as_pixels(as_each)[:, -1:],
        }

    def _classes(self, batch: FrameBatch) -> Int64[Tensor, " b"]:
        return batch.games if self.config.condition == "game" else batch.actions

    def _posterior_of(self, frames: UInt8[Tensor, "b c h w"], classes: Int64[Tensor, " b"]) -> Posterior:
        features = self.encoder(frames)
        posterior: Posterior = self.posterior(torch.cat([features, self._one_hot(classes, features)], dim=1))
        return posterior

    def _decode(self, latents: Float[Tensor, "b z"], classes: Int64[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
        pixels: Tensor = self.decoder(torch.cat([latents, self._one_hot(classes, latents)], dim=1))
        return pixels

    def _one_hot(self, classes: Int64[Tensor, " b"], like: Tensor) -> Float[Tensor, "b classes"]:
        # On the CPU, where looking costs nothing.
        if classes.device.type == "cpu" and len(classes) and int(classes.max()) >= self.num_classes:
            raise ValueError(
                f"this method was built for {self.num_classes} {self.config.condition}s, "
                f"got {self.config.condition} number {int(classes.max())}"
            )
        return nn.functional.one_hot(classes, self.num_classes).to(like)
