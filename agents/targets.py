"""The regression targets of Q-learning, as pure functions on batches.

A return is given by its q quantiles; where values alone are learnt, q is 1 and the quantile is the value.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


def td_target(
    reward: Float[Tensor, " b"], discount: Float[Tensor, " b"], next_return: Float[Tensor, "b q"]
) -> Float[Tensor, "b q"]:
    """Returns the target r + discount * v', without gradient (Mnih et al. 2015, Methods), for each quantile of v'."""
    return (reward.unsqueeze(1) + discount.unsqueeze(1) * next_return).detach()


def return_of_best_action(
    target_quantiles: Float[Tensor, "b a q"], choosing_values: Float[Tensor, "b a"]
) -> Float[Tensor, "b q"]:
    """Returns the quantiles, by the target network, of the action with the largest choosing value.

    With the target network's own values that is Q-learning (Mnih et al. 2015, Methods), with the online network's
    Double Q-learning (van Hasselt et al. 2016, eq. 4).
    """
    return return_of_action(target_quantiles, choosing_values.argmax(dim=1))


def soft_return(
    target_quantiles: Float[Tensor, "b a q"], target_values: Float[Tensor, "b a"], temperature: float
) -> Float[Tensor, "b q"]:
    """Returns the quantiles of what the softmax policy of the target network gets, and its entropy's worth.

    sum_a pi(a | s') (Z(s', a) - temperature ln pi(a | s')) with pi the softmax of values / temperature (Vieillard et
    al. 2020, eq. 2; Z their q, quantile by quantile as in its M-IQN).
    """
    log_policy = (target_values / temperature).log_softmax(dim=1)
    soft_quantiles = target_quantiles - temperature * log_policy.unsqueeze(2)
    return (log_policy.exp().unsqueeze(2) * soft_quantiles).sum(dim=1)


def munchausen_reward(
    values: Float[Tensor, "b a"], action: Int[Tensor, " b"], temperature: float, floor: float
) -> Float[Tensor, " b"]:
    """Returns temperature ln pi(action | s), no lower than `floor` (Vieillard et al. 2020, eq. 1 and section 4)."""
    log_policy = (values / temperature).log_softmax(dim=1)
    return (temperature * log_policy.gather(1, action.unsqueeze(1)).squeeze(1)).clamp(min=floor, max=0.0)


def return_of_action(quantiles: Float[Tensor, "b a q"], action: Int[Tensor, " b"]) -> Float[Tensor, "b q"]:
    """Returns the quantiles of one action in each row."""
    return quantiles[torch.arange(len(action), device=action.device), action]


def quantile_huber_loss(predicted: Float[Tensor, "b q"], target: Float[Tensor, "b p"]) -> Float[Tensor, " b"]:
    """Returns the quantile Huber loss with kappa 1 (Dabney et al. 2018, eq. 10 and algorithm 1).

    Predicted quantile i stands for the level tau_i = (2i + 1) / 2q. Summed over the predicted quantiles, averaged over
    the targets'.
    """
    num_quantiles = predicted.shape[1]
    levels = (torch.arange(num_quantiles, device=predicted.device, dtype=predicted.dtype) + 0.5) / num_quantiles
    error = target.unsqueeze(1) - predicted.unsqueeze(2)  # (b, q, p)
    huber = nn.functional.huber_loss(error, torch.zeros_like(error), reduction="none")
    weight = (levels.unsqueeze(1) - (error.detach() < 0).to(error.dtype)).abs()  # (b, q, p)
    return (weight * huber).mean(dim=2).sum(dim=1)
