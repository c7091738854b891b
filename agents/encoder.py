"""What agents need of a pixel encoder."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float, UInt8
from torch import Tensor


@runtime_checkable
class Encoder(Protocol):
    """Maps stacks of frames to features, and owns the scaling of the pixels.

    An implementation is also a `torch.nn.Module`; `agents` has no default, one is always given.
    """

    frame_shape: tuple[int, int, int]  # (C, H, W), C counts every channel of the stack
    feature_dim: int

    def __call__(self, frames: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b feature_dim"]: ...
