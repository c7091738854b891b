"""Selective copying: repeat a few tokens in order, leaving out the noise between them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from .distinct_draws import distinct_draws
from .generated_batches import generated_batches
from .task import NOT_SCORED, Batch, Split, TaskSpec


@dataclass(frozen=True, kw_only=True)
class SelectiveCopying:
    r"""Tokens stand at random places of `num_slots`, noise (0) in between; markers at the end ask for them in order.

    Tokens are 1 .. vocab_size - 2 and the marker vocab_size - 1. A row has num_slots + num_tokens positions; only the
    markers are scored. Source: Gu and Dao 2023, section 4.1.1; the generator of the S4 repository with variable=True.

    >>> task = SelectiveCopying(num_slots=8, num_tokens=3, vocab_size=6)
    >>> batch = next(task.batches("train", batch_size=1, seed=0))
    >>> print(batch.inputs[0].tolist(), batch.targets[0, -3:].tolist(), sep="\n")
    [0, 0, 1, 3, 0, 0, 0, 4, 5, 5, 5]
    [1, 3, 4]
    """

    num_slots: int
    num_tokens: int
    vocab_size: int = 16
    num_validation: int = 512
    num_test: int = 1024

    def __post_init__(self) -> None:
        if not 1 <= self.num_tokens <= self.num_slots:
            raise ValueError(f"num_tokens must be between 1 and num_slots={self.num_slots}, got {self.num_tokens}")
        if self.vocab_size < 4:
            raise ValueError(f"vocab_size must be at least 4 (noise, two tokens, marker), got {self.vocab_size}")

    @property
    def spec(self) -> TaskSpec:
        """What goes in and what comes out."""
        return TaskSpec(
            name="selective-copying",
            input="tokens",
            num_inputs=self.vocab_size,
            output="per_position",
            num_outputs=self.vocab_size,
            max_length=self.num_slots + self.num_tokens,
            metric="accuracy",
            chance=1 / (self.vocab_size - 2),
        )

    def batches(self, split: Split, *, batch_size: int, seed: int, first_batch: int = 0) -> Iterator[Batch]:
        """Yields the batches of a split, as in Task."""
        return generated_batches(
            self._draw,
            split,
            num_held_out={"validation": self.num_validation, "test": self.num_test},
            batch_size=batch_size,
            seed=seed,
            first_batch=first_batch,
        )

    def at_length(self, length: int) -> "SelectiveCopying":
        """Returns the task with this many slots and as many tokens as before."""
        return replace(self, num_slots=length)

    def _draw(self, generator: np.random.Generator, num_examples: int) -> Batch:
        tokens = generator.integers(1, self.vocab_size - 1, size=(num_examples, self.num_tokens))
        slots = np.sort(distinct_draws(generator, num_examples, self.num_tokens, population=self.num_slots), axis=1)
        inputs = np.full((num_examples, self.num_slots + self.num_tokens), self.vocab_size - 1)
        inputs[:, : self.num_slots] = 0
        np.put_along_axis(inputs, slots, tokens, axis=1)
        targets = np.full_like(inputs, NOT_SCORED)
        targets[:, self.num_slots :] = tokens
        return Batch(
            inputs=torch.from_numpy(inputs),
            lengths=torch.full((num_examples,), inputs.shape[1]),
            targets=torch.from_numpy(targets),
        )
