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


def frames_per_observation(encoder: Encoder, frame_shape: tuple[int, ...]) -> int:
    """Returns how many frames fill the encoder's input; raises ValueError where no number of them does."""
    wanted = tuple(encoder.frame_shape)
    if wanted[0] % frame_shape[0] or wanted[1:] != tuple(frame_shape[1:]):
        raise ValueError(f"the encoder takes stacks of shape {wanted}, which frames of shape {frame_shape} cannot fill")
    return int(wanted[0] // frame_shape[0])
