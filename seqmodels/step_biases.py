"""How the step sizes of Mamba start."""

import torch
from jaxtyping import Float
from torch import Tensor

from .time_steps import log_uniform_time_steps

SMALLEST = 1e-4  # the floor of mamba_ssm


def draw_step_biases(num: int, *, dt_min: float, dt_max: float) -> Float[Tensor, " num"]:
    """Returns biases whose softplus is log-uniform between `dt_min` and `dt_max` (Gu and Dao 2023, section 3.6)."""
    dt = log_uniform_time_steps(num, dt_min, dt_max).exp().clamp(min=SMALLEST)
    return dt + torch.log(-torch.expm1(-dt))  # the inverse of softplus
