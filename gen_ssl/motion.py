"""Where something moves in a stack of frames, and losses that look there."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def moving_pixels(frames: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Returns 1 where a grey frame differs from the one before it in its stack, 0 elsewhere.

    The oldest frame, before which there is none, is compared with the one after it.

    Raises:
        ValueError: the stacks have one channel only.
    """
    if frames.shape[1] < 2:
        raise ValueError(f"motion shows in stacks of at least 2 frames, got {frames.shape[1]}")
    changes = (frames[:, 1:] != frames[:, :-1]).float()
    return torch.cat([changes[:, :1], changes], dim=1)


class MotionWeights:
    """Weighs the pixels of a reconstruction: 1, plus `emphasis` where something moves, scaled to a mean of 1 a stack.

    Without them a ball of 4 in 7,056 pixels is lost in the error of the rest.
    """

    def __init__(self, emphasis: float = 20.0) -> None:
        if emphasis < 0:
            raise ValueError(f"emphasis must be at least 0, got {emphasis}")
        self.emphasis = emphasis

    def __call__(self, frames: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Returns the weights; raises ValueError for stacks of one frame, in which no motion can be seen."""
        weights = 1 + self.emphasis * moving_pixels(frames)
        return weights / weights.mean(dim=(1, 2, 3), keepdim=True)
