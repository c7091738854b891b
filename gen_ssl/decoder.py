"""From a vector to frames: the half of an autoencoder that is thrown away."""

from jaxtyping import Float
from torch import Tensor, nn

_DOUBLINGS = 3


class ConvDecoder(nn.Module):
    """Makes frames of any shape from vectors: a linear layer, then three convolutions that double the map.

    The map begins at an eighth of the frame, rounded up; what the last one has too many at the right and the bottom is
    cut off. Pixels come out between 0 and 1.
    """

    def __init__(self, latent_dim: int, frame_shape: tuple[int, int, int], *, width: int = 32) -> None:
        """Builds layers of 2 * width, 2 * width, width channels and those of the frame."""
        super().__init__()
        if min(frame_shape) < 1:
            raise ValueError(f"frames need at least one channel and one pixel, got frame_shape {frame_shape}")
        channels, height, width_pixels = frame_shape
        self.frame_shape = frame_shape
        factor = 2**_DOUBLINGS
        self._start = (2 * width, -(-height // factor), -(-width_pixels // factor))
        self.linear = nn.Linear(latent_dim, self._start[0] * self._start[1] * self._start[2])
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, 2 * width, kernel_size=4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, kernel_size=4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(width, channels, kernel_size=4, stride=2, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, latents: Float[Tensor, "b latent_dim"]) -> Float[Tensor, "b c h w"]:
        """Returns one stack of frames per vector."""
        _, height, width = self.frame_shape
        pixels: Tensor = self.layers(self.linear(latents).view(-1, *self._start))
        return pixels[:, :, :height, :width]
