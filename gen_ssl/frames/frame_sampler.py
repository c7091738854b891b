"""Draws batches for pretraining from a frame store."""

import numpy as np
import torch

from .episode_split import Split, split_episodes
from .frame_batch import FrameBatch
from .frame_store import FrameStore


class FrameSampler:
    """Draws numbered batches from one part of a store's episodes.

    Batch i is a function of (store, arguments, i) alone, so that a run can be resumed at any batch. Positions are drawn
    uniformly over the part's frames, none twice in a batch: in a contrastive loss a copy would be a false negative.

    Args:
        store: where the frames are.
        split: the part of the episodes to draw from.
        time_offsets: the times, in frames from the position, at which a batch shows the game.
        stack: frames in a stack.
        batch_size: positions in a batch.
        seed: of the draws.
        split_seed: of the split; one who measures on the test part later has to split by the same seed.
        rank: of `num_ranks` processes that share each batch: process r gets its r-th part of consecutive rows.
        num_ranks: their number, a divisor of batch_size.
    """

    def __init__(
        self,
        store: FrameStore,
        *,
        split: Split = "train",
        time_offsets: tuple[int, ...] = (0,),
        stack: int = 4,
        batch_size: int,
        seed: int,
        split_seed: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        if batch_size < 1 or batch_size % num_ranks:
            raise ValueError(f"batch_size must be a positive multiple of num_ranks, got {batch_size} and {num_ranks}")
        if not 0 <= rank < num_ranks:
            raise ValueError(f"rank must lie in 0..{num_ranks - 1}, got {rank}")
        self._store = store
        self._time_offsets = time_offsets
        self._stack = stack
        self._batch_size = batch_size
        self._seed = seed
        self._rows = slice(batch_size // num_ranks * rank, batch_size // num_ranks * (rank + 1))
        episodes = split_episodes(store, seed=split_seed).episodes(split)
        self._valid = store.valid_indices(time_offsets, episodes=episodes)
        if batch_size > len(self._valid):
            raise ValueError(
                f"a batch of {batch_size} different positions needs as many frames, the {split} part has "
                f"{len(self._valid)}: collect more frames or take a smaller batch"
            )

    @property
    def num_positions(self) -> int:
        """Positions that can be drawn."""
        return len(self._valid)

    def batch(self, index: int) -> FrameBatch:
        """Returns batch `index`, or this rank's rows of it."""
        generator = np.random.default_rng((self._seed, index))
        chosen = generator.choice(len(self._valid), self._batch_size, replace=False)
        positions = self._valid[chosen[self._rows]]
        return FrameBatch(
            stacks=self._store.windows(positions, time_offsets=self._time_offsets, stack=self._stack),
            actions=torch.from_numpy(self._store.actions[positions].astype(np.int64)),
            rewards=torch.from_numpy(self._store.rewards[positions]),
            games=torch.from_numpy(self._store.game_ids[positions]),
        )
