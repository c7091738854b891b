"""The views that are usual for photographs, for comparison: on sprites they hide what there is to learn."""

import math
import warnings

import kornia
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from .drawing import draw_uniform
from .views import Compose

_TRIES = 10  # draws of a window before the whole frame is taken, as in torchvision's RandomResizedCrop


def photographic_views() -> Compose:
    """Returns SimCLR's recipe without flip and colour (Chen et al. 2020, appendix A): crop, brightness, blur.

    Warns: a random crop loses a ball of two pixels from most pairs of views, see docs/pretraining_methods.md.
    """
    warnings.warn(
        "the photographic views lose small objects: Pong's ball is visible in both views of less than half the pairs",
        stacklevel=2,
    )
    return Compose(RandomResizedCrop(), RandomContrast(), RandomBlur())


class RandomResizedCrop:
    """Cuts a random window out of every stack and stretches it to the frame's size (Szegedy et al. 2015)."""

    def __init__(self, area: tuple[float, float] = (0.08, 1.0), aspect: tuple[float, float] = (3 / 4, 4 / 3)) -> None:
        if not 0 < area[0] <= area[1] <= 1:
            raise ValueError(f"area must be two shares of the frame, the smaller first, got {area}")
        if not 0 < aspect[0] <= aspect[1]:
            raise ValueError(f"aspect must be two ratios of width to height, the smaller first, got {aspect}")
        self.area = area
        self.aspect = aspect

    def __call__(self, frames: UInt8[Tensor, "b c h w"], generator: torch.Generator) -> UInt8[Tensor, "b c h w"]:
        """Returns the windows, interpolated bilinearly."""
        windows = self.windows(len(frames), (frames.shape[2], frames.shape[3]), generator).to(frames.device)
        left, top, right, bottom = windows.unbind(1)
        corners = torch.stack([left, top, right, top, right, bottom, left, bottom], dim=1).view(-1, 4, 2)
        # kornia counts the last pixel in.
        inclusive = corners - torch.tensor([[0, 0], [1, 0], [1, 1], [0, 1]], device=frames.device)
        size = (frames.shape[2], frames.shape[3])
        return _to_pixels(kornia.geometry.transform.crop_and_resize(frames.float(), inclusive, size))

    def windows(self, batch_size: int, frame_size: tuple[int, int], generator: torch.Generator) -> Float[Tensor, "b 4"]:
        """Returns left, top, right and bottom of a window each: of ten draws the first that fits, or all of a frame."""
        height, width = frame_size
        share, ratio, across, down = draw_uniform((4, _TRIES, batch_size), generator)
        wanted_area = height * width * (self.area[0] + (self.area[1] - self.area[0]) * share)
        low, high = math.log(self.aspect[0]), math.log(self.aspect[1])
        aspect = torch.exp(low + (high - low) * ratio)
        widths = (wanted_area * aspect).sqrt().round()  # (tries, b)
        heights = (wanted_area / aspect).sqrt().round()
        fits = (widths >= 1) & (heights >= 1) & (widths <= width) & (heights <= height)
        first = fits.int().argmax(dim=0, keepdim=True)  # (1, b)
        lefts = (across * (width - widths + 1)).floor()
        tops = (down * (height - heights + 1)).floor()
        drawn = torch.stack([lefts, tops, lefts + widths, tops + heights], dim=2)  # (tries, b, 4)
        chosen = drawn.gather(0, first.unsqueeze(2).expand(-1, -1, 4)).squeeze(0)
        whole = chosen.new_tensor([0, 0, width, height])
        return torch.where(fits.any(dim=0).unsqueeze(1), chosen, whole)


class RandomContrast:
    """Changes brightness and contrast of four stacks in five by factors from 0.6 to 1.4 (SimCLR, strength 0.5)."""

    def __call__(self, frames: UInt8[Tensor, "b c h w"], generator: torch.Generator) -> UInt8[Tensor, "b c h w"]:
        """Returns the stacks at other intensities."""
        chosen, brightness, contrast = draw_uniform((3, len(frames), 1, 1, 1), generator).to(frames.device)
        brightness, contrast = (
            torch.where(chosen < 0.8, 0.6 + 0.8 * factor, torch.ones_like(factor)) for factor in (brightness, contrast)
        )
        pixels = (frames * brightness).clamp(max=255)
        # kornia's own contrast takes the mean of the whole batch, unless there are three channels.
        mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
        return _to_pixels(mean + contrast * (pixels - mean))


class RandomBlur:
    """Blurs half of the stacks with a Gaussian of 0.1 to 2 pixels (SimCLR, appendix A: a tenth of the side wide)."""

    def __call__(self, frames: UInt8[Tensor, "b c h w"], generator: torch.Generator) -> UInt8[Tensor, "b c h w"]:
        """Returns the stacks, blurred."""
        chosen, deviation = draw_uniform((2, len(frames)), generator).to(frames.device)
        deviation = 0.1 + 1.9 * deviation
        side = 2 * (min(frames.shape[2:]) // 20) + 1  # odd
        blurred = kornia.filters.gaussian_blur2d(frames.float(), (side, side), torch.stack([deviation, deviation], 1))
        return torch.where(chosen.view(-1, 1, 1, 1) < 0.5, _to_pixels(blurred), frames)


def _to_pixels(frames: Float[Tensor, "b c h w"]) -> UInt8[Tensor, "b c h w"]:
    return frames.round().clamp(0, 255).to(torch.uint8)
