"""ListOps: what does a nested list of minima, maxima, medians and sums come to?"""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64

from .dataset_cache import Arrays, cached_arrays
from .listops_trees import LISTOPS_LRA, LISTOPS_SHORT, NUM_TOKENS, ListOpsShape, grow_trees
from .ragged_tokens import RaggedTokens, ragged
from .stored_batches import consecutive_splits, stored_batches
from .task import Batch, Split, TaskSpec

_TREES_PER_GROUP = 8192  # grown together: enough to be quick, few enough for a processor's cache
_VERSION = 1  # raised when the same settings give other examples, so that those kept before are not read

# The share of the most frequent answer, as counted by scripts/verify_tasks.py; without a count, one in ten.
_CHANCE = {LISTOPS_LRA: 0.17, LISTOPS_SHORT: 0.13}


class ListOps:
    r"""Reads an expression, one token for each digit, operator and closing bracket, and answers with its value, 0 to 9.

    Examples are unique trees of `shape`, in LRA's numbers by default. They are grown when a batch is first asked for,
    about ten seconds for LRA's, and kept in `cache` where given. Source: Nangia and Bowman 2018, with the generator's
    parameters of Tay et al. 2021 (LRA) and brackets that the tokens keep.

    >>> from seqmodels.tasks.listops_trees import evaluate, expression
    >>> shape = ListOpsShape(max_depth=3, max_args=3, min_length=7, max_length=10)
    >>> task = ListOps(shape, num_train=5, num_validation=2, num_test=2)
    >>> batch = next(task.batches("train", batch_size=1, seed=0))
    >>> print(batch.inputs[0].tolist(), expression(batch.inputs[0].numpy()), batch.targets.item(), sep="\n")
    [11, 14, 1, 9, 15, 5, 3, 15]
    [MIN [SM 0 8 ] 4 2 ]
    2
    """

    def __init__(
        self,
        shape: ListOpsShape,
        *,
        num_train: int = 96_000,
        num_validation: int = 2_000,
        num_test: int = 2_000,
        cache: Path | None = None,
    ) -> None:
        self.shape = shape
        self._cache = cache
        self._splits = consecutive_splits(train=num_train, validation=num_validation, test=num_test)
        self._num_examples = num_train + num_validation + num_test
        self._examples: Arrays | None = None

    @property
    def spec(self) -> TaskSpec:
        """What goes in and what comes out."""
        return TaskSpec(
            name="listops",
            input="tokens",
            num_inputs=NUM_TOKENS,
            output="class",
            num_outputs=10,
            max_length=self.shape.max_length - 1,
            metric="accuracy",
            chance=_CHANCE.get(self.shape, 0.1),
        )

    def batches(self, split: Split, *, batch_size: int, seed: int, first_batch: int = 0) -> Iterator[Batch]:
        """Yields the batches of a split, as in Task."""
        if self._examples is None:
            settings = (_VERSION, self.shape, self._num_examples)
            self._examples = cached_arrays(self._cache, "listops", settings, self._grow)
        return stored_batches(
            self._gather, self._splits, split, batch_size=batch_size, seed=seed, first_batch=first_batch
        )

    def _grow(self) -> Arrays:
        rows, labels = unique_trees(self.shape, self._num_examples)
        return {"tokens": rows.tokens, "starts": rows.starts, "labels": labels}

    def _gather(self, indices: Int64[np.ndarray, " b"]) -> Batch:
        assert self._examples is not None
        rows = RaggedTokens(self._examples["tokens"], self._examples["starts"])
        inputs, lengths = rows.padded(indices)
        labels = self._examples["labels"][indices].astype(np.int64)
        return Batch(inputs=inputs, lengths=lengths, targets=torch.from_numpy(labels))


def unique_trees(shape: ListOpsShape, num_trees: int) -> tuple[RaggedTokens, Int64[np.ndarray, " num_trees"]]:
    """Grows trees until so many different ones were found; always the same ones, and the first ones of more."""
    found: dict[bytes, int] = {}
    for group in count():
        generator = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(group,)))
        trees = grow_trees(shape, _TREES_PER_GROUP, generator)
        starts = trees.rows.starts
        for i, label in enumerate(trees.labels):
            found.setdefault(trees.rows.tokens[starts[i] : starts[i + 1]].tobytes(), int(label))
        if len(found) >= num_trees:
            break
    rows = [np.frombuffer(row, dtype=np.uint8) for row in list(found)[:num_trees]]
    return ragged(rows), np.array(list(found.values())[:num_trees])
