"""An encoder as attribution methods want it: a function of numbers, not of bytes."""

from jaxtyping import Float
from torch import Tensor, nn

from .encoder import Encoder


class FeaturesOfPixels(nn.Module):
    """Takes pixels from 0 to 1, of which gradients can be asked; the encoder itself takes bytes, which have none.

    `captum.attr.GuidedBackprop(FeaturesOfPixels(encoder))` finds every ReLU of the encoder as a module of its own.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: Float[Tensor, "b c h w"]) -> Float[Tensor, "b feature_dim"]:
        """Returns the encoder's features."""
        return self.encoder.from_pixels(pixels)
