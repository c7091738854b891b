"""The actions that every environment of a vector has taken since it was last seeded."""

import numpy as np
from jaxtyping import Bool, Int64, Integer, UInt8


class ActionLog:
    """Keeps the actions since each environment's log was begun, one byte each.

    All environments share the rows of one array, a row per step, so that a step costs one write. Rows from before the
    oldest beginning are dropped when the array is full; it grows to at most four times the longest log.
    """

    def __init__(self, num_envs: int, *, capacity: int = 1024) -> None:
        self._rows = np.zeros((capacity, num_envs), dtype=np.uint8)
        self._begins = np.zeros(num_envs, dtype=np.int64)
        self._end = 0

    @property
    def lengths(self) -> Int64[np.ndarray, "n"]:
        """Number of actions in each environment's log."""
        return self._end - self._begins

    def append(self, actions: Integer[np.ndarray, "n"]) -> None:
        """Adds one step of every environment."""
        if self._end == len(self._rows):
            self._make_room()
        self._rows[self._end] = actions
        self._end += 1

    def begin(self, mask: Bool[np.ndarray, "n"]) -> None:
        """Empties the logs of the environments where `mask` is True."""
        self._begins[mask] = self._end

    def actions(self, env: int) -> UInt8[np.ndarray, "t"]:
        """Returns the actions in one environment's log, oldest first."""
        return self._rows[self._begins[env] : self._end, env].copy()

    def _make_room(self) -> None:
        dropped = int(self._begins.min())
        kept = self._rows[dropped:]
        # Doubling when more than half is still needed keeps the cost of copying rows below two writes per row.
        capacity = 2 * len(self._rows) if 2 * len(kept) > len(self._rows) else len(self._rows)
        rows = np.zeros((capacity, self._rows.shape[1]), dtype=np.uint8)
        rows[: len(kept)] = kept
        self._end -= dropped
        self._begins -= dropped
        self._rows = rows
