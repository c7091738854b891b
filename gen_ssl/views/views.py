"""What makes one of several views of a stack of frames."""

from collections.abc import Callable

import torch
from jaxtyping import UInt8
from torch import Tensor

Views = Callable[[UInt8[Tensor, "b c h w"], torch.Generator], UInt8[Tensor, "b c h w"]]
"""From stacks and a generator to one view of each: drawn per stack, the same for all of its frames; of the same shape.

Frames stay uint8: the encoder scales pixels. The given stacks are left as they are.
"""


class Compose:
    """Applies one kind of view after another."""

    def __init__(self, *parts: Views) -> None:
        self.parts = parts

    def __call__(self, frames: UInt8[Tensor, "b c h w"], generator: torch.Generator) -> UInt8[Tensor, "b c h w"]:
        """Returns one view of each stack."""
        for part in self.parts:
            frames = part(frames, generator)
        return frames
