"""S4 (Gu et al. 2022, "Efficiently modeling long sequences with structured state spaces"), with HiPPO-LegS."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Complex128, Float
from torch import Tensor, nn

from .carried_state import check_state_fits
from .dplr import DPLR, advance_dense, as_real, bilinear_step, dense_chunk, observe
from .dplr_convolution import convolve, kernel
from .gated_output import GatedOutput
from .hippo import legs_half_spectrum
from .time_invariant_scan import ChunkOperators, time_invariant_scan
from .time_steps import log_uniform_time_steps

_CHUNK = 64  # where a chunk's products, of Q^2 and N^2 / Q numbers a position, cost the same for N = 64


class S4State(NamedTuple):
    """Real and imaginary parts side by side, one of each conjugate pair."""

    x: Float[Tensor, "b d n"]


class S4(nn.Module):
    """Runs a linear system per channel, x' = (Lambda - P P^*) x + B u and y = 2 Re(C x) + D u, then mixes the channels.

    Every channel has a Lambda, P, B, C and time step of its own; it starts as HiPPO-LegS with a random C. Lambda's real
    part is -exp(log_A_real), so that no state grows. All of it is computed in float64 and rounded where it meets the
    inputs. A batch without resets is convolved with the kernel; one with resets goes chunk by chunk.

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
            check_state_fits(state, x.shape[0])
        # Half precision would lose the slow modes: 1 - dt is 1 there.
        with torch.autocast(x.device.type, enabled=False):
            u = x.to(self.D.dtype)
            if resets is None:
                before = None if state is None else _as_complex(state)
                y, after = convolve(self.system(), u, before, precision=self._precision())
                end = as_real(after).to(u.dtype)
            else:
                start = self.initial_state(x.shape[0]) if state is None else state
                y, end = time_invariant_scan(u, self._chunk_operators(x.shape[1]), start.x, resets)
            y = y + self.D * u
        return self.output(y), S4State(end)

    def step(self, x: Float[Tensor, "b d"], state: S4State) -> tuple[Float[Tensor, "b d"], S4State]:
        """Returns the output at one position and the state after it, in O(d_state) per channel."""
        check_state_fits(state, x.shape[0])
        with torch.autocast(x.device.type, enabled=False):
            u = x.to(self.D.dtype)
            system = self.system()
            after = bilinear_step(system, _as_complex(state), u.double())
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

    def _precision(self) -> float:
        return 1e-13 if self.D.dtype == torch.float64 else 2e-8

    def _chunk_operators(self, length: int) -> ChunkOperators:
        size = min(_CHUNK, 1 << (length - 1).bit_length())
        chunk = dense_chunk(self.system(), size)
        dtype = self.D.dtype
        powers = [power.to(dtype) for power in chunk.powers]
        return ChunkOperators(
            chunk.kernel.to(dtype),
            chunk.observe.to(dtype),
            chunk.control.to(dtype),
            lambda state, steps: advance_dense(powers, state, steps),
        )


def _as_complex(state: S4State) -> Complex128[Tensor, "b d pairs"]:
    return torch.view_as_complex(state.x.double().unflatten(-1, (-1, 2)))


def _per_channel(values: Tensor, d_model: int) -> Tensor:
    return values.to(torch.get_default_dtype()).expand(d_model, *values.shape).clone()
