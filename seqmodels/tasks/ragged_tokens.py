"""Many rows of tokens of different lengths, end to end in one array."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor


class RaggedTokens(NamedTuple):
    """Row i is tokens[starts[i] : starts[i + 1]]. Token 0 is padding and stands in no row."""

    tokens: UInt8[np.ndarray, " total"]
    starts: Int64[np.ndarray, " rows_and_one"]

    def padded(self, rows: Int64[np.ndarray, " b"]) -> tuple[Int64[Tensor, "b l"], Int64[Tensor, " b"]]:
        """Returns these rows, with zeros on the right up to the longest of them, and their lengths."""
        lengths = self.starts[rows + 1] - self.starts[rows]
        position = np.arange(lengths.max())
        inside = position < lengths[:, None]
        source = np.where(inside, self.starts[rows][:, None] + position, 0)
        return torch.from_numpy(np.where(inside, self.tokens[source], 0).astype(np.int64)), torch.from_numpy(lengths)


def ragged(rows: list[UInt8[np.ndarray, " _"]]) -> RaggedTokens:
    """Puts rows end to end."""
    starts = np.cumsum([0, *(len(row) for row in rows)], dtype=np.int64)
    return RaggedTokens(tokens=np.concatenate(rows) if rows else np.zeros(0, dtype=np.uint8), starts=starts)
