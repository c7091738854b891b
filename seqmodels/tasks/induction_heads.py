"""Induction heads: say what stood after the trigger when it was seen before."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from .generated_batches import generated_batches
from .task import NOT_SCORED, Batch, Split, TaskSpec


@dataclass(frozen=True, kw_only=True)
class InductionHeads:
    r"""One trigger stands somewhere among random tokens; it comes again at the end: which token followed it before?

    Tokens are 0 .. vocab_size - 2, the trigger is vocab_size - 1. Only the last position is scored. Source: Dao et al.
    2022 (H3), section 3.1, as in Gu and Dao 2023, section 4.1.2: one trigger, trained at 256, tested far beyond.

    Attributes:
        length: of held-out rows, and of training rows.
        shorter: further lengths, each of as many training batches as `length`: the rule is found in short rows.
        vocab_size: number of tokens, the trigger among them.

    >>> task = InductionHeads(length=9, vocab_size=6)
    >>> batch = next(task.batches("train", batch_size=1, seed=0))
    >>> print(batch.inputs[0].tolist(), batch.targets[0, -1].item(), sep="\n")
    [0, 2, 4, 4, 4, 5, 0, 3, 5]
    0
    """

    length: int
    shorter: tuple[int, ...] = ()
    vocab_size: int = 16
    num_validation: int = 512
    num_test: int = 1024

    def __post_init__(self) -> None:
        if self.length < 3:
            raise ValueError(f"length must be at least 3 (trigger, token, trigger), got {self.length}")
        if any(not 3 <= length < self.length for length in self.shorter):
            raise ValueError(f"shorter must be within [3, length), got {self.shorter} for length {self.length}")
        if self.vocab_size < 3:
            raise ValueError(f"vocab_size must be at least 3 (two tokens, trigger), got {self.vocab_size}")

    @property
    def spec(self) -> TaskSpec:
        """What goes in and what comes out."""
        return TaskSpec(
            name="induction-heads",
            input="tokens",
            num_inputs=self.vocab_size,
            output="per_position",
            num_outputs=self.vocab_size,
            max_length=self.length,
            metric="accuracy",
            chance=1 / (self.vocab_size - 1),
        )

    def batches(self, split: Split, *, batch_size: int, seed: int, first_batch: int = 0) -> Iterator[Batch]:
        """Yields the batches of a split, as in Task."""
        return generated_batches(
            self._draw_one_length if split == "train" else self._draw,
            split,
            num_held_out={"validation": self.num_validation, "test": self.num_test},
            batch_size=batch_size,
            seed=seed,
            first_batch=first_batch,
        )

    def at_length(self, length: int) -> "InductionHeads":
        """Returns the task with rows of this length."""
        return replace(self, length=length, shorter=())

    def _draw_one_length(self, generator: np.random.Generator, num_examples: int) -> Batch:
        length = int(generator.choice((self.length, *self.shorter)))
        return self.at_length(length)._draw(generator, num_examples)

    def _draw(self, generator: np.random.Generator, num_examples: int) -> Batch:
        trigger = self.vocab_size - 1
        rows = np.arange(num_examples)
        inputs = generator.integers(0, trigger, size=(num_examples, self.length))
        place = generator.integers(0, self.length - 2, size=num_examples)
        inputs[rows, place] = trigger
        inputs[:, -1] = trigger
        targets = np.full_like(inputs, NOT_SCORED)
        targets[:, -1] = inputs[rows, place + 1]
        return Batch(
            inputs=torch.from_numpy(inputs),
            lengths=torch.full((num_examples,), self.length),
            targets=torch.from_numpy(targets),
        )
