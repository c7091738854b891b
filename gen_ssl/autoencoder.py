"""A plain autoencoder: frames are to be rebuilt from a short vector.

loss = mean over the batch of the sum over pixels of w (x - y)^2 / 2,   y = decoder(linear(encoder(x)))
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from .decoder import ConvDecoder
from .encoders import Encoder
from .frames.frame_batch import FrameBatch
from .images import as_pixels, side_by_side
from .method import MethodOutput, check_batch
from .reconstruction import PixelWeights, equal_weights, gaussian_error, motion_metrics


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """The sizes of the bottleneck and of the decoder."""

    latent_dim: int = 64
    decoder_width: int = 32


class Autoencoder(nn.Module):
    """Rebuilds stacks from a linear bottleneck on the encoder's features."""

    encoder: Encoder

    def __init__(
        self, encoder: Encoder, config: AutoencoderConfig, *, pixel_weights: PixelWeights = equal_weights
    ) -> None:
        """Builds bottleneck and decoder; `pixel_weights` say which pixels' errors count for more."""
        super().__init__()
        self.time_offsets = (0,)
        self.encoder = encoder
        self.config = config
        self.bottleneck = nn.Linear(encoder.feature_dim, config.latent_dim)
        self.decoder = ConvDecoder(config.latent_dim, encoder.frame_shape, width=config.decoder_width)
        self._pixel_weights = pixel_weights

    def forward(self, batch: FrameBatch, generator: torch.Generator) -> MethodOutput:
        """Returns the error of the reconstruction; nothing is drawn from the generator."""
        check_batch(batch, self.time_offsets)
        frames = batch.stacks[0]
        reconstruction = self.reconstruct(frames)
        errors = gaussian_error(reconstruction, frames, self._pixel_weights(frames), pixel_deviation=1.0)
        return MethodOutput(errors.mean(), motion_metrics(reconstruction, frames))

    def reconstruct(self, frames: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Returns the frames as they are rebuilt, from 0 to 1."""
        pixels: Tensor = self.decoder(self.bottleneck(self.encoder(frames)))
        return pixels

    @torch.no_grad()
    def pictures(self, batch: FrameBatch, generator: torch.Generator) -> dict[str, UInt8[Tensor, "n colours h w"]]:
        """Returns stacks and their reconstructions, side by side."""
        frames = batch.stacks[0]
        return {"reconstructions": side_by_side(frames, as_pixels(self.reconstruct(frames)))}
