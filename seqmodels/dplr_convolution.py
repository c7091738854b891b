"""S4's convolution: the kernel of a DPLR system, and the states before and after a sequence, by Cauchy sums.

With w for a delay of one position, the states of a row have the generating function
S(w) = sum over l of w^l x_(l+1) = (1 - w A)^-1 (A x_0 + B U(w)), A and B discretised. In the letters of the
continuous system that is 2 (X - Y A)^-1 (b U(w) + (1 + A/2) x_0) with X = 2 (1 - w) and Y = 1 + w, an inverse that is
diagonal but for rank 1 (Woodbury).

Everything is read off on a circle inside the unit circle: what lies beyond a row's end comes back damped by
radius^points. So C itself is the parameter, not C (1 - A^L) as in S4's own code, no power of A is ever taken, and every
length gives the same numbers. And X / Y, infinite at w = -1, is kept as a quotient: nothing divides by Y.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Complex128, Float, Float64
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .block_size import numbers_at_once
from .cauchy import Points, cauchy_sums, transposed_cauchy_sums
from .dplr import DPLR, explicit_half
from .fft_convolution import fft_convolution, good_length


class Circle(NamedTuple):
    """Points on the upper half of a circle; functions with real coefficients are conjugate on the lower half."""

    num_points: int  # on the whole circle
    log_radius: float
    points: Points


class Resolvent(NamedTuple):
    """What rank 1 needs of (X - Y A)^-1 at every point of a circle."""

    cp: Complex128[Tensor, "d k"]
    pb: Complex128[Tensor, "d k"]
    correction: Complex128[Tensor, "d k"]  # Y / (1 + Y p^* R p), with R the inverse of the diagonal part


def convolve(
    system: DPLR, u: Float[Tensor, "b l d"], state: Complex128[Tensor, "b d n"] | None, *, precision: float
) -> tuple[Float[Tensor, "b l d"], Complex128[Tensor, "b d n"]]:
    """Returns the outputs and the state after the last position, starting from `state`, or from zeros where it is None.

    Errors are about `precision` of the largest number beside what rounding to the dtype of u costs.
    """
    circle = circle_for(u.shape[1], precision=precision, device=u.device)
    transfer, resolvent = _woodbury(system, circle.points)
    y = fft_convolution(u, _coefficients(circle, transfer, u.shape[1]).to(u.dtype))
    forced = None if state is None else explicit_half(system, state).transpose(0, 1)  # (D, B, n)
    remembered = None
    if forced is not None:
        weights = torch.cat([system.c[:, None] * forced, system.p.conj()[:, None] * forced], dim=1)
        seen, remembered = cauchy_sums(weights, system.poles, circle.points).chunk(2, dim=1)  # (D, B, K) each
        from_state = 2.0 * (seen - (resolvent.cp * resolvent.correction)[:, None] * remembered)
        y = y + _coefficients(circle, from_state, u.shape[1]).permute(1, 2, 0).to(u.dtype)
    return y, _end_state(system, u, resolvent, circle, forced, remembered)


def kernel(system: DPLR, length: int, *, precision: float) -> Float64[Tensor, "d l"]:
    """Returns C A^l B, discretised, for l < length, to about `precision` of the largest."""
    circle = circle_for(length, precision=precision, device=system.c.device)
    transfer, _ = _woodbury(system, circle.points)
    return _coefficients(circle, transfer, length)


def circle_for(length: int, *, precision: float, device: torch.device) -> Circle:
    """Returns a circle from which coefficients 0 ... length - 1 can be read to about `precision`.

    With k points per position, the radius with radius^length = eps^(1 / (k + 1)) balances what comes back from beyond
    the end, radius^(k length), and rounding, which grows by radius^-length: both are eps^(k / (k + 1)).
    """
    log_eps = math.log(torch.finfo(torch.float64).eps)
    per_position = max(1, math.ceil(math.log(precision) / (log_eps - math.log(precision))))
    num_points = good_length(per_position * length)
    log_radius = log_eps / ((per_position + 1) * length)
    angle = torch.arange(num_points // 2 + 1, device=device, dtype=torch.float64) * (2.0 * math.pi / num_points)
    w = torch.exp(torch.complex(torch.full_like(angle, log_radius), -angle))
    return Circle(num_points, log_radius, Points(2.0 * (1.0 - w), 1.0 + w))


def _woodbury(system: DPLR, points: Points) -> tuple[Complex128[Tensor, "d k"], Resolvent]:
    """Returns the kernel's generating function, 2 C (X - Y A)^-1 b, and what it was made of."""
    poles, p, b, c = system
    weights = torch.stack([c * b, c * p, p.conj() * b, p.conj() * p], dim=1)
    cb, cp, pb, pp = cauchy_sums(weights, poles, points).unbind(1)
    correction = points.y / (1.0 + points.y * pp)
    return 2.0 * (cb - cp * pb * correction), Resolvent(cp, pb, correction)


def _coefficients(circle: Circle, function: Complex128[Tensor, "*lead k"], length: int) -> Float64[Tensor, "*lead l"]:
    """Returns coefficients 0 ... length - 1 of a generating function from its values on the circle."""
    damped: Tensor = torch.fft.irfft(function, n=circle.num_points)[..., :length]
    return damped * torch.exp(torch.arange(length, device=damped.device, dtype=torch.float64) * -circle.log_radius)


def _end_state(
    system: DPLR,
    u: Float[Tensor, "b l d"],
    resolvent: Resolvent,
    circle: Circle,
    forced: Complex128[Tensor, "d b n"] | None,
    remembered: Complex128[Tensor, "d b k"] | None,
) -> Complex128[Tensor, "b d n"]:
    """Returns coefficient L - 1 of S(w): Cauchy sums the other way, from points to poles.

    Some channels at a time, and without keeping anything for a backward pass that most callers never ask for.
    """
    group = max(1, numbers_at_once(u.device) // (u.shape[0] * circle.points.x.shape[0]))
    ends = []
    for start in range(0, u.shape[2], group):
        some = slice(start, start + group)
        end = checkpoint(
            _end_state_of_channels,
            DPLR(*(part[some] for part in system)),
            u[:, :, some],
            Resolvent(*(part[some] for part in resolvent)),
            circle,
            None if forced is None else forced[some],
            None if remembered is None else remembered[some],
            use_reentrant=False,
            preserve_rng_state=False,
        )
        ends.append(end)
    return torch.cat(ends).transpose(0, 1)


def _end_state_of_channels(
    system: DPLR,
    u: Float[Tensor, "b l g"],
    resolvent: Resolvent,
    circle: Circle,
    forced: Complex128[Tensor, "g b n"] | None,
    remembered: Complex128[Tensor, "g b k"] | None,
) -> Complex128[Tensor, "g b n"]:
    length = u.shape[1]
    decay = torch.exp(torch.arange(length, device=u.device, dtype=torch.float64) * circle.log_radius)
    spectrum = torch.fft.rfft(u.permute(2, 0, 1) * decay, n=circle.num_points)  # (G, B, K)
    low_rank = (resolvent.pb * resolvent.correction)[:, None] * spectrum
    if remembered is not None:
        low_rank = low_rank + resolvent.correction[:, None] * remembered
    flows = torch.cat([spectrum, low_rank, torch.ones_like(spectrum[:, :1])], dim=1)  # (G, 2B + 1, K)
    sums = transposed_cauchy_sums(flows, system.poles, circle.points, _last_coefficient(circle, length))
    from_inputs, from_low_rank, plain = sums.split([u.shape[0], u.shape[0], 1], dim=1)
    end: Tensor = system.b[:, None] * from_inputs - system.p[:, None] * from_low_rank
    if forced is not None:
        end = end + forced * plain
    return 2.0 * end


def _last_coefficient(circle: Circle, length: int) -> Complex128[Tensor, " k"]:
    """Returns w^-(length - 1) / points, whose products with a function's values sum to its coefficient length - 1."""
    turns = torch.arange(circle.points.x.shape[0], device=circle.points.x.device) * (length - 1) % circle.num_points
    angle = turns.double() * (2.0 * math.pi / circle.num_points)
    log_growth = torch.full_like(angle, -circle.log_radius * (length - 1))
    pick = torch.exp(torch.complex(log_growth, angle)) / circle.num_points
    # Sums count every point and its partner on the lower half: points on the real axis have none.
    alone = [0, -1] if circle.num_points % 2 == 0 else [0]
    pick[alone] = 0.5 * pick[alone]
    return pick
