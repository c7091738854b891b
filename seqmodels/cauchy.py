"""Sums over conjugate pairs of poles at many points, which never hold one number per pole and point at once.

Glossary: D channels, R sums per channel, n pole pairs, K points.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Complex128, Float64
from torch import Tensor
from torch.autograd.function import once_differentiable

from .block_size import numbers_at_once


class Points(NamedTuple):
    """Where the sums are taken: the quotient x / y, kept as two numbers so that y may be 0."""

    x: Complex128[Tensor, " k"]
    y: Complex128[Tensor, " k"]


def cauchy_sums(
    weights: Complex128[Tensor, "d r n"], poles: Complex128[Tensor, "d n"], points: Points
) -> Complex128[Tensor, "d r k"]:
    """Returns sum over n of w / (x - a y) + conj(w) / (x - conj(a) y).

    Both halves of a pair share one denominator with real coefficients, x^2 - 2 Re(a) x y + |a|^2 y^2: half the
    divisions, and matrix products of real numbers. In float64 what cancels in it near a pole does not matter.
    Neither the forward nor the backward pass keeps the (D, n, K) inverses; the backward pass computes them again.
    """
    conjugate = weights * poles.conj()[:, None]
    numerator = torch.cat([2.0 * weights.real, -2.0 * conjugate.real], dim=1)  # (D, 2R, n)
    denominator = torch.stack([-2.0 * poles.real, poles.real.square() + poles.imag.square()], dim=-1)  # (D, n, 2)
    sums: Tensor = _PairSums.apply(numerator, denominator, points.x, points.y)  # type: ignore[no-untyped-call]
    return sums


def transposed_cauchy_sums(
    flows: Complex128[Tensor, "d r k"],
    poles: Complex128[Tensor, "d n"],
    points: Points,
    weights: Complex128[Tensor, " k"],
) -> Complex128[Tensor, "d r n"]:
    """Returns sum over k of w f / (x - a y) + conj(w f) / (conj(x) - a conj(y)): from points back to poles."""
    denominator = torch.stack([-2.0 * poles.real, poles.real.square() + poles.imag.square()], dim=-1)  # (D, n, 2)
    sums: Tensor = _PointSums.apply(flows, denominator, *points, weights)  # type: ignore[no-untyped-call]
    by_x, by_y = sums.chunk(2, dim=2)
    return 2.0 * (by_x - poles.conj()[:, None] * by_y)


def _real(z: Complex128[Tensor, "*lead k"]) -> Float64[Tensor, "*lead k2"]:
    """Returns real and imaginary parts side by side, so that a product with real numbers is one real product."""
    return torch.view_as_real(z).flatten(-2)


def _complex(z: Float64[Tensor, "*lead k2"]) -> Complex128[Tensor, "*lead k"]:
    return torch.view_as_complex(z.unflatten(-1, (-1, 2)))


def _inverses(
    denominator: Float64[Tensor, "g n 2"], x: Complex128[Tensor, " k"], y: Complex128[Tensor, " k"]
) -> Complex128[Tensor, "g n k"]:
    """Returns 1 / q at every point."""
    terms, square = torch.stack([x * y, y * y]), x * x
    # Real and imaginary parts apart, then conj(q) / |q|^2: half the time of PyTorch's complex reciprocal.
    real = torch.matmul(denominator, terms.real.contiguous()).add_(square.real)
    imaginary = torch.matmul(denominator, terms.imag.contiguous()).add_(square.imag)
    scale = torch.addcmul(real * real, imaginary, imaginary).reciprocal_()
    return torch.complex(real.mul_(scale), imaginary.mul_(scale.neg_()))


class _PairSums(torch.autograd.Function):
    """sum over n of (w_x x + w_y y) / (x^2 + c_1 x y + c_2 y^2), some channels and points at a time."""

    @staticmethod
    def forward(
        ctx: Any,
        numerator: Float64[Tensor, "d r2 n"],
        denominator: Float64[Tensor, "d n 2"],
        x: Complex128[Tensor, " k"],
        y: Complex128[Tensor, " k"],
    ) -> Complex128[Tensor, "d r k"]:
        ctx.save_for_backward(numerator, denominator, x, y)
        channels, num_rows = numerator.shape[:2]
        sums = x.new_empty(channels, num_rows // 2, x.shape[0])
        for some, here in _blocks(denominator, x):
            products = torch.bmm(numerator[some], _real(_inverses(denominator[some], x[here], y[here])))
            by_x, by_y = _complex(products).chunk(2, dim=1)
            sums[some, :, here] = by_x * x[here] + by_y * y[here]
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Complex128[Tensor, "d r k"]) -> tuple[Tensor | None, ...]:
        numerator, denominator, x, y = ctx.saved_tensors
        to_numerator, to_denominator = torch.zeros_like(numerator), torch.zeros_like(denominator)
        for some, here in _blocks(denominator, x):
            inverse = _inverses(denominator[some], x[here], y[here])
            flow = gradient[some, :, here]
            flow = torch.cat([flow * x[here].conj(), flow * y[here].conj()], dim=1)  # (G, 2R, K)
            to_numerator[some] += torch.bmm(_real(flow), _real(inverse).mT)
            reached = _complex(torch.bmm(numerator[some].mT, _real(flow.conj().resolve_conj())))  # (G, n, K)
            to_denominator[some] += _through_inverses(reached, inverse, x[here], y[here])
        return to_numerator, to_denominator, None, None


class _PointSums(torch.autograd.Function):
    """Re of sum over k of f w x / q and of f w y / q, with q = x^2 + c_1 x y + c_2 y^2, as above."""

    @staticmethod
    def forward(
        ctx: Any,
        flows: Complex128[Tensor, "d r k"],
        denominator: Float64[Tensor, "d n 2"],
        x: Complex128[Tensor, " k"],
        y: Complex128[Tensor, " k"],
        weights: Complex128[Tensor, " k"],
    ) -> Float64[Tensor, "d r n2"]:
        ctx.save_for_backward(flows, denominator, x, y, weights)
        channels, num_poles = denominator.shape[:2]
        sums = denominator.new_zeros(channels, flows.shape[1], 2 * num_poles)
        for some, here in _blocks(denominator, x):
            inverse = _inverses(denominator[some], x[here].conj(), y[here].conj())
            both = _conjugate_products(inverse, x[here], y[here], weights[here])
            sums[some] += torch.bmm(_real(flows[some, :, here]), _real(both).mT)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float64[Tensor, "d r n2"]) -> tuple[Tensor | None, ...]:
        flows, denominator, x, y, weights = ctx.saved_tensors
        to_flows, to_denominator = torch.empty_like(flows), torch.zeros_like(denominator)
        for some, here in _blocks(denominator, x):
            inverse = _inverses(denominator[some], x[here], y[here])
            both = _conjugate_products(inverse.conj(), x[here], y[here], weights[here])
            to_flows[some, :, here] = _complex(torch.bmm(gradient[some], _real(both)))
            products = torch.bmm(gradient[some].mT, _real(flows[some, :, here]))
            by_x, by_y = _complex(products).chunk(2, dim=1)  # (G, n, K) each
            reached = by_x * (weights[here] * x[here]) + by_y * (weights[here] * y[here])
            to_denominator[some] += _through_inverses(reached, inverse, x[here], y[here])
        return to_flows, to_denominator, None, None, None


def _conjugate_products(
    inverse: Complex128[Tensor, "g n k"],
    x: Complex128[Tensor, " k"],
    y: Complex128[Tensor, " k"],
    weights: Complex128[Tensor, " k"],
) -> Complex128[Tensor, "g n2 k"]:
    """Returns conj(w x / q), then conj(w y / q), from conj(1 / q): Re(f w x / q) is a real product with them."""
    num_poles = inverse.shape[1]
    both = inverse.new_empty(inverse.shape[0], 2 * num_poles, inverse.shape[2])
    torch.mul(inverse, (weights * x).conj(), out=both[:, :num_poles])
    torch.mul(inverse, (weights * y).conj(), out=both[:, num_poles:])
    return both


def _blocks(denominator: Float64[Tensor, "d n 2"], x: Complex128[Tensor, " k"]) -> Iterator[tuple[slice, slice]]:
    """Yields channels and points whose inverses are held at once; together they are all of both."""
    channels, num_poles = denominator.shape[:2]
    width = min(x.shape[0], max(1, numbers_at_once(x.device) // num_poles))
    group = max(1, numbers_at_once(x.device) // (num_poles * width))
    for start in range(0, channels, group):
        for begin in range(0, x.shape[0], width):
            yield slice(start, start + group), slice(begin, begin + width)


def _through_inverses(
    reached: Complex128[Tensor, "g n k"],
    inverse: Complex128[Tensor, "g n k"],
    x: Complex128[Tensor, " k"],
    y: Complex128[Tensor, " k"],
) -> Float64[Tensor, "g n 2"]:
    """Returns the gradient of the coefficients of q, for Re(sum of reached * d(1 / q)); overwrites `reached`."""
    # d(1/q) = -(x y dc_1 + y^2 dc_2) / q^2
    terms = _real(torch.stack([x * y, y * y]).conj().resolve_conj())  # (2, 2K)
    return -(_real(reached.mul_(inverse).mul_(inverse)) @ terms.T)
