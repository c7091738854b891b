"""Makes stacks of frames a little brighter or darker."""

import torch
from jaxtyping import UInt8
from torch import Tensor

from .drawing import draw_normal

STACKS_AT_ONCE = 16


class RandomIntensity:
    """Multiplies all pixels of a stack by 1 + scale * clip(N(0, 1), -2, 2), and rounds (Yarats et al. 2020, DrQ).

    A sprite keeps its place, its size and its contrast to the background, up to the saturation of white.
    """

    def __init__(self, scale: float = 0.05) -> None:  # as in Schwarzer et al. 2021 (SPR)
        if not 0 <= scale < 0.5:
            raise ValueError(f"scale must be at least 0 and below 0.5, where frames may turn black, got {scale}")
        self.scale = scale

    def __call__(self, frames: UInt8[Tensor, "b c h w"], generator: torch.Generator) -> UInt8[Tensor, "b c h w"]:
        """Returns the stacks at other intensities."""
        factors = 1 + self.scale * draw_normal((len(frames), 1, 1, 1), generator).clamp_(-2, 2)
        changed = torch.empty_like(frames)
        # A few stacks at once: on a CPU their products in float32 stay in its cache until they are rounded.
        at_once = STACKS_AT_ONCE if frames.device.type == "cpu" else max(1, len(frames))
        parts = (tensor.split(at_once) for tensor in (changed, frames, factors.to(frames.device)))
        for target, pixels, factor in zip(*parts, strict=True):
            target.copy_((pixels * factor).round_().clamp_(0, 255))
        return changed
