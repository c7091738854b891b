"""Draws batches for pretraining from a frame store."""

from collections.abc import Iterator
from typing import Any

from .episode_split import Split
from .frame_batch import FrameBatch
from .frame_store import FrameStore


class FrameSampler:
    """An endless iterator of batches from one split. Batch i is a function of (seed, i) alone; positions are drawn
    uniformly, none twice in a batch.

    With several ranks, rank r of n gets the r-th n-th of the rows of each batch (batch_size counts all rows).
    """

    def __init__(
        self,
        store: FrameStore,
        *,
        split: Split,
        time_offsets: tuple[int, ...] = (0,),
        stack: int = 4,
        batch_size: int,
        seed: int,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        raise NotImplementedError

    def batch(self, index: int) -> FrameBatch:
        """Returns batch `index` (its rows of this rank)."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[FrameBatch]:
        return self

    def __next__(self) -> FrameBatch:
        """Returns the next batch and moves on."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Returns where the iterator stands."""
        raise NotImplementedError

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from where a sampler of the same arguments stood."""
        raise NotImplementedError
