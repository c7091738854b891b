"""S4 (Gu et al. 2022, "Efficiently modeling long sequences with structured state spaces"), with HiPPO-LegS."""

from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Complex128, Float
from torch import Tensor, nn

from .carried_state import check_state_fits
from .dplr import DPLR, as_real, bilinear_step, observe
from .dplr_convolution import convolve, kernel
from .fft_convolution import fft_convolution
from .gated_output import GatedOutput
from .hippo import legs_half_spectrum
from .piecewise import run_piecewise
from .time_steps import log_uniform_time_steps


class S4State(NamedTuple):
    """Real and imaginary parts side by side, one of each conjugate pair."""

    x: Float[Tensor, "b d n"]


class S4(nn.Module):
    """Runs a linear system per channel, x' = (Lambda - P P^*) x + B u and y = 2 Re(C x) + D u, then mixes the channels.

    Every channel has a Lambda, P, B, C and time step of its own; it starts as HiPPO-LegS with a random C. Lambda's real
    part is -exp(log_A_real), so that no state grows. All of it is computed in float64 and rounded where it meets the
    inputs. Rows are convolved with the kernel; with resets, each piece between them is.

    Attributes:
        d_model: number of channels.
        d_state: numbers of state per channel, N: N / 2 conjugate pairs.
    """

    def __init__(self, d_model: int, *, d_state: int = 64, dt_min: float = 1e-3, dt_max: float = 1e-1) -> None:
        super().__init__()
        self.d_model = d_model
        self.d_state = d_state
        poles, p, b = (torch.from_numpy(array) for array in legs_half_spectrum(d_state))
        self.log_dt = nn.Parameter(log_uniform_time_steps(d_model, dt_min, dt_max))
        self.log_A_real = nn.Parameter(_per_channel((-poles.real).log(), d_model))
        self.A_imag = nn.Parameter(_per_channel(poles.imag, d_model))
        self.P = nn.Parameter(_per_channel(torch.view_as_real(p), d_model))
        self.B = nn.Parameter(_per_channel(torch.view_as_real(b), d_model))
        self.C = nn.Parameter(torch.randn(d_model, d_state // 2, 2) * 0.5**0.5)
        self.D = nn.Parameter(torch.randn(d_model))
        self.output = GatedOutput(d_model)

    def forward(
        self, x: Float[Tensor, "b l d"], *, state: S4State | None = None, resets: Bool[Tensor, "b l"] | None = None
    ) -> tuple[Float[Tensor, "b l d"], S4State]:
        """Returns the outputs, and the state after the last position; see `sequence_model.SequenceModel`."""
        if state is not None:
            check_state_fits(state, x.shape[0], self.initial_state(0))
        # Half precision would lose the slow modes: 1 - dt is 1 there.
        with torch.autocast(x.device.type, enabled=False):
            u = x.to(self.D.dtype)
            before = None if state is None else state.x
            run = partial(self._convolve, self.system())
            y, end = run(u, before) if resets is None else run_piecewise(run, u, before, resets)
            y = self.D * u + y
        return self.output(y), S4State(end)

    def outputs(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        """Returns the outputs of whole rows alone, without the state at their end."""
        with torch.autocast(x.device.type, enabled=False):
            u = x.to(self.D.dtype)
            y = self.D * u + fft_convolution(u, self.kernel(u.shape[1]))
        outputs: Tensor = self.output(y)
        return outputs

    def step(self, x: Float[Tensor, "b d"], state: S4State) -> tuple[Float[Tensor, "b d"], S4State]:
        """Returns the output at one position and the state after it, in O(d_state) per channel."""
        check_state_fits(state, x.shape[0], self.initial_state(0))
        with torch.autocast(x.device.type, enabled=False):
            u = x.to(self.D.dtype)
            system = self.system()
            after = bilinear_step(system, _as_complex(state.x), u.double())
            y = observe(system, after).to(u.dtype) + self.D * u
        return self.output(y), S4State(as_real(after).to(u.dtype))

    def initial_state(self, batch_size: int) -> S4State:
        """Returns zeros."""
        return S4State(self.D.new_zeros(batch_size, self.d_model, self.d_state))

    def state_size(self, length: int) -> int:
        """Returns the numbers kept per row, the same for every length."""
        return self.d_model * self.d_state

    def state_space_parameters(self) -> list[nn.Parameter]:
        """Returns what learns at a lower rate without decay: dt, Lambda, P and B (not C and D, as in S4's own code)."""
        return [self.log_dt, self.log_A_real, self.A_imag, self.P, self.B]

    def system(self) -> DPLR:
        """Returns the systems of all channels with dt taken into them."""
        dt = self.log_dt.double().exp()[:, None]
        poles = torch.complex(-self.log_A_real.double().exp(), self.A_imag.double())
        p, b, c = (torch.view_as_complex(parameter.double()) for parameter in (self.P, self.B, self.C))
        return DPLR(dt * poles, dt.sqrt() * p, dt * b, c)

    def kernel(self, length: int) -> Float[Tensor, "d l"]:
        """Returns the response of every channel to a unit at position 0, without D, by Cauchy sums."""
        return kernel(self.system(), length, precision=self._precision()).to(self.D.dtype)

    def _convolve(
        self, system: DPLR, u: Float[Tensor, "p l d"], state: Float[Tensor, "p d n"] | None
    ) -> tuple[Float[Tensor, "p l d"], Float[Tensor, "p d n"]]:
        before = None if state is None else _as_complex(state)
        y, after = convolve(system, u, before, precision=self._precision())
        return y, as_real(after).to(u.dtype)

    def _precision(self) -> float:
        return 1e-13 if self.D.dtype == torch.float64 else 2e-8


def _as_complex(state: Float[Tensor, "b d n"]) -> Complex128[Tensor, "b d pairs"]:
    return torch.view_as_complex(state.double().unflatten(-1, (-1, 2)))


def _per_channel(values: Tensor, d_model: int) -> Tensor:
    return values.to(torch.get_default_dtype()).expand(d_model, *values.shape).clone()
