"""A binary tree of sums over non-negative numbers, to draw an index in proportion to its number."""

import numpy as np
from jaxtyping import Float64, Int64


class SumTree:
    """Holds `num_leaves` non-negative float64 values; setting or drawing n of them takes O(n log num_leaves).

    The tree lies in one array: node 1 is the root, the children of node i are 2i and 2i + 1, leaves come last. Sums
    are recomputed from their two children, never adjusted by differences, so that they cannot drift.
    """

    def __init__(self, num_leaves: int) -> None:
        if num_leaves < 1:
            raise ValueError(f"num_leaves must be at least 1, got {num_leaves}")
        self.num_leaves = num_leaves
        self._depth = (num_leaves - 1).bit_length()
        self._first_leaf = 1 << self._depth
        self._nodes = np.zeros(2 * self._first_leaf, dtype=np.float64)

    @property
    def total(self) -> float:
        """Sum of all leaves."""
        return float(self._nodes[1])

    def get(self, indices: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """Returns the values at these leaves."""
        values: Float64[np.ndarray, " n"] = self._nodes[self._first_leaf + indices]
        return values

    def set(self, indices: Int64[np.ndarray, " n"], values: Float64[np.ndarray, " n"] | float) -> None:
        """Sets the values at these leaves; where an index repeats, its last value stays."""
        node = self._first_leaf + indices
        self._nodes[node] = values
        for _ in range(self._depth):
            node = node >> 1
            self._nodes[node] = self._nodes[2 * node] + self._nodes[2 * node + 1]

    def find(self, mass: Float64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """Returns for each mass in [0, total) the leaf whose interval of the running sum holds it.

        A leaf of value 0 is never returned, whatever the rounding, as long as the total is positive.
        """
        node = np.ones(len(mass), dtype=np.int64)
        for _ in range(self._depth):
            left = 2 * node
            left_sum, right_sum = self._nodes[left], self._nodes[left + 1]
            # Rounding can leave a mass just past the last positive leaf: an empty right half is never entered.
            go_right = ((mass >= left_sum) & (right_sum > 0)) | (left_sum == 0)
            mass = np.where(go_right, mass - left_sum, mass)
            node = left + go_right
        return node - self._first_leaf
