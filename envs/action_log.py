"""The actions taken so far in the running episode of every environment."""

import numpy as np
from jaxtyping import Bool, Integer, UInt8


class ActionLog:
    """Keeps the actions since each environment's episode began, one byte each.

    All environments share the rows of one array, a row per step, so that a step costs one write. Rows from before the
    oldest running episode are dropped when the array is full; it grows only to twice the longest episode.
    """

    def __init__(self, num_envs: int, *, capacity: int = 1024) -> None:
        self._rows = np.zeros((capacity, num_envs), dtype=np.uint8)
        self._begin = np.zeros(num_envs, dtype=np.int64)
        self._end = 0

    def append(self, actions: Integer[np.ndarray, "n"]) -> None:
        """Adds one step of every environment."""
        if self._end == len(self._rows):
            self._make_room()
        self._rows[self._end] = actions
        self._end += 1

    def begin(self, mask: Bool[np.ndarray, "n"]) -> None:
        """Starts a new episode, without actions yet, in the environments where `mask` is True."""
        self._begin[mask] = self._end

    def actions(self, env: int) -> UInt8[np.ndarray, "t"]:
        """Returns the actions of one environment's running episode, oldest first."""
        return self._rows[self._begin[env] : self._end, env].copy()

    def _make_room(self) -> None:
        kept = self._rows[self._begin.min() :]
        # Doubling only when more than half is still needed keeps the cost of dropping rows below one write per row.
        capacity = 2 * len(self._rows) if 2 * len(kept) > len(self._rows) else len(self._rows)
        rows = np.zeros((capacity, self._rows.shape[1]), dtype=np.uint8)
        rows[: len(kept)] = kept
        self._end -= len(self._rows) - len(kept)
        self._begin -= len(self._rows) - len(kept)
        self._rows = rows
