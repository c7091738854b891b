"""The recurrence of a diagonal matrix minus a matrix of rank 1, a step or a chunk at a time, in complex128.

Glossary (Gu et al. 2022): x' = A x + B u with A = Lambda - P P^*, and y = 2 Re(C x); D such systems, N numbers of state
as n = N / 2 conjugate pairs, one of each pair kept; discretised by the bilinear rule with a time step dt per channel.
"""

from typing import NamedTuple

import torch
from jaxtyping import Complex128, Float, Float64
from torch import Tensor


class DPLR(NamedTuple):
    """The system with dt taken into it, so that a step is 1 long."""

    poles: Complex128[Tensor, "d n"]  # dt Lambda
    p: Complex128[Tensor, "d n"]  # sqrt(dt) P
    b: Complex128[Tensor, "d n"]  # dt B
    c: Complex128[Tensor, "d n"]


class DenseChunk(NamedTuple):
    """The discretised system over Q positions, Q a power of two, on states of N real numbers from the left."""

    kernel: Float64[Tensor, "d q"]
    observe: Float64[Tensor, "d n q"]
    control: Float64[Tensor, "d q n"]
    powers: list[Float64[Tensor, "d n n"]]  # A^1, A^2, A^4, ... A^Q


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


def dense_chunk(system: DPLR, size: int) -> DenseChunk:
    """Returns the discretised system as real matrices, by doubling, in O(N^3 log Q) per channel.

    Raises:
        ValueError: `size` is not a power of two.
    """
    if size < 1 or size & (size - 1):
        raise ValueError(f"a chunk's size must be a power of two, got {size}")
    half = system.poles.shape[1]
    eye = torch.eye(2 * half, dtype=torch.float64, device=system.c.device)
    units = torch.view_as_complex(eye.unflatten(1, (half, 2)))[:, None]  # (N, 1, n): each real number of a state alone
    units = units.expand(-1, system.c.shape[0], -1)
    power = as_real(implicit_half(system, explicit_half(system, units))).transpose(0, 1)  # (D, N, N)
    control = as_real(implicit_half(system, system.b))[:, None]  # (D, 1, N)
    output = as_real(2.0 * system.c.conj())[:, :, None]  # (D, N, 1)
    seen = torch.bmm(power, output)
    powers = [power]
    while seen.shape[2] < size:
        control = torch.cat([torch.bmm(control, power), control], dim=1)
        seen = torch.cat([seen, torch.bmm(power, seen)], dim=2)
        power = torch.bmm(power, power)
        powers.append(power)
    taps = torch.bmm(control[:, -1:], torch.cat([output, seen[:, :, :-1]], dim=2)).squeeze(1)
    return DenseChunk(taps, seen, control, powers)


def advance_dense(
    powers: list[Float[Tensor, "d n n"]], state: Float[Tensor, "d b n"], steps: int
) -> Float[Tensor, "d b n"]:
    """Returns the state after `steps` positions without input, a product per binary digit of `steps`."""
    for digit, power in enumerate(powers):
        if steps >> digit & 1:
            state = torch.bmm(state, power)
    return state


def as_real(z: Complex128[Tensor, "*lead n"]) -> Float64[Tensor, "*lead n2"]:
    """Returns real and imaginary parts side by side: re_0, im_0, re_1, im_1, ..."""
    return torch.view_as_real(z.resolve_conj()).flatten(-2)
