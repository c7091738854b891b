"""What a pretraining method receives: stacks of frames at one or more times, and what was done and earned there."""

from typing import NamedTuple

import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor


class FrameBatch(NamedTuple):
    """A batch of B positions in play, each seen at K times.

    `stacks[k]` ends with the frame `time_offsets[k]` steps after the position, oldest frame first; where an episode has
    fewer frames before, its first one is repeated. All K times of a position lie in one episode.
    """

    stacks: UInt8[Tensor, "k b c h w"]
    actions: Int64[Tensor, " b"]  # taken at the position
    rewards: Float32[Tensor, " b"]  # raw, of that step
    games: Int64[Tensor, " b"]  # indices into FrameStore.games

    def to(self, device: torch.device) -> "FrameBatch":
        """Returns the batch on a device; from pinned memory the copies overlap with work there."""
        return FrameBatch(*(part.to(device, non_blocking=True) for part in self))
