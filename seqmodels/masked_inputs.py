"""Masked self-pretraining: a task that hides some of another task's inputs and asks for them."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64

from .tasks.task import NOT_SCORED, Batch, Split, Task, TaskSpec

_HELD_OUT_SEED = 20_261  # held-out inputs are hidden at the same places for every seed of training
_STREAMS: dict[Split, int] = {"train": 0, "validation": 1, "test": 2}


class HiddenRow(NamedTuple):
    """A row with some of its tokens hidden."""

    inputs: Int64[np.ndarray, " l"]
    targets: Int64[np.ndarray, " l"]  # the tokens that were chosen, NOT_SCORED elsewhere


def hide_tokens(
    row: Int64[np.ndarray, " l"], generator: np.random.Generator, *, vocab_size: int, share: float
) -> HiddenRow:
    """Returns the row with a share of its tokens, one at least, chosen to be predicted.

    Of the chosen, 80% become the mask (the token `vocab_size`), 10% any token, 10% stay (Devlin et al. 2019, section
    3.1).
    """
    chosen = generator.permutation(len(row))[: max(round(share * len(row)), 1)]
    targets = np.full_like(row, NOT_SCORED)
    targets[chosen] = row[chosen]
    inputs = row.copy()
    fate = generator.random(len(chosen))
    inputs[chosen[fate < 0.8]] = vocab_size
    replaced = chosen[(fate >= 0.8) & (fate < 0.9)]
    inputs[replaced] = generator.integers(0, vocab_size, size=len(replaced))
    return HiddenRow(inputs, targets)


class MaskedInputs:
    """The inputs of a task of tokens, some of them hidden; its targets are not used (Amos et al. 2024).

    The mask is one token more than the task has. Both rows of a pair count as examples of their own.
    """

    def __init__(self, task: Task, *, share: float = 0.15) -> None:
        """`share` of each row is hidden, 15% as in Devlin et al. 2019. Raises ValueError for a task of values."""
        if task.spec.input != "tokens":
            raise ValueError(f"masked inputs are tokens, got a task of {task.spec.input}: {task.spec.name}")
        if not 0 < share <= 1:
            raise ValueError(f"share must be within (0, 1], got {share}")
        self._task = task
        self._share = share

    @property
    def spec(self) -> TaskSpec:
        """What goes in and what comes out: a token at every hidden position."""
        given = self._task.spec
        return TaskSpec(
            name=f"masked {given.name}",
            input="tokens",
            num_inputs=given.num_inputs + 1,
            output="per_position",
            num_outputs=given.num_inputs,
            max_length=given.max_length,
            metric="accuracy",
            chance=1 / given.num_inputs,
        )

    def batches(self, split: Split, *, batch_size: int, seed: int, first_batch: int = 0) -> Iterator[Batch]:
        """Yields the batches of a split, as in Task. Every row is hidden by a stream of its own."""
        given = self._task.batches(split, batch_size=batch_size, seed=seed, first_batch=first_batch)
        for number, batch in zip(count(first_batch), given, strict=False):
            first = number * batch_size * self._task.spec.sequences_per_example
            yield self._hidden(batch, seed if split == "train" else _HELD_OUT_SEED, split, first)

    def _hidden(self, batch: Batch, seed: int, split: Split, first_row: int) -> Batch:
        inputs = batch.inputs.numpy().copy()
        targets = np.full_like(inputs, NOT_SCORED)
        for number, length in enumerate(batch.lengths.tolist()):
            stream = np.random.SeedSequence(seed, spawn_key=(_STREAMS[split], first_row + number))
            row = hide_tokens(
                inputs[number, :length],
                np.random.default_rng(stream),
                vocab_size=self._task.spec.num_inputs,
                share=self._share,
            )
            inputs[number, :length], targets[number, :length] = row
        return Batch(torch.from_numpy(inputs), batch.lengths, torch.from_numpy(targets))


class WithMaskToken:
    """A task of tokens whose models know one token more, the mask: it never comes, but was there in pretraining."""

    def __init__(self, task: Task) -> None:
        self._task = task

    @property
    def spec(self) -> TaskSpec:
        """What goes in and what comes out."""
        given = self._task.spec
        return replace(given, num_inputs=given.num_inputs + 1)

    def batches(self, split: Split, *, batch_size: int, seed: int, first_batch: int = 0) -> Iterator[Batch]:
        """Yields the batches of the task."""
        return self._task.batches(split, batch_size=batch_size, seed=seed, first_batch=first_batch)
