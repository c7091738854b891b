"""Where every observation of every environment lies in the replay, and which of them can start a transition.

Glossary: N environments, S stack, n n-step, L slots per environment. The ring of one environment has L positions;
position p of environment e is slot p * N + e, so that what all environments wrote together lies together, a replay
that is not full yet is a prefix, and one step later is N slots further, modulo N * L.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8

TERMINAL = np.uint8(1)  # the value after this step is zero: a true end, or a life lost
ENDED = np.uint8(2)  # the episode is over after this step, truly or by truncation
FINAL = np.uint8(4)  # the last observation of an episode: no step was taken from here
STOP = TERMINAL | ENDED

Slots = Int64[np.ndarray, " n"]


class RingChange(NamedTuple):
    """What writing one slot per environment did: where it wrote, and which starts of transitions came and went."""

    slot: Slots
    admitted: Int64[np.ndarray, " admitted"]
    retired: Int64[np.ndarray, " retired"]


class NStepWindow(NamedTuple):
    """The steps of n-step transitions, one column a transition; rows are the steps k = 0 .. n-1."""

    slot: Int64[np.ndarray, "n_step b"]
    taken: Bool[np.ndarray, "n_step b"]  # false from the first step after an edge on
    num_steps: Int64[np.ndarray, " b"]  # number taken, 1 .. n
    terminal: Bool[np.ndarray, " b"]  # the last step taken was terminal
    next_slot: Int64[np.ndarray, " b"]  # the observation after the last step taken


class EpisodeRing:
    """Follows the episodes of `num_envs` environments through rings of capacity // num_envs slots each.

    A slot can start a transition ("is samplable") when a step was taken from it, the observation that ends its n
    steps (or fewer, at an episode's edge) is written, and none of its stack is overwritten.
    """

    def __init__(self, capacity: int, *, num_envs: int, stack: int, n_step: int) -> None:
        for name, value in {"num_envs": num_envs, "stack": stack, "n_step": n_step}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if stack > 256:
            raise ValueError(f"stack must be at most 256, got {stack}")  # depths are kept in a byte
        slots_per_env = capacity // num_envs
        if slots_per_env < stack + n_step:
            # With one slot less, a full ring would overwrite every stack before its n steps are complete.
            raise ValueError(
                f"each environment needs stack + n_step = {stack + n_step} slots or more, "
                f"got {slots_per_env} for each of {num_envs} environments"
            )
        self.num_envs = num_envs
        self.stack = stack
        self.n_step = n_step
        self.size = num_envs * slots_per_env
        self.samplable = np.zeros(self.size, dtype=np.bool_)
        self._flags = np.zeros(self.size, dtype=np.uint8)
        # How many earlier frames of its episode a slot's stack can use, at most S - 1.
        self._depth = np.zeros(self.size, dtype=np.uint8)
        self._written = np.zeros(num_envs, dtype=np.int64)  # slots ever written, a number per environment

    @property
    def used(self) -> int:
        """All slots ever written lie below this number."""
        return min(int(self._written.max()) * self.num_envs, self.size)

    def advance(self, envs: Slots, flags: UInt8[np.ndarray, " n"]) -> RingChange:
        """Takes the next slot of each of these environments (distinct) for an observation with these flags."""
        slot = (self._written[envs] * self.num_envs + envs) % self.size
        before = (slot - self.num_envs) % self.size
        first = (self._written[envs] == 0) | (self._flags[before] & FINAL > 0)
        depth = np.where(first, 0, np.minimum(self._depth[before].astype(np.int64) + 1, self.stack - 1))
        retired = self._retire(slot)
        self._flags[slot] = flags
        self._depth[slot] = depth
        self._written[envs] += 1
        return RingChange(slot, self._admit(slot, envs), retired)

    def _retire(self, slot: Slots) -> Int64[np.ndarray, " retired"]:
        """Marks what is lost when `slot` is overwritten: itself, and the slots whose stacks reach back to it."""
        distance = np.arange(self.stack)[:, None]  # (S, 1)
        reader = (slot + distance * self.num_envs) % self.size  # (S, n)
        lost = reader[self.samplable[reader] & (self._depth[reader] >= distance)]
        self.samplable[lost] = False
        return lost

    def _admit(self, slot: Slots, envs: Slots) -> Int64[np.ndarray, " admitted"]:
        """Marks the starts whose steps are complete now that `slot` holds an observation."""
        distance = np.arange(1, self.n_step + 1)[:, None]  # (n_step, 1)
        start = (slot - distance * self.num_envs) % self.size  # (n_step, n)
        flags = self._flags[start]
        written = self._written[envs] > distance
        # The step into `slot` may end an episode or a life; any earlier edge belongs to transitions admitted before.
        unbroken = written & (flags & FINAL == 0)
        unbroken[1:] &= flags[1:] & STOP == 0
        unbroken = np.logical_and.accumulate(unbroken, axis=0)
        complete = (distance == self.n_step) | (flags[0] & STOP > 0)
        admitted: Int64[np.ndarray, " admitted"] = start[unbroken & complete]
        self.samplable[admitted] = True
        return admitted

    def window(self, start: Slots) -> NStepWindow:
        """Returns the steps of the transitions that start at these samplable slots."""
        distance = np.arange(self.n_step)[:, None]  # (n_step, 1)
        slot = (start + distance * self.num_envs) % self.size  # (n_step, b)
        flags = self._flags[slot]
        stop = flags & STOP > 0
        taken = np.ones_like(stop)
        taken[1:] = ~np.logical_or.accumulate(stop, axis=0)[:-1]
        num_steps = taken.sum(axis=0)
        return NStepWindow(
            slot=slot,
            taken=taken,
            num_steps=num_steps,
            terminal=np.logical_or.reduce(taken & (flags & TERMINAL > 0), axis=0),
            next_slot=(start + num_steps * self.num_envs) % self.size,
        )

    def stack_slots(self, slot: Slots) -> Int64[np.ndarray, "n stack"]:
        """Returns the slots of each stack, oldest first; an episode's first frame repeats to its left."""
        steps_back = np.minimum(np.arange(self.stack)[::-1], self._depth[slot][:, None].astype(np.int64))
        slots: Int64[np.ndarray, "n stack"] = (slot[:, None] - steps_back * self.num_envs) % self.size
        return slots

    def steps_since(self, slot: Slots) -> Int64[np.ndarray, " n"]:
        """Returns how many observations its environment has written since each of these slots."""
        envs = slot % self.num_envs
        newest = (self._written[envs] - 1) * self.num_envs + envs
        steps: Slots = (newest - slot) % self.size // self.num_envs
        return steps

    def state_dict(self) -> dict[str, Any]:
        """Returns the ring as tensors and numbers, which share memory with it."""
        return {
            "num_envs": self.num_envs,
            "size": self.size,
            "stack": self.stack,
            "n_step": self.n_step,
            "written": torch.from_numpy(self._written),
            "flags": torch.from_numpy(self._flags[: self.used]),
            "depth": torch.from_numpy(self._depth[: self.used]),
            "samplable": torch.from_numpy(self.samplable[: self.used]),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        for name in ("num_envs", "size", "stack", "n_step"):
            if state[name] != getattr(self, name):
                raise ValueError(f"the saved replay has {name} {state[name]}, this one has {getattr(self, name)}")
        self._written[:] = state["written"].numpy()
        for name, array in (("flags", self._flags), ("depth", self._depth), ("samplable", self.samplable)):
            array[:] = 0
            array[: self.used] = state[name].numpy()
