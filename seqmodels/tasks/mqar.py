"""MQAR: many pairs of key and value are shown, then every key is asked for once."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from .distinct_draws import distinct_draws
from .generated_batches import generated_batches, joined
from .task import NOT_SCORED, Batch, Split, TaskSpec

_POWER = 0.01  # Arora et al. 2023, appendix: distances between a pair and its query follow a * k^(a - 1)


@dataclass(frozen=True, kw_only=True)
class MQARSize:
    """How long rows are, how many pairs they hold, and how often they come, relative to the other sizes."""

    length: int
    num_pairs: int
    weight: int = 1

    def __post_init__(self) -> None:
        if self.num_pairs < 1 or self.length < 4 * self.num_pairs or self.length % 2:
            raise ValueError(
                f"length must be even and at least 4 * num_pairs, got length {self.length} and {self.num_pairs} pairs"
            )


@dataclass(frozen=True, kw_only=True)
class MQAR:
    r"""Multi-query associative recall: pairs first, then each key once, at distances that follow a power law.

    Keys are 1 .. vocab_size // 2 - 1, values vocab_size // 2 .. vocab_size - 1, no two of a row alike. At a key that is
    asked for, the target is its value; nothing else is scored. Between queries stands 0, or with `random_fillers` any
    token. A batch has one size, drawn by weight; held-out sets hold every size in proportion. Source: Arora et al. 2023
    (zoology's multiquery_ar).

    >>> task = MQAR(vocab_size=12, sizes=(MQARSize(length=12, num_pairs=2),))
    >>> batch = next(task.batches("train", batch_size=1, seed=0))
    >>> print(batch.inputs[0].tolist(), batch.targets[0].tolist(), sep="\n")
    [5, 11, 4, 9, 4, 0, 0, 0, 5, 0, 0, 0]
    [-100, -100, -100, -100, 9, -100, -100, -100, 11, -100, -100, -100]
    """

    vocab_size: int
    sizes: tuple[MQARSize, ...]
    random_fillers: bool = False
    num_validation: int = 512
    num_test: int = 1024

    def __post_init__(self) -> None:
        if not self.sizes:
            raise ValueError("sizes must name at least one MQARSize, got none")
        most = max(size.num_pairs for size in self.sizes)
        if self.vocab_size < 2 * most + 2:
            raise ValueError(f"vocab_size must be at least {2 * most + 2} for {most} pairs, got {self.vocab_size}")

    @property
    def spec(self) -> TaskSpec:
        """What goes in and what comes out."""
        return TaskSpec(
            name="mqar",
            input="tokens",
            num_inputs=self.vocab_size,
            output="per_position",
            num_outputs=self.vocab_size,
            max_length=max(size.length for size in self.sizes),
            metric="accuracy",
            chance=self._chance(),
        )

    def batches(self, split: Split, *, batch_size: int, seed: int, first_batch: int = 0) -> Iterator[Batch]:
        """Yields the batches of a split, as in Task."""
        return generated_batches(
            self._draw_one_size if split == "train" else self._draw_every_size,
            split,
            num_held_out={"validation": self.num_validation, "test": self.num_test},
            batch_size=batch_size,
            seed=seed,
            first_batch=first_batch,
        )

    def at_length(self, length: int) -> "MQAR":
        """Returns the task with rows of this length only, and the pairs of the largest size that fits in it."""
        fitting = [size.num_pairs for size in self.sizes if 4 * size.num_pairs <= length]
        return self.at_size(length, max(fitting, default=1))

    def at_size(self, length: int, num_pairs: int) -> "MQAR":
        """Returns the task with rows of this one size."""
        return replace(self, sizes=(MQARSize(length=length, num_pairs=num_pairs),))

    def _chance(self) -> float:
        """Returns the accuracy of who guesses among the values shown: one answer a row right, of as many as pairs."""
        rows = sum(size.weight for size in self.sizes)
        return rows / sum(size.weight * size.num_pairs for size in self.sizes)

    def _shares(self) -> list[float]:
        total = sum(size.weight for size in self.sizes)
        return [size.weight / total for size in self.sizes]

    def _draw_one_size(self, generator: np.random.Generator, num_examples: int) -> Batch:
        return self._draw(generator, num_examples, self.sizes[generator.choice(len(self.sizes), p=self._shares())])

    def _draw_every_size(self, generator: np.random.Generator, num_examples: int) -> Batch:
        edges = np.rint(np.cumsum([0.0, *self._shares()]) * num_examples).astype(int)
        drawn = [
            self._draw(generator, int(stop - start), size)
            for size, start, stop in zip(self.sizes, edges[:-1], edges[1:], strict=True)
            if stop > start
        ]
        return joined(drawn)

    def _draw(self, generator: np.random.Generator, num_examples: int, size: MQARSize) -> Batch:
        half, shown = self.vocab_size // 2, 2 * size.num_pairs
        keys = 1 + distinct_draws(generator, num_examples, size.num_pairs, population=half - 1)
        values = half + distinct_draws(generator, num_examples, size.num_pairs, population=self.vocab_size - half)
        num_places = (size.length - shown) // 2
        near_first = np.arange(1, num_places + 1) ** (_POWER - 1)
        places = distinct_draws(generator, num_examples, size.num_pairs, population=num_places, weights=near_first)
        places = shown + 2 * places

        inputs = np.zeros((num_examples, size.length), dtype=np.int64)
        inputs[:, 0:shown:2] = keys
        inputs[:, 1:shown:2] = values
        np.put_along_axis(inputs, places, keys, axis=1)
        if self.random_fillers:
            inputs = np.where(inputs == 0, generator.integers(0, self.vocab_size, size=inputs.shape), inputs)
        targets = np.full_like(inputs, NOT_SCORED)
        np.put_along_axis(targets, places, values, axis=1)
        return Batch(
            inputs=torch.from_numpy(inputs),
            lengths=torch.full((num_examples,), size.length),
            targets=torch.from_numpy(targets),
        )
