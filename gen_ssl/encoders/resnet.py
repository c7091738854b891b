"""The residual network of He et al. 2016 with GroupNorm (Wu and He 2018), for frames of games."""

from pathlib import Path
from typing import Any

from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from .convolutions import halved_size
from .pixels import scale_pixels
from .saving import read_encoder, save_encoder

_CHANNELS_PER_GROUP = 16  # Wu and He 2018, table 3, lower half: the best fixed number of channels


class ResNet(nn.Module, PyTorchModelHubMixin):
    """Encodes stacks of frames by a 3x3 convolution, four stages of residual blocks and one linear layer.

    The stem and every stage but the first halve the map, and there is no max-pool and no average over positions, in
    which a ball of two pixels would be lost: 84x84 pixels become (8 width)x6x6 numbers, then `feature_dim`.

    Attributes:
        frame_shape: (channels, height, width) of the frames that `forward` takes.
        feature_dim: length of the vectors that it returns.
    """

    def __init__(
        self,
        frame_shape: tuple[int, int, int] = (4, 84, 84),
        feature_dim: int = 512,
        blocks: tuple[int, ...] = (2, 2, 2, 2),
        width: int = 64,
    ) -> None:
        """Builds the network.

        Args:
            frame_shape: (channels, height, width) of the frames.
            feature_dim: length of the vectors.
            blocks: residual blocks of each stage: (2, 2, 2, 2) is ResNet-18, (3, 4, 6, 3) ResNet-34.
            width: channels of the stem and the first stage, which every further stage doubles.
        """
        super().__init__()
        if width < 1 or width % _CHANNELS_PER_GROUP:
            raise ValueError(f"width must be a multiple of {_CHANNELS_PER_GROUP}, the size of a group, got {width}")
        if not blocks or min(blocks) < 1:
            raise ValueError(f"blocks must name at least one stage of at least one block, got {blocks}")
        self.frame_shape = frame_shape
        self.feature_dim = feature_dim
        map_height, map_width = halved_size(frame_shape, times=len(blocks))
        layers = [_convolution(frame_shape[0], width, stride=2), _norm(width), nn.ReLU()]
        channels_in = width
        for stage, num_blocks in enumerate(blocks):
            channels = width * 2**stage
            for block in range(num_blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(ResNetBlock(channels_in, channels, stride=stride))
                channels_in = channels
        self.convolutions = nn.Sequential(*layers)
        self.linear = nn.Linear(channels_in * map_height * map_width, feature_dim)
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
        """Returns the map before it is flattened, (b, 512, 6, 6) for 84x84 pixels and the default layers.

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
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> "ResNet":
        """Returns the encoder saved in a folder or on the Hugging Face Hub, see `saving.read_encoder`."""
        return read_encoder(cls, pretrained_model_name_or_path, **options)


class ResNetBlock(nn.Module):
    """Adds to its input two normalised convolutions of it (He et al. 2016, figure 5, left), and ends in a ReLU."""

    def __init__(self, channels_in: int, channels: int, *, stride: int) -> None:
        super().__init__()
        # Each ReLU is a module of its own: attribution methods hook them one by one.
        self.residual = nn.Sequential(
            _convolution(channels_in, channels, stride=stride),
            _norm(channels),
            nn.ReLU(),
            _convolution(channels, channels, stride=1),
            _norm(channels),
        )
        self.shortcut = nn.Sequential()  # the identity
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, kernel_size=1, stride=stride, bias=False), _norm(channels)
            )
        self.relu = nn.ReLU()

    def forward(self, maps: Float[Tensor, "b c y x"]) -> Float[Tensor, "b d v u"]:
        """Returns non-negative maps, smaller by the stride."""
        changed: Tensor = self.relu(self.shortcut(maps) + self.residual(maps))
        return changed


def _convolution(channels_in: int, channels: int, *, stride: int) -> nn.Conv2d:
    convolution = nn.Conv2d(channels_in, channels, kernel_size=3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")  # He et al. 2015, equation 14
    return convolution


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // _CHANNELS_PER_GROUP, channels)
