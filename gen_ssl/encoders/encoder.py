"""What every encoder here offers."""

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, UInt8
from torch import Tensor


@runtime_checkable
class Encoder(Protocol):
    """Turns frames into vectors; owns the scaling of pixels; can be saved without a pickle.

    Each is also an `nn.Module` without BatchNorm, which would couple the samples of a batch and move when frozen.
    """

    frame_shape: tuple[int, int, int]
    """(channels, height, width) of the frames; a stack of frames counts as channels."""
    feature_dim: int
    """Length of the vectors."""

    def __call__(self, frames: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b feature_dim"]:
        """Returns one vector per frame or stack of frames."""
        ...

    def from_pixels(self, pixels: Float[Tensor, "b c h w"]) -> Float[Tensor, "b feature_dim"]:
        """Returns the vectors of pixels that are numbers from 0 to 1 already, with gradients for them."""
        ...

    def spatial_features(self, frames: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b f y x"]:
        """Returns the last map of features before positions are mixed."""
        ...

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Writes the encoder as a folder that `load_encoder` reads."""
        ...


@runtime_checkable
class EncodesInOnePass(Protocol):
    """What an encoder may offer besides: vectors and maps of the same frames for the price of one of them."""

    def features_and_map(
        self, frames: UInt8[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b feature_dim"], Float[Tensor, "b f y x"]]:
        """Returns the vectors, and the maps of `spatial_features`."""
        ...


def features_and_map(
    encoder: Encoder, frames: UInt8[Tensor, "b c h w"]
) -> tuple[Float[Tensor, "b feature_dim"], Float[Tensor, "b f y x"]]:
    """Returns an encoder's vectors and maps of the same frames."""
    if isinstance(encoder, EncodesInOnePass):
        return encoder.features_and_map(frames)
    return encoder(frames), encoder.spatial_features(frames)
