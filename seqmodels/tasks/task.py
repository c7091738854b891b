"""The contract between a task and whatever trains on it: what goes in, what comes out, and batches of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

Split = Literal["train", "validation", "test"]

# The target of a position that is not scored; PyTorch's cross-entropy ignores it by default.
NOT_SCORED = -100


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """What a model needs to know of a task before it is built.

    - input "tokens": integers below num_inputs, the vocabulary's size. "values": num_inputs numbers per position.
    - output "per_position": a token below num_outputs at every scored position. "class": one of num_outputs classes a
      sequence. "regression": num_outputs numbers a sequence.
    - max_length is the largest number of positions in a row.
    - chance is the metric of the best answer that does not look at the input, e.g. the largest class's share.
    - sequences_per_example: rows that belong to one target. 2 in Retrieval: each pair is encoded row by row, and the
      two features are compared.
    """

    name: str
    input: Literal["tokens", "values"]
    num_inputs: int
    output: Literal["per_position", "class", "regression"]
    num_outputs: int
    max_length: int
    metric: Literal["accuracy", "mean_squared_error"]
    chance: float
    sequences_per_example: int = 1

    def __post_init__(self) -> None:
        for field in ("num_inputs", "num_outputs", "max_length", "sequences_per_example"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} of task {self.name} must be at least 1, got {getattr(self, field)}")
        if (self.metric == "mean_squared_error") != (self.output == "regression"):
            raise ValueError(f"task {self.name} measures {self.metric}, which does not fit its output {self.output!r}")


class Batch(NamedTuple):
    """Examples of a task, on the CPU. Padding stands on the right, is 0, and its targets are not scored.

    b counts examples; inputs and lengths have b * spec.sequences_per_example rows, those of an example adjacent.
    """

    inputs: Tensor  # tokens: int64 (rows, l). values: float32 (rows, l, num_inputs)
    lengths: Tensor  # int64 (rows,)
    # per_position: int64 (b, l), NOT_SCORED where it is not. class: int64 (b,). regression: float32 (b, num_outputs).
    targets: Tensor


@runtime_checkable
class Task(Protocol):
    """Something to learn: a specification and batches of examples."""

    @property
    def spec(self) -> TaskSpec:
        """What goes in and what comes out."""
        ...

    def batches(self, split: Split, *, batch_size: int, seed: int, first_batch: int = 0) -> Iterator[Batch]:
        """Yields the batches of a split from number `first_batch` on.

        Batch i is a function of (split, batch_size, seed, i) alone, so that a run resumes where it stopped, at once.
        "train" never ends. "validation" and "test" end, hold the same examples for every seed and batch size, and
        their last batch may be smaller.
        """
        ...


@runtime_checkable
class TaskOfAnyLength(Protocol):
    """A task that can be asked at lengths it was not trained on."""

    @property
    def spec(self) -> TaskSpec:
        """What goes in and what comes out."""
        ...

    def batches(self, split: Split, *, batch_size: int, seed: int, first_batch: int = 0) -> Iterator[Batch]:
        """Yields the batches of a split, as in Task."""
        ...

    def at_length(self, length: int) -> "TaskOfAnyLength":
        """Returns the same task with rows of (about) this length; spec.max_length of the result is exact."""
        ...
