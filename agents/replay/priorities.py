"""Proportional prioritised replay (Schaul et al. 2016, sections 3.3 and 3.4)."""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64, Shaped

from .sum_tree import SumTree


class PrioritisedDraw(NamedTuple):
    """Slots drawn in proportion to their priority, and the probability with which each was drawn."""

    slot: Int64[np.ndarray, " b"]
    probability: Float64[np.ndarray, " b"]


class Priorities:
    """Keeps p = (|TD error| + epsilon)^exponent for every transition that can be sampled, 0 for every other slot.

    A new transition gets the largest p there ever was (1 at first), so that each is likely to be seen once.
    """

    def __init__(self, capacity: int, *, exponent: float = 0.6, epsilon: float = 1e-6) -> None:
        # exponent: Schaul et al. 2016, table 3 (proportional variant)
        if not 0.0 <= exponent <= 1.0:
            raise ValueError(f"exponent must be between 0 and 1, got {exponent}")
        if epsilon <= 0.0:
            # A zero TD error would give priority zero: never drawn again, and an infinite importance weight.
            raise ValueError(f"epsilon must be positive, got {epsilon}")
        self.capacity = capacity
        self.exponent = exponent
        self.epsilon = epsilon
        self._tree = SumTree(capacity)
        self._largest = 1.0

    def admit(self, slots: Int64[np.ndarray, " n"]) -> None:
        """Gives transitions that have just become samplable the largest priority so far."""
        self._tree.set(slots, self._largest)

    def retire(self, slots: Int64[np.ndarray, " n"]) -> None:
        """Gives transitions that can no longer be sampled priority 0."""
        self._tree.set(slots, 0.0)

    def update(self, slots: Int64[np.ndarray, " n"], td_error: Shaped[np.ndarray, " n"]) -> None:
        """Sets the priorities that follow from these TD errors (any sign); FloatingPointError if one is not finite."""
        if not np.isfinite(td_error).all():
            raise FloatingPointError("td_error must be finite, got infinity or NaN")
        priority = (np.abs(td_error.astype(np.float64)) + self.epsilon) ** self.exponent
        self._tree.set(slots, priority)
        if len(priority):
            self._largest = max(self._largest, float(priority.max()))

    def draw(self, batch_size: int, generator: np.random.Generator) -> PrioritisedDraw:
        """Draws one slot from each of `batch_size` equal strata of the total priority."""
        total = self._tree.total
        mass = (np.arange(batch_size) + generator.random(batch_size)) * (total / batch_size)
        slot = self._tree.find(np.minimum(mass, np.nextafter(total, 0.0)))
        return PrioritisedDraw(slot, self._tree.get(slot) / total)

    def state_dict(self, used: int) -> dict[str, Any]:
        """Returns the priorities of the first `used` slots and the largest so far."""
        return {"priority": torch.from_numpy(self._tree.get(np.arange(used))), "largest": self._largest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned, from priorities of the same capacity."""
        priority = state["priority"].numpy()
        everything = np.zeros(self.capacity)
        everything[: len(priority)] = priority
        self._tree.set(np.arange(self.capacity), everything)
        self._largest = float(state["largest"])
