"""The deep network of Espeholt et al. 2018, "IMPALA", below the LSTM, with the width factor of later work."""

from pathlib import Path
from typing import Any

from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from .convolutions import halved_size
from .pixels import scale_pixels
from .saving import read_encoder, save_encoder

_CHANNELS = (16, 32, 32)  # Espeholt et al. 2018, figure 3, right


class ImpalaCNN(nn.Module, PyTorchModelHubMixin):
    """Encodes stacks of frames by three sections of a convolution, a max-pool and two residual blocks, then one linear.

    Every section halves the map: 84x84 pixels become (32 width)x11x11 numbers, then `feature_dim`. Weights and biases
    start uniform in +-1/sqrt(fan in), PyTorch's default.

    Attributes:
        frame_shape: (channels, height, width) of the frames that `forward` takes.
        feature_dim: length of the vectors that it returns.
    """

    def __init__(
        self, frame_shape: tuple[int, int, int] = (4, 84, 84), feature_dim: int = 256, width_factor: int = 1
    ) -> None:
        """Builds the network; `width_factor` multiplies the channels of all convolutions."""
        super().__init__()
        if width_factor < 1:
            raise ValueError(f"width_factor must be at least 1, got {width_factor}")
        self.frame_shape = frame_shape
        self.feature_dim = feature_dim
        height, width = halved_size(frame_shape, times=len(_CHANNELS))
        sections = []
        channels_in = frame_shape[0]
        for channels in _CHANNELS:
            sections.append(_section(channels_in, channels * width_factor))
            channels_in = channels * width_factor
        self.convolutions = nn.Sequential(*sections, nn.ReLU())
        self.linear = nn.Linear(channels_in * height * width, feature_dim)
        self.linear_relu = nn.ReLU()

    def forward(self, frames: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b feature_dim"]:
        """Returns one non-negative vector per stack of frames.

        Raises:
            ValueError: the frames are not uint8, or not of `frame_shape`.
        """
        return self.from_pixels(scale_pixels(frames, self.frame_shape, self.linear.weight.dtype))

    def from_pixels(self, pixels: Float[Tensor, "b c h w"]) -> Float[Tensor, "b feature_dim"]:
        """Returns the vectors of pixels that are numbers from 0 to 1 already, with gradients for them."""
        return self._from_map(self.convolutions(pixels))

    def spatial_features(self, frames: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b f y x"]:
        """Returns the map before it is flattened, (b, 32, 11, 11) for 84x84 pixels and width factor 1.

        Raises:
            ValueError: the frames are not uint8, or not of `frame_shape`.
        """
        features: Tensor = self.convolutions(scale_pixels(frames, self.frame_shape, self.linear.weight.dtype))
        return features

    def features_and_map(
        self, frames: UInt8[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b feature_dim"], Float[Tensor, "b f y x"]]:
        """Returns what `forward` and `spatial_features` do, in one pass."""
        places = self.spatial_features(frames)
        return self._from_map(places), places

    def _from_map(self, places: Float[Tensor, "b f y x"]) -> Float[Tensor, "b feature_dim"]:
        features: Tensor = self.linear_relu(self.linear(places.flatten(1)))
        return features

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Writes the encoder as a folder, see `saving.save_encoder`."""
        return save_encoder(self, save_directory, **options)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> "ImpalaCNN":
        """Returns the encoder saved in a folder or on the Hugging Face Hub, see `saving.read_encoder`."""
        return read_encoder(cls, pretrained_model_name_or_path, **options)


class ImpalaResidualBlock(nn.Module):
    """Adds to its input two convolutions of it, a ReLU before each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Each ReLU is a module of its own: attribution methods hook them one by one.
        self.residual = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
        )

    def forward(self, maps: Float[Tensor, "b c y x"]) -> Float[Tensor, "b c y x"]:
        """Returns maps of the same shape."""
        # A tensor of its own: captum hooks what enters a ReLU, and would change the gradient of the shortcut as well.
        changed: Tensor = maps + self.residual(maps.view_as(maps))
        return changed


def _section(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, kernel_size=3, padding=1),
        nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        ImpalaResidualBlock(channels),
        ImpalaResidualBlock(channels),
    )
