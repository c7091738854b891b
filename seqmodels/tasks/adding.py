"""Adding: the sum of the two marked numbers of a long row."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from .generated_batches import generated_batches
from .task import Batch, Split, TaskSpec


@dataclass(frozen=True, kw_only=True)
class Adding:
    r"""Every position has a number, uniform in [0, 1), and a marker, 1 once in each half: add the two marked numbers.

    The first half has length // 2 positions. Source: Hochreiter and Schmidhuber 1997, in the form of Arjovsky et al.
    2016, section 4.2. Always answering 1 has a mean squared error of 1/6, the variance of the sum.

    Attributes:
        length: of held-out rows, and of training rows.
        shorter: further lengths, each of as many training batches as `length`. What to add is found in short rows,
            whose other numbers drown less of it, and what is found holds in long ones.

    >>> task = Adding(length=6)
    >>> batch = next(task.batches("train", batch_size=1, seed=0))
    >>> print(batch.inputs[0].T, batch.targets[0], sep="\n")
    tensor([[0.0172, 0.5651, 0.9095, 0.9354, 0.9023, 0.4799],
            [1.0000, 0.0000, 0.0000, 0.0000, 0.0000, 1.0000]])
    tensor([0.4971])
    """

    length: int
    shorter: tuple[int, ...] = ()
    num_validation: int = 512
    num_test: int = 1024

    def __post_init__(self) -> None:
        if self.length < 2:
            raise ValueError(f"length must be at least 2, got {self.length}")
        if any(not 2 <= length < self.length for length in self.shorter):
            raise ValueError(f"shorter must be within [2, length), got {self.shorter} for length {self.length}")

    @property
    def spec(self) -> TaskSpec:
        """What goes in and what comes out."""
        return TaskSpec(
            name="adding",
            input="values",
            num_inputs=2,
            output="regression",
            num_outputs=1,
            max_length=self.length,
            metric="mean_squared_error",
            chance=1 / 6,
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

    def at_length(self, length: int) -> "Adding":
        """Returns the task with rows of this length."""
        return replace(self, length=length, shorter=())

    def _draw_one_length(self, generator: np.random.Generator, num_examples: int) -> Batch:
        length = int(generator.choice((self.length, *self.shorter)))
        return self.at_length(length)._draw(generator, num_examples)

    def _draw(self, generator: np.random.Generator, num_examples: int) -> Batch:
        middle = self.length // 2
        rows = np.arange(num_examples)
        numbers = generator.random((num_examples, self.length), dtype=np.float32)
        markers = np.zeros_like(numbers)
        markers[rows, generator.integers(0, middle, size=num_examples)] = 1
        markers[rows, generator.integers(middle, self.length, size=num_examples)] = 1
        return Batch(
            inputs=torch.from_numpy(np.stack([numbers, markers], axis=-1)),  # (b, l, 2)
            lengths=torch.full((num_examples,), self.length),
            targets=torch.from_numpy((numbers * markers).sum(axis=1, keepdims=True)),
        )
