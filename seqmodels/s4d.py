"""S4D (Gu et al. 2022, "On the parameterization and initialization of diagonal state space models").

Glossary: per channel x' = diag(poles) x + 1 u and y = 2 Re(C x) + D u, with N numbers of state: N / 2 complex poles,
one of each conjugate pair, or N real ones (then y = C x + D u). A time step dt makes it x_t = a x_(t-1) + b u_t.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Complex128, Float, Float64, Inexact, Num
from torch import Tensor, nn

from .carried_state import check_state_fits
from .diagonal_recurrence import Diagonal, convolve, kernel, step
from .fft_convolution import fft_convolution
from .gated_output import GatedOutput
from .hippo import legs_half_spectrum
from .piecewise import run_piecewise
from .time_steps import log_uniform_time_steps


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


def zero_order_hold(
    poles: Num[Tensor, "d n"], dt: Float64[Tensor, "d 1"]
) -> tuple[Num[Tensor, "d n"], Num[Tensor, "d n"]]:
    """Returns a = exp(dt p) and b = (a - 1) / p: exact for an input that stands still between positions."""
    growth = torch.expm1(dt * poles)
    return 1.0 + growth, growth / poles


def bilinear(poles: Num[Tensor, "d n"], dt: Float64[Tensor, "d 1"]) -> tuple[Num[Tensor, "d n"], Num[Tensor, "d n"]]:
    """Returns a = (1 + dt p / 2) / (1 - dt p / 2) and b = dt / (1 - dt p / 2)."""
    inverse = 1.0 / (1.0 - 0.5 * dt * poles)
    return (1.0 + 0.5 * dt * poles) * inverse, dt * inverse


Discretization = Callable[[Num[Tensor, "d n"], Float64[Tensor, "d 1"]], tuple[Num[Tensor, "d n"], Num[Tensor, "d n"]]]


class S4DState(NamedTuple):
    """Complex states as real and imaginary part side by side."""

    x: Float[Tensor, "b d n"]


class S4D(nn.Module):
    """Runs one diagonal linear system per channel, then mixes the channels.

    B is 1: only its product with C matters to the outputs. The poles' real part is -exp(log_A_real), so that no state
    grows. Rows are convolved with the kernel; with resets, each piece between them is.

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
        discretization: Discretization = zero_order_hold,
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
        if state is not None:
            check_state_fits(state, x.shape[0], self.initial_state(0))
        # Half precision would lose the slow modes: a is 1 there.
        with torch.autocast(x.device.type, enabled=False):
            u = x.to(self.D.dtype)
            before = None if state is None else state.x
            run = partial(convolve, self.system())
            y, end = run(u, before) if resets is None else run_piecewise(run, u, before, resets)
            y = self.D * u + y
        return self.output(y), S4DState(end)

    def outputs(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        """Returns the outputs of whole rows alone, without the state at their end."""
        with torch.autocast(x.device.type, enabled=False):
            u = x.to(self.D.dtype)
            y = self.D * u + fft_convolution(u, self.kernel(u.shape[1]))
        outputs: Tensor = self.output(y)
        return outputs

    def step(self, x: Float[Tensor, "b d"], state: S4DState) -> tuple[Float[Tensor, "b d"], S4DState]:
        """Returns the output at one position and the state after it, in O(d_state) per channel."""
        check_state_fits(state, x.shape[0], self.initial_state(0))
        with torch.autocast(x.device.type, enabled=False):
            u = x.to(self.D.dtype)
            y, after = step(self.system(), state.x, u)
            y = self.D * u + y
        return self.output(y), S4DState(after)

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

    def system(self) -> Diagonal:
        """Returns the discretised systems of all channels."""
        poles = -self.log_A_real.double().exp()
        c = self.C.double()
        if self.A_imag is not None:
            poles = torch.complex(poles, self.A_imag.double())
            c = 2.0 * torch.view_as_complex(c)
        a, b = self._discretization(poles, self.log_dt.double().exp()[:, None])
        return Diagonal(a, b, c)

    def kernel(self, length: int) -> Float[Tensor, "d l"]:
        """Returns the response of every channel to a unit at position 0, without D."""
        return kernel(self.system(), length, self.D.dtype)
