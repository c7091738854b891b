"""Batches of a task whose examples are drawn as they are needed."""

from collections.abc import Callable, Iterator
from itertools import count

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from .task import NOT_SCORED, Batch, Split

# Held-out examples are the same for every seed of training, and are drawn in groups of this size whatever the batch
# size is: so they do not change with it.
_HELD_OUT_SEED = 20_260
_HELD_OUT_GROUP = 64

# First part of a spawn key: no two splits share a stream.
_STREAMS: dict[Split, int] = {"train": 0, "validation": 1, "test": 2}


def generated_batches(
    draw: Callable[[np.random.Generator, int], Batch],
    split: Split,
    *,
    num_held_out: dict[Split, int],
    batch_size: int,
    seed: int,
    first_batch: int = 0,
) -> Iterator[Batch]:
    """Yields batches of `draw(generator, num_examples)`, as the contract of Task.batches asks.

    "train" draws batch i from a stream of its own, for ever. "validation" and "test" hold num_held_out[split]
    examples. No example is checked against another: the tasks drawn here have so many that repetitions do not count.
    """
    if batch_size < 1 or first_batch < 0:
        raise ValueError(
            f"batch_size must be at least 1 and first_batch at least 0, got {batch_size} and {first_batch}"
        )
    if split == "train":
        for number in count(first_batch):
            yield draw(_stream(seed, split, number), batch_size)
        return
    drawn: dict[int, Batch] = {}
    for start in range(first_batch * batch_size, num_held_out[split], batch_size):
        stop = min(start + batch_size, num_held_out[split])
        groups = range(start // _HELD_OUT_GROUP, -(-stop // _HELD_OUT_GROUP))
        # A small batch needs a part of a group, and the next batch another part of it.
        drawn = {
            group: drawn.get(group) or draw(_stream(_HELD_OUT_SEED, split, group), _HELD_OUT_GROUP) for group in groups
        }
        first = start - groups.start * _HELD_OUT_GROUP
        rows = joined(list(drawn.values()))
        yield _cut(Batch(*(part[first : first + stop - start] for part in rows)))


def joined(batches: list[Batch]) -> Batch:
    """Returns one batch of all the rows, padded on the right to the longest."""
    length = max(batch.inputs.shape[1] for batch in batches)
    return Batch(
        inputs=torch.cat([_widened(batch.inputs, length, fill=0) for batch in batches]),
        lengths=torch.cat([batch.lengths for batch in batches]),
        targets=torch.cat([_widened_targets(batch, length) for batch in batches]),
    )


def _of_positions(targets: Tensor) -> bool:
    """Returns whether targets belong to positions: tokens (b, l), not classes (b,) or numbers (b, k)."""
    return targets.ndim == 2 and not targets.is_floating_point()


def _widened_targets(batch: Batch, length: int) -> Tensor:
    return _widened(batch.targets, length, fill=NOT_SCORED) if _of_positions(batch.targets) else batch.targets


def _widened(rows: Tensor, length: int, *, fill: int) -> Tensor:
    """Returns rows (b, l, ...) with `fill` up to this length."""
    missing = length - rows.shape[1]
    return pad(rows, (0, 0) * (rows.ndim - 2) + (0, missing), value=fill) if missing else rows


def _cut(batch: Batch) -> Batch:
    """Returns the batch without the padding that none of its rows needs."""
    length = int(batch.lengths.max())
    return Batch(
        inputs=batch.inputs[:, :length],
        lengths=batch.lengths,
        targets=batch.targets[:, :length] if _of_positions(batch.targets) else batch.targets,
    )


def _stream(seed: int, split: Split, number: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STREAMS[split], number)))
