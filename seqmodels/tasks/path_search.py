"""Follows drawn lines from cell to cell: the oracle of Pathfinder's labels."""

import numpy as np
from jaxtyping import Float, Int64


def ends_are_joined(
    lines: list[Float[np.ndarray, "_ 2 2"]], markers: Int64[np.ndarray, "2 2"], *, cells_per_pixel: int = 4
) -> bool:
    """Returns whether a path along the drawn lines leads from one marker to the other: the oracle of the labels.

    It is not told which line is which: all are drawn on one fine grid, and the search goes from cell to adjacent cell.
    """
    drawn: set[tuple[int, int]] = set()
    for line in lines:
        for begin, end in line * cells_per_pixel:
            share = np.linspace(0, 1, 2 + 2 * int(np.abs(end - begin).max()))[:, None]
            drawn.update(map(tuple, np.rint(begin + share * (end - begin)).astype(int).tolist()))
    start, goal = (tuple((marker * cells_per_pixel).tolist()) for marker in markers)
    waiting, reached = [start], {start}
    while waiting:
        y, x = waiting.pop()
        around = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)}
        new = (around & drawn) - reached
        reached |= new
        waiting += new
    return goal in reached
