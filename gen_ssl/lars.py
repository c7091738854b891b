"""LARS: every layer's step is as long as its weights allow (You et al. 2017).

For weights w with gradient g, rate r, trust t, decay b and momentum m (algorithm 1):

    local = t |w| / (|g| + b |w|),   v <- m v + r local (g + b w),   w <- w - v
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling, for large batches of contrastive methods.

    A group of parameters with `adapted` False has a local rate of 1: as in SimCLR's code, biases and the gains of norms
    belong there, with a `weight_decay` of 0. The local rate of weights or gradients that are all zero is 1 as well.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 1e-6,  # Chen et al. 2020, section 2.1
        trust: float = 0.001,  # You et al. 2017, section 5
    ) -> None:
        for name, value in (("lr", lr), ("momentum", momentum), ("weight_decay", weight_decay), ("trust", trust)):
            if value < 0:
                raise ValueError(f"{name} must be at least 0, got {value}")
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust, "adapted": True}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Takes one step; with a closure, which computes gradients, returns its loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weights in group["params"]:
                if weights.grad is not None:
                    self._move(weights, weights.grad, group)
        return loss

    def _move(self, weights: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        update = gradient + group["weight_decay"] * weights
        if group["adapted"]:
            length = weights.norm()
            local = group["trust"] * length / (gradient.norm() + group["weight_decay"] * length)
            # Without looking at the numbers, which would wait for a GPU. 0 / 0 is not finite.
            update = update * torch.where(local.isfinite() & (local > 0), local, torch.ones_like(local))
        state = self.state[weights]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(weights)
        state["velocity"].mul_(group["momentum"]).add_(update, alpha=group["lr"])
        weights.sub_(state["velocity"])
