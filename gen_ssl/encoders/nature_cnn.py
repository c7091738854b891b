"""The network of Mnih et al. 2015, "Human-level control through deep reinforcement learning", below the Q-values."""

from pathlib import Path
from typing import Any

from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from .convolutions import map_norm, map_size
from .pixels import scale_pixels
from .saving import read_encoder, save_encoder

_LAYERS = ((8, 4), (4, 2), (3, 1))  # (kernel, stride); Mnih et al. 2015, Methods, "Model architecture"


class NatureCNN(nn.Module, PyTorchModelHubMixin):
    """Encodes stacks of frames by three convolutions (32, 64, 64 channels) and one linear layer, a ReLU after each.

    Convolutions are unpadded: 84x84 pixels become 64x7x7 = 3,136 numbers, then `feature_dim`. Weights and biases start
    uniform in +-1/sqrt(fan in), PyTorch's default and the paper's.

    Attributes:
        frame_shape: (channels, height, width) of the frames that `forward` takes.
        feature_dim: length of the vectors that it returns.
    """

    def __init__(
        self, frame_shape: tuple[int, int, int] = (4, 84, 84), feature_dim: int = 512, layer_norm: bool = False
    ) -> None:
        """Builds the layers; with `layer_norm` the numbers before each ReLU are normalised (see `map_norm`)."""
        super().__init__()
        self.frame_shape = frame_shape
        self.feature_dim = feature_dim
        height, width = map_size(frame_shape, _LAYERS)
        # Each ReLU is a module of its own: attribution methods hook them one by one.
        self.convolutions = nn.Sequential(
            nn.Conv2d(frame_shape[0], 32, kernel_size=8, stride=4),
            *map_norm(32, layer_norm),
            nn.ReLU(),
            nn.Conv2d(32, 64, kernel_size=4, stride=2),
            *map_norm(64, layer_norm),
            nn.ReLU(),
            nn.Conv2d(64, 64, kernel_size=3, stride=1),
            *map_norm(64, layer_norm),
            nn.ReLU(),
        )
        self.linear = nn.Linear(64 * height * width, feature_dim)
        self.linear_norm = nn.LayerNorm(feature_dim) if layer_norm else nn.Identity()
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
        """Returns the map before it is flattened, (b, 64, 7, 7) for 84x84 pixels.

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
        features: Tensor = self.linear_relu(self.linear_norm(self.linear(places.flatten(1))))
        return features

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Writes the encoder as a folder, see `saving.save_encoder`."""
        return save_encoder(self, save_directory, **options)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> "NatureCNN":
        """Returns the encoder saved in a folder or on the Hugging Face Hub, see `saving.read_encoder`."""
        return read_encoder(cls, pretrained_model_name_or_path, **options)
