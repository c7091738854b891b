"""S4D (Gu et al. 2022, "On the parameterization and initialization of diagonal state space models").

Glossary: per channel x' = diag(poles) x + 1 u and y = 2 Re(C x) + D u, with N numbers of state: N / 2 complex poles,
one of each conjugate pair, or N real ones (then y = C x + D u). A time step dt makes it x_t = a x_(t-1) + b u_t.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Complex128, Float, Float64, Inexact, Num
from torch import Tensor, nn

from .carried_state import check_state_fits
from .gated_output import GatedOutput
from .hippo import legs_half_spectrum
from .time_invariant_scan import ChunkOperators, time_invariant_scan
from .time_steps import log_uniform_time_steps

_CHUNK = 64


def s4d_legs(d_state: int) -> Complex128[np.ndarray, " n"]:
    """Returns the poles of HiPPO-LegS without its part of rank 1 (section 4.1)."""
    return legs_half_spectrum(d_state).eigenvalues


def s4d_lin(d_state: int) -> Complex128[np.ndarray, " n"]:
    """Returns -1/2 + i pi n (equation 9)."""
    return -0.5 + 1j * math.pi * np.arange(_pairs(d_state))


def s4d_inv(d_state: int) -> Complex128[np.ndarray, " n"]:
    """Returns -1/2 + i (N / pi) (N / (2 n + 1) - 1), with N = d_state (equation 8)."""
    n = np.arange(_pairs(d_state))
    return -0.5 + 1j * d_state / math.pi * (d_state / (2 * n + 1) - 1)


def s4d_real(d_state: int) -> Float64[np.ndarray, " n"]:
    """Returns -(n + 1), all real (section 4.3)."""
    if d_state < 1:
        raise ValueError(f"d_state must be positive, got {d_state}")
    return -np.arange(1.0, d_state + 1.0)


def _pairs(d_state: int) -> int:
    if d_state < 2 or d_state % 2 != 0:
        raise ValueError(f"d_state must be a positive even number, got {d_state}")
    return d_state // 2


class Discrete(NamedTuple):
    """x_t = a x_(t-1) + b u_t."""

    a: Num[Tensor, "d n"]
    b: Num[Tensor, "d n"]


def zero_order_hold(poles: Num[Tensor, "d n"], dt: Float64[Tensor, "d 1"]) -> Discrete:
    """Returns a = exp(dt p) and b = (a - 1) / p: exact for an input that stands still between positions."""
    return Discrete(torch.exp(dt * poles), torch.expm1(dt * poles) / poles)


def bilinear(poles: Num[Tensor, "d n"], dt: Float64[Tensor, "d 1"]) -> Discrete:
    """Returns a = (1 + dt p / 2) / (1 - dt p / 2) and b = dt / (1 - dt p / 2)."""
    inverse = 1.0 / (1.0 - 0.5 * dt * poles)
    return Discrete((1.0 + 0.5 * dt * poles) * inverse, dt * inverse)


class S4DState(NamedTuple):
    """Complex states as real and imaginary part side by side."""

    x: Float[Tensor, "b d n"]


class S4D(nn.Module):
    """Runs one diagonal linear system per channel, then mixes the channels.

    B is 1: only its product with C matters to the outputs. The poles' real part is -exp(log_A_real), so that no state
    grows. Powers of `a` are computed in float64 and rounded where they meet the inputs: in float32 the phase of a fast
    pole would be lost after a few hundred positions.

    Attributes:
        d_model: number of channels.
        d_state: numbers of state per channel, N.
    """

    def __init__(
        self,
        d_model: int,
        *,
        d_state: int = 64,
        initialization: Callable[[int], Inexact[np.ndarray, " n"]] = s4d_legs,
        discretization: Callable[[Num[Tensor, "d n"], Float64[Tensor, "d 1"]], Discrete] = zero_order_hold,
        dt_min: float = 1e-3,
        dt_max: float = 1e-1,
    ) -> None:
        """Starts every channel with the poles of `initialization` for `d_state`, and a random C and time step."""
        super().__init__()
        self.d_model = d_model
        self.d_state = d_state
        self._discretization = discretization
        poles = initialization(d_state)
        dtype = torch.get_default_dtype()
        shape = (d_model, len(poles))
        self.log_dt = nn.Parameter(log_uniform_time_steps(d_model, dt_min, dt_max))
        self.log_A_real = nn.Parameter(torch.tensor(np.log(-poles.real), dtype=dtype).expand(shape).clone())
        if np.iscomplexobj(poles):
            self.A_imag = nn.Parameter(torch.tensor(poles.imag, dtype=dtype).expand(shape).clone())
            self.C = nn.Parameter(torch.randn(*shape, 2) * 0.5**0.5)
        else:
            self.register_parameter("A_imag", None)
            self.C = nn.Parameter(torch.randn(shape))
        self.D = nn.Parameter(torch.randn(d_model))
        self.output = GatedOutput(d_model)

    def forward(
        self, x: Float[Tensor, "b l d"], *, state: S4DState | None = None, resets: Bool[Tensor, "b l"] | None = None
    ) -> tuple[Float[Tensor, "b l d"], S4DState]:
        """Returns the outputs, and the state after the last position; see `sequence_model.SequenceModel`."""
        if state is None:
            state = self.initial_state(x.shape[0])
        check_state_fits(state, x.shape[0])
        # Half precision would lose the slow modes: a is 1 there.
        with torch.autocast(x.device.type, enabled=False):
            u = x.to(self.D.dtype)
            y, end = time_invariant_scan(u, self._chunk_operators(min(_CHUNK, x.shape[1])), state.x, resets)
            y = y + self.D * u
        return self.output(y), S4DState(end)

    def step(self, x: Float[Tensor, "b d"], state: S4DState) -> tuple[Float[Tensor, "b d"], S4DState]:
        """Returns the output at one position and the state after it, in O(d_state) per channel."""
        check_state_fits(state, x.shape[0])
        with torch.autocast(x.device.type, enabled=False):
            u = x.to(self.D.dtype)
            a, b = self.discrete()
            after = a * self._poles_last(state.x.double()) + b * u.double()[..., None]
            y = (after * self._output_row()).real.sum(-1).to(u.dtype) + self.D * u
        return self.output(y), S4DState(_numbers_last(after).to(u.dtype))

    def initial_state(self, batch_size: int) -> S4DState:
        """Returns zeros."""
        return S4DState(self.D.new_zeros(batch_size, self.d_model, self.d_state))

    def state_size(self, length: int) -> int:
        """Returns the numbers kept per row, the same for every length."""
        return self.d_model * self.d_state

    def state_space_parameters(self) -> list[nn.Parameter]:
        """Returns what learns at a lower rate without decay: dt and the poles (not C and D, as in S4's own code)."""
        imaginary = [] if self.A_imag is None else [self.A_imag]
        return [self.log_dt, self.log_A_real, *imaginary]

    def discrete(self) -> Discrete:
        """Returns the discretised systems of all channels, complex128 or float64."""
        poles = -self.log_A_real.double().exp()
        if self.A_imag is not None:
            poles = torch.complex(poles, self.A_imag.double())
        return self._discretization(poles, self.log_dt.double().exp()[:, None])

    def kernel(self, length: int) -> Float[Tensor, "d l"]:
        """Returns the response of every channel to a unit at position 0, without D.

        a^l is a^(l1 Q) a^l0 with l = l1 Q + l0: about 2 sqrt(L) powers per pole, and a matrix product over the poles
        that never holds the (N, L) Vandermonde matrix.
        """
        a, b = self.discrete()
        size = 1 << math.isqrt(max(length - 1, 1)).bit_length()
        fine = powers(a, size + 1)
        coarse = powers(fine[:, :, size], -(-length // size)) * (self._output_row() * b)[:, :, None]
        rows, columns = _real_product(coarse, fine[:, :, :size])
        taps = torch.bmm(rows.to(self.D.dtype), columns.to(self.D.dtype))  # (D, L1, Q)
        return taps.flatten(1)[:, :length]

    def _chunk_operators(self, size: int) -> ChunkOperators:
        dtype = self.D.dtype
        a, b = self.discrete()
        power = powers(a, size + 1)  # (D, n, Q + 1)
        row = self._output_row()
        rows, columns = _real_product((row * b)[:, :, None], power[:, :, :-1])
        observe = _coefficients(row[:, :, None] * power[:, :, 1:])
        control = _numbers_last((b[:, :, None] * power[:, :, :-1].flip(2)).mT)

        decay = power.movedim(2, 0)[:, :, None].to(
            torch.promote_types(dtype, torch.complex64) if a.is_complex() else dtype
        )

        def advance(state: Float[Tensor, "d b n"], steps: int) -> Float[Tensor, "d b n"]:
            return _numbers_last(self._poles_last(state) * decay[steps])

        return ChunkOperators(
            torch.bmm(rows, columns).squeeze(1).to(dtype), observe.to(dtype), control.to(dtype), advance
        )

    def _output_row(self) -> Num[Tensor, "d n"]:
        """Returns the row whose product with a state has y as its real part."""
        return self.C.double() if self.A_imag is None else 2.0 * torch.view_as_complex(self.C.double())

    def _poles_last(self, x: Float[Tensor, "*lead n"]) -> Num[Tensor, "*lead poles"]:
        """Returns a state of N numbers as one number per pole."""
        return x if self.A_imag is None else torch.view_as_complex(x.unflatten(-1, (-1, 2)))


def powers(a: Num[Tensor, "d n"], count: int) -> Num[Tensor, "d n count"]:
    """Returns a^0 ... a^(count - 1) by doubling: products only, so also where a is 0 and has no logarithm."""
    result = torch.ones_like(a)[:, :, None]
    base = a[:, :, None]
    while result.shape[2] < count:
        result = torch.cat([result, result * base], dim=2)
        base = base * base
    return result[:, :, :count]


def _numbers_last(x: Num[Tensor, "*lead poles"]) -> Float[Tensor, "*lead n"]:
    """Returns one number per pole as N numbers of state."""
    return torch.view_as_real(x).flatten(-2) if x.is_complex() else x


def _coefficients(x: Num[Tensor, "d n q"]) -> Float[Tensor, "d n2 q"]:
    """Returns the real rows whose product with a state's N numbers is Re(x state)."""
    return torch.view_as_real(x.conj().resolve_conj()).movedim(-1, 2).flatten(1, 2) if x.is_complex() else x


def _real_product(
    x: Num[Tensor, "d n p"], y: Num[Tensor, "d n q"]
) -> tuple[Float[Tensor, "d p m"], Float[Tensor, "d m q"]]:
    """Returns two real factors of Re(sum over n of x_np y_nq), so that complex numbers cost real products."""
    if not x.is_complex():
        return x.mT, y
    return torch.cat([x.real, -x.imag], dim=1).mT, torch.cat([y.real, y.imag], dim=1)
