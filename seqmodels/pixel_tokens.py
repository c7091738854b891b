"""Grey pixels as tokens: what can be hidden, and named."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from .tasks.task import Batch, Split, Task, TaskSpec


class PixelTokens:
    """A task of grey pixels, values from -1 to 1, with each pixel as one of 256 tokens."""

    def __init__(self, task: Task) -> None:
        """Raises ValueError unless the task has one value a position."""
        if task.spec.input != "values" or task.spec.num_inputs != 1:
            raise ValueError(f"pixels are one value a position, got {task.spec.num_inputs} {task.spec.input}")
        self._task = task

    @property
    def spec(self) -> TaskSpec:
        """What goes in and what comes out."""
        return replace(self._task.spec, input="tokens", num_inputs=256)

    def batches(self, split: Split, *, batch_size: int, seed: int, first_batch: int = 0) -> Iterator[Batch]:
        """Yields the batches of the task; what pads a row is 0 as before."""
        for batch in self._task.batches(split, batch_size=batch_size, seed=seed, first_batch=first_batch):
            inside = torch.arange(batch.inputs.shape[1]) < batch.lengths.unsqueeze(1)
            pixels = ((batch.inputs.squeeze(-1) + 1) * 127.5).round().long().clamp(0, 255)
            yield Batch(pixels * inside, batch.lengths, batch.targets)


def as_tokens(task: Task) -> Task:
    """Returns a task of tokens as it is, and one of grey pixels as tokens; raises ValueError for any other."""
    return task if task.spec.input == "tokens" else PixelTokens(task)
