"""The optimiser of pretraining and the course of its learning rate."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from .lars import LARS


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW (Loshchilov and Hutter 2019) or LARS (You et al. 2017), with a warm-up and a cosine."""

    optimizer: Literal["adamw", "lars"] = "adamw"
    # At its highest, after the warm-up; 0: 3e-4 with adamw, and 0.3 for 256 samples a batch with lars (SimCLR, B.1)
    learning_rate: float = 0.0
    weight_decay: float = 1e-6  # of matrices and filters; biases, norms, tokens and positions are not decayed
    warmup_steps: int = 100  # the rate rises linearly, and falls as a cosine from there
    max_gradient_norm: float = 10.0  # longer gradients are scaled down to it

    def __post_init__(self) -> None:
        for name in ("learning_rate", "weight_decay", "warmup_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not self.max_gradient_norm > 0:
            raise ValueError(f"max_gradient_norm must be greater than 0, got {self.max_gradient_norm}")


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Returns the optimiser of a model's weights that have gradients; its rate is set before each step."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    # Biases and norms have one axis, tokens and positions of a transformer stand as a batch of one.
    matrices = [weight for weight in weights if weight.ndim > 1 and weight.shape[0] > 1]
    vectors = [weight for weight in weights if weight.ndim <= 1 or weight.shape[0] == 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    if config.optimizer == "lars":
        return LARS([groups[0], groups[1] | {"adapted": False}], lr=0.0)  # the rest as in SimCLR
    return torch.optim.AdamW(groups, lr=0.0, fused=True)


def learning_rate(config: OptimizerConfig, *, step: int, total_steps: int, batch_size: int) -> float:
    """Returns the rate of step 0, 1, ...: a linear warm-up, then a cosine that would reach zero at `total_steps`."""
    peak = config.learning_rate or (3e-4 if config.optimizer == "adamw" else 0.3 * batch_size / 256)
    if step < config.warmup_steps:
        return peak * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(total_steps - config.warmup_steps, 1)
    return peak * (1 + math.cos(math.pi * min(progress, 1.0))) / 2
