"""A network that follows another one slowly: theta' <- m theta' + (1 - m) theta (He et al. 2020, eq. 2)."""

import copy
from typing import TypeVar

from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def frozen_copy(module: ModuleT) -> ModuleT:
    """Returns a copy that receives no gradient."""
    return copy.deepcopy(module).requires_grad_(False)


def follow(follower: nn.Module, leader: nn.Module, *, momentum: float) -> None:
    """Moves the follower's weights by the share 1 - momentum of their way to the leader's."""
    average = get_ema_multi_avg_fn(momentum)
    average(list(follower.parameters()), list(leader.parameters()), None)  # the last one is a count, not used by it


def check_momentum(momentum: float) -> None:
    """Raises ValueError unless momentum lies between 0 and 1."""
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum must lie between 0 and 1, got {momentum}")
