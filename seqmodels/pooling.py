"""From the vectors of a row to one: the last, the mean or the largest numbers, within the row's length."""

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

Pooling = Literal["last", "mean", "max"]


def pool(x: Float[Tensor, "b l d"], lengths: Int64[Tensor, " b"], pooling: Pooling) -> Float[Tensor, "b d"]:
    """Returns one vector per row; lengths are from 0 to l, and a row of none gives zeros."""
    # Not refused: that would make a GPU wait for the lengths in every call.
    empty = (lengths == 0).unsqueeze(1)  # (B, 1)
    if pooling == "last":
        return x[torch.arange(len(x), device=x.device), lengths - 1].masked_fill(empty, 0.0)
    inside = (torch.arange(x.shape[1], device=x.device) < lengths.unsqueeze(1)).unsqueeze(-1)  # (B, L, 1)
    if pooling == "max":
        return x.masked_fill(~inside, -torch.inf).amax(dim=1).masked_fill(empty, 0.0)
    return x.masked_fill(~inside, 0.0).sum(dim=1) / lengths.clamp(min=1).unsqueeze(1)
