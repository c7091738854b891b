"""Images as sequences: their pixels one after another, from left to right and from top to bottom."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8

from .stored_batches import shuffled_split
from .task import Batch, Split


class PixelRows(NamedTuple):
    """Images and their classes. `largest` is the value of white."""

    pixels: UInt8[np.ndarray, "n length channels"]
    labels: UInt8[np.ndarray, " n"]
    largest: int = 255

    def gather(self, indices: Int64[np.ndarray, " b"]) -> Batch:
        """Returns the images at these indices, as numbers from -1 to 1."""
        pixels = torch.from_numpy(np.asarray(self.pixels[indices]))
        return Batch(
            inputs=pixels.float() * (2 / self.largest) - 1,
            lengths=torch.full((len(indices),), pixels.shape[1]),
            targets=torch.from_numpy(self.labels[indices].astype(np.int64)),
        )


def with_validation(train: PixelRows, test: PixelRows) -> dict[Split, PixelRows]:
    """Returns the splits, with a tenth of the training images held out."""
    kept, held_out = shuffled_split(len(train.labels), held_out=max(1, len(train.labels) // 10))
    return {
        "train": train._replace(pixels=train.pixels[kept], labels=train.labels[kept]),
        "validation": train._replace(pixels=train.pixels[held_out], labels=train.labels[held_out]),
        "test": test,
    }
