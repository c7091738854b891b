"""The time steps that S4 and S4D start with: over how many positions each channel remembers."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def log_uniform_time_steps(count: int, dt_min: float, dt_max: float) -> Float[Tensor, " count"]:
    """Returns logarithms of steps between `dt_min` and `dt_max`, drawn uniformly (Gu et al. 2022, appendix D.2).

    Raises:
        ValueError: not 0 < dt_min <= dt_max.
    """
    if not 0.0 < dt_min <= dt_max:
        raise ValueError(f"0 < dt_min <= dt_max must hold, got {dt_min} and {dt_max}")
    return torch.empty(count).uniform_(math.log(dt_min), math.log(dt_max))
