"""Runs over whole rows, such as convolutions, on rows with resets: each piece between resets as a row of its own."""

from collections import defaultdict
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from .row_pieces import RowPieces, pieces_between

# From rows (p, l, d) and the states before them (p, d, n), or None for zeros, to outputs and the states after them.
Run = Callable[
    [Float[Tensor, "p l d"], Float[Tensor, "p d n"] | None], tuple[Float[Tensor, "p l d"], Float[Tensor, "p d n"]]
]


def run_piecewise(
    run: Run, u: Float[Tensor, "b l d"], state: Float[Tensor, "b d n"] | None, resets: Bool[Tensor, "b l"]
) -> tuple[Float[Tensor, "b l d"], Float[Tensor, "b d n"]]:
    """Returns the outputs of `run` with a new start at every reset, and the states after the last position.

    `run` has to be causal, and to leave zeros in an empty state. Nothing can leak through a reset, whatever `run`
    computes with: pieces never share a row. Pieces of about one length run together, padded to a power of two, so that
    all of them take at most twice the numbers of the rows, however many resets there are.
    """
    if not resets.any():
        return run(u, state)
    batch, length = resets.shape
    pieces = pieces_between(resets)
    flat = u.flatten(0, 1)
    outputs, positions, ends, rows = [], [], [], []
    for (carried, width), numbers in _groups(pieces, length, state is not None).items():
        chosen = torch.tensor(numbers, device=u.device)
        places, inside = _places(pieces, chosen, length, width, carried)
        padded = torch.where(inside[:, :, None], flat[places], 0.0)
        y, end = run(padded, state[pieces.row[chosen]] if carried and state is not None else None)
        outputs.append(y[inside])
        positions.append(places[inside])
        final = pieces.last[pieces.row[chosen]] == chosen
        ends.append(end[final])
        rows.append(pieces.row[chosen][final])
    y = torch.cat(outputs)[torch.cat(positions).argsort()]
    return y.unflatten(0, (batch, length)), torch.cat(ends)[torch.cat(rows).argsort()]


def _groups(pieces: RowPieces, length: int, has_state: bool) -> dict[tuple[bool, int], list[int]]:
    """Returns which pieces run together, by whether they go on with a state and by their padded length."""
    groups = defaultdict(list)
    for number, (size, continues) in enumerate(zip(pieces.lengths, pieces.continues.tolist(), strict=True)):
        groups[has_state and continues, min(1 << (size - 1).bit_length(), length)].append(number)
    return groups


def _places(
    pieces: RowPieces, chosen: Int64[Tensor, " p"], length: int, width: int, carried: bool
) -> tuple[Int64[Tensor, "p w"], Bool[Tensor, "p w"]]:
    """Returns which position of the flattened rows stands at each place of the padded pieces, and where one does.

    A piece that begins with zeros is padded on the left, where an empty state stays empty: its state at the end is that
    of the padded row. One that goes on with a state is padded on the right: its end does not matter, because a reset
    follows, or it is a whole row and not padded.
    """
    sizes = torch.tensor(pieces.lengths, device=chosen.device)[chosen, None]
    offset = torch.arange(width, device=chosen.device) - (0 if carried else width - sizes)
    inside = (offset >= 0) & (offset < sizes)
    begin = (pieces.row * length + pieces.start)[chosen, None]
    return torch.where(inside, begin + offset, 0), inside
