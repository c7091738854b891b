"""Which class is an image of, read pixel by pixel?"""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Int64

from .pixel_rows import PixelRows
from .stored_batches import stored_batches
from .task import Batch, Split, TaskSpec


class PixelClassification:
    r"""Reads an image from left to right and from top to bottom, one pixel a step, and answers with its class.

    `load` brings the images of each split; it is called when a batch is first asked for. A pixel is its channels'
    values from -1 to 1; of grey ones `pixel_tokens.as_tokens` makes tokens.

    >>> images = np.array([[[0], [255], [255], [0]], [[255], [0], [0], [255]]], dtype=np.uint8)  # two by two pixels
    >>> rows = PixelRows(images, np.array([0, 1], dtype=np.uint8))
    >>> task = PixelClassification("diagonals", lambda: {"test": rows}, num_pixels=4, num_channels=1, num_classes=2)
    >>> batch = next(task.batches("test", batch_size=2, seed=0))
    >>> print(batch.inputs[..., 0].tolist(), batch.targets.tolist(), sep="\n")
    [[-1.0, 1.0, 1.0, -1.0], [1.0, -1.0, -1.0, 1.0]]
    [0, 1]
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], dict[Split, PixelRows]],
        *,
        num_pixels: int,
        num_channels: int,
        num_classes: int,
    ) -> None:
        self.spec = TaskSpec(
            name=name,
            input="values",
            num_inputs=num_channels,
            output="class",
            num_outputs=num_classes,
            max_length=num_pixels,
            metric="accuracy",
            chance=1 / num_classes,
        )
        self._load = load
        self._splits: dict[Split, PixelRows] | None = None

    def batches(self, split: Split, *, batch_size: int, seed: int, first_batch: int = 0) -> Iterator[Batch]:
        """Yields the batches of a split, as in Task."""
        if self._splits is None:
            self._splits = self._load()
        rows = self._splits[split]
        members: dict[Split, Int64[np.ndarray, " n"]] = {split: np.arange(len(rows.labels))}
        return stored_batches(rows.gather, members, split, batch_size=batch_size, seed=seed, first_batch=first_batch)
