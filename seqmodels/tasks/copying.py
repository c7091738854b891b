"""Copying: repeat the first tokens after a long silence."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from .generated_batches import generated_batches
from .task import NOT_SCORED, Batch, Split, TaskSpec


@dataclass(frozen=True, kw_only=True)
class Copying:
    r"""Tokens come first, then `lag` blanks (0), then markers that ask for the tokens in order.

    Tokens are 1 .. vocab_size - 2 and the marker vocab_size - 1. A row has 2 * num_tokens + lag positions; only the
    markers are scored. Source: Arjovsky et al. 2016, section 4.1, in the S4 repository's form: a marker for every
    token where the paper has a single one.

    >>> task = Copying(num_tokens=3, lag=5, vocab_size=6)
    >>> batch = next(task.batches("train", batch_size=1, seed=0))
    >>> print(batch.inputs[0].tolist(), batch.targets[0, -3:].tolist(), sep="\n")
    [1, 3, 4, 0, 0, 0, 0, 0, 5, 5, 5]
    [1, 3, 4]
    """

    num_tokens: int
    lag: int
    vocab_size: int = 10
    num_validation: int = 512
    num_test: int = 1024

    def __post_init__(self) -> None:
        if self.num_tokens < 1 or self.lag < 0:
            raise ValueError(f"num_tokens must be at least 1 and lag at least 0, got {self.num_tokens} and {self.lag}")
        if self.vocab_size < 4:
            raise ValueError(f"vocab_size must be at least 4 (blank, two tokens, marker), got {self.vocab_size}")

    @property
    def spec(self) -> TaskSpec:
        """What goes in and what comes out."""
        return TaskSpec(
            name="copying",
            input="tokens",
            num_inputs=self.vocab_size,
            output="per_position",
            num_outputs=self.vocab_size,
            max_length=2 * self.num_tokens + self.lag,
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

    def at_length(self, length: int) -> "Copying":
        """Returns the task with so many blanks that a row has this many positions."""
        return replace(self, lag=length - 2 * self.num_tokens)

    def _draw(self, generator: np.random.Generator, num_examples: int) -> Batch:
        tokens = generator.integers(1, self.vocab_size - 1, size=(num_examples, self.num_tokens))
        inputs = np.zeros((num_examples, 2 * self.num_tokens + self.lag), dtype=np.int64)
        inputs[:, : self.num_tokens] = tokens
        inputs[:, -self.num_tokens :] = self.vocab_size - 1
        targets = np.full_like(inputs, NOT_SCORED)
        targets[:, -self.num_tokens :] = tokens
        return Batch(
            inputs=torch.from_numpy(inputs),
            lengths=torch.full((num_examples,), inputs.shape[1]),
            targets=torch.from_numpy(targets),
        )
