"""Rows of all ranks of a data-parallel run, for losses in which the samples of a batch meet each other."""

from collections.abc import Callable
from typing import Any

from jaxtyping import Shaped
from torch import Tensor

Gather = Callable[[Shaped[Tensor, "n *rest"]], Shaped[Tensor, "m *rest"]]
"""From this rank's rows to the rows of all ranks, rank after rank, with gradient to each.

A loss of all rows is then computed on every rank alike. The gradients that a rank receives are summed over the ranks'
losses, and a data-parallel wrapper takes their mean over the ranks: together, the gradient of the one-process loss.
"""


def keep_rows(rows: Shaped[Tensor, "n *rest"]) -> Shaped[Tensor, "n *rest"]:
    """Returns the rows: where there is one rank, they are all there are."""
    return rows


def gather_by(all_gather: Callable[..., Any]) -> Gather:
    """Returns the gathering by `Fabric.all_gather`, or by a function that is called like it.

    It takes (rows, sync_grads=True) and returns them with one more dimension in front, the rank, or as they are where
    there is one rank only.
    """

    def gather(rows: Tensor) -> Tensor:
        gathered: Tensor = all_gather(rows, sync_grads=True)
        if gathered.ndim == rows.ndim:
            return gathered
        if gathered.requires_grad:
            # PyTorch sends gradients as they lie in memory: those of a transposed result would arrive scrambled.
            gathered.register_hook(Tensor.contiguous)
        return gathered.flatten(0, 1)

    return gather
