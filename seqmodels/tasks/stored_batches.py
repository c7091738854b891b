"""Batches of a task that has a fixed set of examples."""

from collections.abc import Callable, Iterator
from itertools import count

import numpy as np
from jaxtyping import Int64

from .task import Batch, Split


def stored_batches(
    gather: Callable[[Int64[np.ndarray, " b"]], Batch],
    indices: dict[Split, Int64[np.ndarray, " n"]],
    split: Split,
    *,
    batch_size: int,
    seed: int,
    first_batch: int = 0,
) -> Iterator[Batch]:
    """Yields batches of gather(some of the split's indices), as the contract of Task.batches asks.

    "train" goes through its examples in a new order each epoch, for ever; a batch may span two epochs. "validation" and
    "test" keep the order of their indices.
    """
    if batch_size < 1 or first_batch < 0:
        raise ValueError(
            f"batch_size must be at least 1 and first_batch at least 0, got {batch_size} and {first_batch}"
        )
    members = indices[split]
    if split != "train":
        for start in range(first_batch * batch_size, len(members), batch_size):
            yield gather(members[start : start + batch_size])
        return
    orders: dict[int, Int64[np.ndarray, " n"]] = {}
    for number in count(first_batch):
        epoch, within = np.divmod(np.arange(number * batch_size, (number + 1) * batch_size), len(members))
        needed = range(int(epoch[0]), int(epoch[-1]) + 1)
        orders = {e: orders[e] if e in orders else _order(seed, e, len(members)) for e in needed}
        yield gather(members[np.concatenate([orders[e][within[epoch == e]] for e in needed])])


def _order(seed: int, epoch: int, num_examples: int) -> Int64[np.ndarray, " n"]:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch,))).permutation(num_examples)


def consecutive_splits(*, train: int, validation: int, test: int) -> dict[Split, Int64[np.ndarray, " n"]]:
    """Returns indices of three sets that stand one after another."""
    edges = np.cumsum([0, train, validation, test])
    splits: tuple[Split, ...] = ("train", "validation", "test")
    return {split: np.arange(edges[i], edges[i + 1]) for i, split in enumerate(splits)}


def shuffled_split(num_examples: int, *, held_out: int) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " m"]]:
    """Returns (kept, held out): a fixed draw of `held_out` indices from data whose publisher made no validation set."""
    if not 0 < held_out < num_examples:
        raise ValueError(f"cannot hold out {held_out} of {num_examples} examples")
    order = np.random.default_rng(0).permutation(num_examples)
    return np.sort(order[held_out:]), np.sort(order[:held_out])
