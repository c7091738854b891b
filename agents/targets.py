"""The regression targets of Q-learning, as pure functions on batches."""

from jaxtyping import Float
from torch import Tensor


def td_target(
    reward: Float[Tensor, " b"], discount: Float[Tensor, " b"], next_value: Float[Tensor, " b"]
) -> Float[Tensor, " b"]:
    """Returns the target r + discount * v', without gradient (Mnih et al. 2015, Methods)."""
    return (reward + discount * next_value).detach()


def max_value(target_values: Float[Tensor, "b a"]) -> Float[Tensor, " b"]:
    """Returns max over a of Q_target(s', a): the next value of Q-learning (Mnih et al. 2015, Methods)."""
    return target_values.amax(dim=1)


def double_value(target_values: Float[Tensor, "b a"], online_values: Float[Tensor, "b a"]) -> Float[Tensor, " b"]:
    """Returns Q_target(s', argmax over a of Q_online(s', a)) (van Hasselt et al. 2016, eq. 4)."""
    best_action = online_values.argmax(dim=1, keepdim=True)
    return target_values.gather(1, best_action).squeeze(1)
