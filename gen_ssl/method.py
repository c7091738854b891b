"""What every self-supervised method offers to the loop that trains it."""

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from .encoders import Encoder
from .frames.frame_batch import FrameBatch


class MethodOutput(NamedTuple):
    """What one batch gives."""

    loss: Float[Tensor, ""]  # to be minimised
    metrics: dict[str, Tensor]  # scalars without gradient, on the loss's device: reading them is the caller's choice


@runtime_checkable
class Method(Protocol):
    """Turns a batch of frames into a loss on an encoder that was passed in.

    Each is also an `nn.Module`, with the encoder as its attribute `encoder`. Its `forward` is all that a step needs: a
    data-parallel wrapper sees nothing else. Its randomness is drawn from the generator; what it learns besides the
    encoder (heads, decoders) is thrown away later.
    """

    if TYPE_CHECKING:  # isinstance() of Python 3.12 does not see what an nn.Module keeps in itself
        encoder: Encoder
    time_offsets: tuple[int, ...]
    """Which frames of an episode a batch brings together: (0, 3) means every stack and the one 3 steps later."""

    def __call__(self, batch: FrameBatch, generator: torch.Generator) -> MethodOutput:
        """Returns the loss of a batch whose `stacks` follow `time_offsets`."""
        ...


@runtime_checkable
class FollowsStep(Protocol):
    """A method with something that moves after each step of the optimiser: a momentum encoder, a queue."""

    def after_step(self) -> None:
        """Moves it; to be called once after each step, and not after one that was skipped."""
        ...


@runtime_checkable
class ShowsPictures(Protocol):
    """A method that has something to look at."""

    def pictures(self, batch: FrameBatch, generator: torch.Generator) -> dict[str, UInt8[Tensor, "n colours h w"]]:
        """Returns images by name, grey (1 colour) or RGB (3): views, masks, reconstructions, samples."""
        ...


def check_batch(batch: FrameBatch, time_offsets: tuple[int, ...]) -> None:
    """Raises ValueError unless a batch brings one stack per time offset."""
    if batch.stacks.shape[0] != len(time_offsets):
        raise ValueError(
            f"this method takes {len(time_offsets)} stacks per sample (time offsets {time_offsets}), "
            f"got {batch.stacks.shape[0]}"
        )
