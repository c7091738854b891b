"""Random numbers from a generator that is passed in, drawn on the generator's own device."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def draw_uniform(shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "*shape"]:
    """Returns numbers that are uniform over 0 .. 1."""
    return torch.rand(shape, generator=generator, device=generator.device)


def draw_normal(shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "*shape"]:
    """Returns numbers from the standard normal distribution."""
    return torch.randn(shape, generator=generator, device=generator.device)


def draw_integers(shape: tuple[int, ...], low: int, high: int, generator: torch.Generator) -> Int64[Tensor, "*shape"]:
    """Returns whole numbers that are uniform over low .. high, both included."""
    return torch.randint(low, high + 1, shape, generator=generator, device=generator.device)
