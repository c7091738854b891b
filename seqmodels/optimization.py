"""The optimiser of sequence models and the course of its learning rates."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from .parameter_groups import parameter_groups


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW (Loshchilov and Hutter 2019) with a warm-up and a cosine."""

    learning_rate: float = 1e-3  # at its highest, after the warm-up
    state_space_learning_rate: float = 1e-3  # at most, for S4's and Mamba's state-space parameters
    weight_decay: float = 0.01
    warmup_steps: int = 100  # the rate rises linearly, and falls as a cosine from there
    final_learning_rate_fraction: float = 0.0  # where the cosine ends
    max_gradient_norm: float = 1.0  # longer gradients are scaled down to it

    def __post_init__(self) -> None:
        for name in ("warmup_steps", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("learning_rate", "state_space_learning_rate", "max_gradient_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be greater than 0, got {getattr(self, name)}")
        if not 0 <= self.final_learning_rate_fraction <= 1:
            raise ValueError(
                f"final_learning_rate_fraction must be within [0, 1], got {self.final_learning_rate_fraction}"
            )


def build_optimizer(model: nn.Module, config: OptimizerConfig, *, scales_loss: bool) -> torch.optim.AdamW:
    """Returns AdamW with a group of its own for state-space parameters.

    Their rate is the smaller of the two: a rate from a grid never drives them faster than their own.
    """
    groups = parameter_groups(model)
    rate = config.learning_rate
    state_space_rate = min(rate, config.state_space_learning_rate)
    settings = [
        {"name": "decayed", "params": groups.decayed, "lr": rate, "weight_decay": config.weight_decay},
        {"name": "not decayed", "params": groups.not_decayed, "lr": rate, "weight_decay": 0.0},
        {"name": "state space", "params": groups.state_space, "lr": state_space_rate, "weight_decay": 0.0},
    ]
    # One fused pass over all parameters; it cannot be had for complex ones, nor with clipping and a loss scale at once.
    fused = not scales_loss and not any(parameter.is_complex() for parameter in model.parameters())
    return torch.optim.AdamW([group for group in settings if group["params"]], fused=fused)


def build_schedule(
    optimizer: torch.optim.Optimizer, config: OptimizerConfig, *, total_steps: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Returns a linear warm-up and then a cosine (Loshchilov and Hutter 2017) down to the last step."""

    def fraction(step: int) -> float:
        if step < config.warmup_steps:
            return (step + 1) / config.warmup_steps
        progress = (step - config.warmup_steps) / max(total_steps - config.warmup_steps, 1)
        cosine = (1 + math.cos(math.pi * min(progress, 1.0))) / 2
        return config.final_learning_rate_fraction + (1 - config.final_learning_rate_fraction) * cosine

    return torch.optim.lr_scheduler.LambdaLR(optimizer, fraction)


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Returns the rates of the next update, by the names of their curves."""
    rates = {str(group["name"]): float(group["lr"]) for group in optimizer.param_groups}
    metrics = {"rate": max(rates.get("decayed", 0.0), rates.get("not decayed", 0.0))}
    if "state space" in rates:
        metrics["state_space_rate"] = rates["state space"]
    return metrics
