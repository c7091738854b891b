"""The recurrence of a diagonal matrix minus a matrix of rank 1, a step at a time, in complex128.

Glossary (Gu et al. 2022): x' = A x + B u with A = Lambda - P P^*, and y = 2 Re(C x); D such systems, N numbers of state
as n = N / 2 conjugate pairs, one of each pair kept; discretised by the bilinear rule with a time step dt per channel.
"""

from typing import NamedTuple

import torch
from jaxtyping import Complex128, Float64
from torch import Tensor


class DPLR(NamedTuple):
    """The system with dt taken into it, so that a step is 1 long."""

    poles: Complex128[Tensor, "d n"]  # dt Lambda
    p: Complex128[Tensor, "d n"]  # sqrt(dt) P
    b: Complex128[Tensor, "d n"]  # dt B
    c: Complex128[Tensor, "d n"]


def explicit_half(system: DPLR, state: Complex128[Tensor, "*lead d n"]) -> Complex128[Tensor, "*lead d n"]:
    """Returns (1 + A/2) state; P^* x over both halves of every pair is 2 Re(conj(p) x)."""
    poles, p, _, _ = system
    return state + 0.5 * poles * state - p * (p.conj() * state).real.sum(-1, keepdim=True)


def implicit_half(system: DPLR, moved: Complex128[Tensor, "*lead d n"]) -> Complex128[Tensor, "*lead d n"]:
    """Returns (1 - A/2)^-1 moved: diagonal but for rank 1 (Sherman and Morrison)."""
    poles, p, _, _ = system
    inverse = 1.0 / (1.0 - 0.5 * poles)
    gain = 1.0 + (p.abs().square() * inverse.real).sum(-1, keepdim=True)
    moved = inverse * moved
    return moved - inverse * p * ((p.conj() * moved).real.sum(-1, keepdim=True) / gain)


def bilinear_step(
    system: DPLR, state: Complex128[Tensor, "*lead d n"], u: Float64[Tensor, "*lead d"]
) -> Complex128[Tensor, "*lead d n"]:
    """Returns the state after one input, (1 - A/2)^-1 ((1 + A/2) state + b u), in O(N) per channel."""
    return implicit_half(system, explicit_half(system, state) + system.b * u[..., None])


def observe(system: DPLR, state: Complex128[Tensor, "*lead d n"]) -> Float64[Tensor, "*lead d"]:
    """Returns y = 2 Re(C x)."""
    return 2.0 * (system.c * state).real.sum(-1)


def as_real(z: Complex128[Tensor, "*lead n"]) -> Float64[Tensor, "*lead n2"]:
    """Returns real and imaginary parts side by side: re_0, im_0, re_1, im_1, ..."""
    return torch.view_as_real(z.resolve_conj()).flatten(-2)
