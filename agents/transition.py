"""What goes into an update and what comes out: a batch of transitions, and what the update saw."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor


class TransitionBatch(NamedTuple):
    """n-step transitions, one a row.

    There is no `done`: where the value after the transition is zero, `discount` is zero. A time limit is no such
    place, so truncated episodes bootstrap by construction.
    """

    observation: Shaped[Tensor, "b *item"]
    action: Int[Tensor, " b"]
    reward: Float[Tensor, " b"]  # sum over k < n of gamma^k r_{t+k}
    discount: Float[Tensor, " b"]  # gamma^k for the k steps taken, or 0 after a terminal state
    next_observation: Shaped[Tensor, "b *item"]
    weight: Float[Tensor, " b"]  # importance weights, at most 1; ones when sampled uniformly
    slot: Int[Tensor, " b"]  # where the replay keeps the transition, to hand priorities back

    def to(self, device: torch.device) -> "TransitionBatch":
        """Returns the batch on `device`; `slot`, which only the replay reads, stays on the host."""
        needed = (name for name in self._fields if name != "slot")
        return self._replace(**{name: getattr(self, name).to(device, non_blocking=True) for name in needed})


class UpdateResult(NamedTuple):
    """What one update saw, as tensors on the agent's device: reading them waits for the device, so read few."""

    loss: Float[Tensor, ""]
    error: Float[Tensor, " b"]  # which priorities follow: Q_online(s, a) - y before the update, or the quantile loss
    q_mean: Float[Tensor, ""]  # mean over the batch of max_a Q_online(s, a)
    q_max: Float[Tensor, ""]  # max over the batch of the same
