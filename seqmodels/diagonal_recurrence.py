"""The recurrence of a diagonal matrix, a sequence or a step at a time, from powers computed in float64.

In float32 the phase of a fast pole would be lost after a few hundred positions, so every power is a product of numbers
in complex128, and is rounded where it meets the inputs. A power a^l is a^(l1 Q) a^l0 with l = l1 Q + l0: 2 sqrt(L)
numbers per pole do the work of the (N, L) Vandermonde matrix, which is never held.

Glossary: D channels with n poles each; N numbers of state, 2 n of complex poles (one of each conjugate pair) or n of
real ones; B rows, L positions.
"""

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Num
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint

from .fft_convolution import fft_convolution


class Diagonal(NamedTuple):
    """x_t = a x_(t-1) + b u_t and y_t = Re(sum of c x_t), in complex128, or float64 where all poles are real."""

    a: Num[Tensor, "d n"]
    b: Num[Tensor, "d n"]
    c: Num[Tensor, "d n"]


class Levels(NamedTuple):
    """Powers on two levels."""

    fine: Num[Tensor, "d q n"]  # a^0 ... a^(Q - 1)
    coarse: Num[Tensor, "d p n"]  # a^0, a^Q, a^2Q, ...

    @property
    def size(self) -> int:
        """Q."""
        return self.fine.shape[1]


def convolve(
    system: Diagonal, u: Float[Tensor, "b l d"], state: Float[Tensor, "b d n"] | None
) -> tuple[Float[Tensor, "b l d"], Float[Tensor, "b d n"]]:
    """Returns the outputs, and the state after the last position; `state` None is zeros."""
    levels = power_levels(system.a, u.shape[1])
    y = fft_convolution(u, _kernel(system, levels, u.shape[1], u.dtype))
    if state is not None:
        y = y + _response(system, levels, state, u.shape[1])
    # Most callers of a whole sequence never ask for the state's gradient: nothing is kept for it.
    end: Tensor = checkpoint(_end_state, system, levels, u, state, use_reentrant=False, preserve_rng_state=False)
    return y, end


def kernel(system: Diagonal, length: int, dtype: torch.dtype) -> Float[Tensor, "d l"]:
    """Returns Re(sum of c a^l b) for l < length."""
    return _kernel(system, power_levels(system.a.detach(), length), length, dtype)


def step(
    system: Diagonal, state: Float[Tensor, "b d n"], u: Float[Tensor, "b d"]
) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b d n"]]:
    """Returns the output at one position and the state after it."""
    after = system.a * _poles_last(state.double(), system.a) + system.b * u.double()[..., None]
    return (system.c * after).real.sum(-1).to(u.dtype), _numbers_last(after).to(u.dtype)


class _Levels(torch.autograd.Function):
    """Powers by products only, so also where a is 0 and has no logarithm. Keeps none of its steps."""

    @staticmethod
    def forward(ctx: Any, a: Num[Tensor, "d n"], size: int, count: int) -> tuple[Tensor, Tensor]:
        fine = _powers(a, size)
        coarse = _powers(fine[:, -1] * a, count)
        ctx.save_for_backward(fine, coarse)
        return fine, coarse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_fine: Num[Tensor, "d q n"], to_coarse: Num[Tensor, "d p n"]) -> tuple[Tensor, None, None]:
        # The derivative of a^l is l a^(l - 1).
        fine, coarse = ctx.saved_tensors
        size, count = fine.shape[1], coarse.shape[1]
        order = torch.arange(1, max(size, count), device=fine.device)[:, None]
        of_fine = torch.linalg.vecdot(fine[:, :-1] * order[: size - 1], to_fine[:, 1:], dim=1)
        later = torch.linalg.vecdot(coarse[:, :-1] * (size * order[: count - 1]), to_coarse[:, 1:], dim=1)
        return of_fine + fine[:, -1].conj() * later, None, None


def _powers(a: Num[Tensor, "d n"], count: int) -> Num[Tensor, "d count n"]:
    """Returns a^0 ... a^(count - 1), without gradient."""
    factors = a[:, None].expand(-1, count, -1).clone()
    factors[:, 0] = 1.0
    return factors.cumprod(1)


def power_levels(a: Num[Tensor, "d n"], length: int) -> Levels:
    """Returns the two levels whose products are a^0 ... a^(length - 1)."""
    size = 1 << math.isqrt(max(length - 1, 1)).bit_length()
    return Levels(*_Levels.apply(a, size, -(-length // size)))  # type: ignore[no-untyped-call]


def _kernel(system: Diagonal, levels: Levels, length: int, dtype: torch.dtype) -> Float[Tensor, "d l"]:
    fine, coarse = levels.fine.detach(), levels.coarse.detach()
    taps: Tensor = _Taps.apply(system.a, system.c * system.b, fine, coarse, dtype)  # type: ignore[no-untyped-call]
    return taps.flatten(1)[:, :length]


class _Taps(torch.autograd.Function):
    """Re(sum over n of w_n a_n^l) at l = p Q + q, given the powers of a, which take no gradient of their own."""

    @staticmethod
    def forward(
        ctx: Any,
        a: Num[Tensor, "d n"],
        w: Num[Tensor, "d n"],
        fine: Num[Tensor, "d q n"],
        coarse: Num[Tensor, "d p n"],
        dtype: torch.dtype,
    ) -> Float[Tensor, "d p q"]:
        columns = _numbers_last(fine).to(dtype)
        ctx.save_for_backward(w, coarse, columns)
        return _real_product(coarse * w[:, None], columns)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, "d p q"]) -> tuple[Tensor, Tensor, None, None, None]:
        # The tap at l has the derivatives a^l by w, and w l a^(l - 1) by a: what reaches l + 1 meets a^l there.
        w, coarse, columns = ctx.saved_tensors
        channels, count, size = gradient.shape
        both = gradient.new_zeros(channels, 2, count * size)
        both[:, 0] = taps = gradient.flatten(1)
        order = torch.arange(1, count * size, device=w.device, dtype=taps.dtype)
        torch.mul(taps[:, 1:], order, out=both[:, 1, :-1])
        sums = torch.bmm(both.view(channels, 2 * count, size), columns).double()  # over q
        of_w, of_slope = (_poles_last(sums, w).unflatten(1, (2, count)) * coarse[:, None]).sum(2).unbind(1)
        return (w * of_slope).conj(), of_w.conj(), None, None, None


def _response(system: Diagonal, levels: Levels, state: Float[Tensor, "b d n"], length: int) -> Float[Tensor, "b l d"]:
    """Returns Re(sum of c a^(l + 1) x) for the state x before position 0."""
    before = (_poles_last(state.double(), system.a) * (system.c * system.a)).transpose(0, 1)  # (D, B, n)
    spread = (before[:, :, None] * levels.coarse[:, None]).flatten(1, 2)  # (D, B L / Q, n)
    seen = _real_product(spread, _numbers_last(levels.fine).to(state.dtype))  # (D, B L / Q, Q)
    y: Tensor = seen.unflatten(1, (state.shape[0], -1)).flatten(2)[:, :, :length].permute(1, 2, 0)
    return y


def _end_state(
    system: Diagonal, levels: Levels, u: Float[Tensor, "b l d"], state: Float[Tensor, "b d n"] | None
) -> Float[Tensor, "b d n"]:
    """Returns a^L x + sum of a^(L - 1 - j) b u_j."""
    batch, length = u.shape[:2]
    size, count = levels.size, levels.coarse.shape[1]
    # Backwards, the input that is l positions before the end meets a^l; zeros fill the last group.
    backwards = pad(u.flip(1).permute(2, 0, 1), (0, size * count - length))  # (D, B, L)
    fine = _numbers_last(levels.fine).to(u.dtype)  # (D, Q, N)
    grouped = torch.bmm(backwards.unflatten(2, (count, size)).flatten(1, 2), fine)  # (D, B L / Q, N)
    weighted = _poles_last(grouped.unflatten(1, (batch, count)), system.a) * _rounded(levels.coarse, u.dtype)[:, None]
    end = weighted.sum(2) * system.b[:, None]  # (D, B, n)
    if state is not None:
        decay = system.a * levels.fine[:, length - size * (count - 1) - 1] * levels.coarse[:, -1]  # a^L
        end = end + (_poles_last(state.double(), system.a) * decay).transpose(0, 1)
    return _numbers_last(end.transpose(0, 1)).to(u.dtype)


def _rounded(x: Num[Tensor, "..."], dtype: torch.dtype) -> Num[Tensor, "..."]:
    return x.to(dtype.to_complex() if x.is_complex() else dtype)


def _poles_last(x: Float[Tensor, "*lead numbers"], like: Tensor) -> Num[Tensor, "*lead poles"]:
    """Returns N numbers of state as one number per pole, complex if `like` is."""
    return torch.view_as_complex(x.unflatten(-1, (-1, 2))) if like.is_complex() else x


def _numbers_last(x: Num[Tensor, "*lead poles"]) -> Float[Tensor, "*lead numbers"]:
    """Returns one number per pole as N numbers of state."""
    return torch.view_as_real(x.resolve_conj()).flatten(-2) if x.is_complex() else x


def _real_product(x: Num[Tensor, "d p n"], y: Float[Tensor, "d q numbers"]) -> Float[Tensor, "d p q"]:
    """Returns Re(sum over poles of x_p y_q), y as numbers of state: complex numbers at the cost of real ones."""
    return torch.bmm(_numbers_last(_rounded(x, y.dtype).conj()), y.mT)
