"""What the learner learns from: a batch of transitions, as the replay gives it and the agent takes it."""

from typing import NamedTuple

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
