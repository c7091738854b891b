"""How far reconstructed pixels are from those of the frames."""

from collections.abc import Callable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from .motion import moving_pixels

# Of a batch: enough for the mean of an interval, and less than a hundredth of a step's time.
_MEASURED_STACKS = 32

PixelWeights = Callable[[UInt8[Tensor, "b c h w"]], Float[Tensor, "b c h w"]]
"""From stacks to the weight of each pixel's error, with a mean of 1 over every stack."""


def equal_weights(frames: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Returns 1 for every pixel."""
    return torch.ones((), device=frames.device).expand(frames.shape)


def gaussian_error(
    reconstruction: Float[Tensor, "b c h w"],
    frames: UInt8[Tensor, "b c h w"],
    weights: Float[Tensor, "b c h w"],
    *,
    pixel_deviation: float,
) -> Float[Tensor, " b"]:
    """Returns -ln N(x; reconstruction, deviation^2) without its constant: the sum of w (x - y)^2 / (2 deviation^2).

    Args:
        reconstruction: y, from 0 to 1.
        frames: 255 x.
        weights: w of every pixel.
        pixel_deviation: of the Gaussian, in the same unit as y.
    """
    wide = torch.promote_types(reconstruction.dtype, torch.float32)
    errors = (reconstruction.to(wide) - frames.to(wide) / 255).square()
    return (weights * errors).sum(dim=(1, 2, 3)) / (2 * pixel_deviation**2)


def motion_metrics(reconstruction: Float[Tensor, "b c h w"], frames: UInt8[Tensor, "b c h w"]) -> dict[str, Tensor]:
    """Returns `moving_pixel_error`: the mean squared error, from 0 to 1, over the pixels that move; 0 where none does.

    A sprite that is left out of a reconstruction shows here, and hardly in the error of all pixels. Nothing is returned
    for stacks of one frame, in which no motion can be seen.
    """
    if frames.shape[1] < 2:
        return {}
    frames, reconstruction = frames[:_MEASURED_STACKS], reconstruction[:_MEASURED_STACKS]
    moving = moving_pixels(frames)
    errors = (reconstruction.detach().float() - frames.float() / 255).square()
    return {"moving_pixel_error": (moving * errors).sum() / moving.sum().clamp(min=1)}
