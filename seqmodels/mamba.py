"""Mamba-1: a state-space model whose step size, input and output depend on the input (Gu and Dao 2023)."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .carried_state import check_state_fits
from .causal_convolution import causal_convolution
from .positive_settings import check_positive
from .scans import Backend, BackendChoice, ScanNeeds, choose_backend, selective_scan
from .step_biases import draw_step_biases


class MambaState(NamedTuple):
    """What Mamba carries: the inputs its convolution still sees, and the states of its recurrence."""

    window: Float[Tensor, "b w e"]  # w = d_conv - 1, e = expand * d_model
    hidden: Float[Tensor, "b e n"]


class Mamba(nn.Module):
    """The block of Gu and Dao 2023, figure 3: projection, convolution, selective scan, gate, projection.

    Parameters carry mamba_ssm's names and shapes, so that weights move in both directions.

    Attributes:
        d_model: length of the vectors, in and out.
        backend: the scan's backend, see `scans.choose_backend`.
    """

    def __init__(
        self,
        d_model: int,
        *,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        dt_rank: int | None = None,
        dt_min: float = 1e-3,
        dt_max: float = 0.1,
        conv_bias: bool = True,
        bias: bool = False,
        backend: Backend = "auto",
    ) -> None:
        """Defaults are the paper's; `dt_rank` None is ceil(d_model / 16).

        Raises:
            ValueError: a size is below 1, or the backend unknown or not there, with the reason and the way to get it.
        """
        super().__init__()
        check_positive(d_model=d_model, d_state=d_state, d_conv=d_conv, expand=expand)
        self.d_model, self.d_state, self.d_conv = d_model, d_state, d_conv
        self.d_inner = expand * d_model
        self.dt_rank = math.ceil(d_model / 16) if dt_rank is None else dt_rank
        check_positive(dt_rank=self.dt_rank)
        self.backend: Backend = backend
        # Refused now rather than at the first call: the module may still move to a GPU where there is one.
        for_gpu = backend in ("triton", "mamba_ssm") and torch.cuda.is_available()
        choose_backend(backend, torch.device("cuda" if for_gpu else "cpu"))
        self.in_proj = nn.Linear(d_model, 2 * self.d_inner, bias=bias)
        # Holds the parameters under their usual name; `causal_convolution` uses them.
        self.conv1d = nn.Conv1d(self.d_inner, self.d_inner, d_conv, groups=self.d_inner, bias=conv_bias)
        self.x_proj = nn.Linear(self.d_inner, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, self.d_inner)
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=bias)
        nn.init.uniform_(self.dt_proj.weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
        with torch.no_grad():
            self.dt_proj.bias.copy_(draw_step_biases(self.d_inner, dt_min=dt_min, dt_max=dt_max))
        # S4D-Real: every channel starts with the poles -1, ..., -d_state (Gu and Dao 2023, section 3.6).
        self.A_log = nn.Parameter(torch.arange(1.0, d_state + 1).log().repeat(self.d_inner, 1))
        self.D = nn.Parameter(torch.ones(self.d_inner))

    def forward(
        self,
        x: Float[Tensor, "b l d"],
        *,
        state: MambaState | None = None,
        resets: Bool[Tensor, "b l"] | None = None,
    ) -> tuple[Float[Tensor, "b l d"], MambaState]:
        """Returns the outputs and the state after the last position, see `SequenceModel`."""
        if state is not None:
            check_state_fits(state, len(x), self.initial_state(0))
        window = self.initial_state(len(x)).window if state is None else state.window
        u, z = self.in_proj(x).chunk(2, dim=-1)  # (B, L, E) each
        convolved, window = causal_convolution(u, window, self.conv1d.weight, self.conv1d.bias, resets)
        u = F.silu(convolved)
        dt, B, C = self._selection(u)
        y, hidden = selective_scan(
            *(u, dt, self._poles(), B, C),
            D=self.D,
            z=z,
            # None rather than zeros: mamba-ssm's kernels take no state.
            initial_state=None if state is None else state.hidden,
            resets=resets,
            backend=self.backend,
        )
        return self.out_proj(y), MambaState(window, hidden)

    def _selection(self, u: Float[Tensor, "*b e"]) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the step sizes (..., e), and B and C (..., n), that the inputs select."""
        dt, B, C = self.x_proj(u).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        return F.softplus(self.dt_proj(dt)), B, C

    def _poles(self) -> Float[Tensor, "e n"]:
        return -self.A_log.to(self._scan_dtype()).exp()

    def _scan_dtype(self) -> torch.dtype:
        return torch.promote_types(self.A_log.dtype, torch.float32)

    def initial_state(self, batch_size: int) -> MambaState:
        """Returns zeros: nothing was seen."""
        zeros = self.conv1d.weight.new_zeros
        return MambaState(
            zeros(batch_size, self.d_conv - 1, self.d_inner),
            zeros(batch_size, self.d_inner, self.d_state, dtype=self._scan_dtype()),
        )

    def step(self, x: Float[Tensor, "b d"], state: MambaState) -> tuple[Float[Tensor, "b d"], MambaState]:
        """Returns the output at one position and the state after it; the cost does not depend on the past's length."""
        check_state_fits(state, len(x), self.initial_state(0))
        u, z = self.in_proj(x).chunk(2, dim=-1)
        inputs = torch.cat([state.window, u.unsqueeze(1)], dim=1)  # (B, W + 1, E)
        u = torch.einsum("bwe,ew->be", inputs, self.conv1d.weight.squeeze(1))
        u = F.silu(u if self.conv1d.bias is None else u + self.conv1d.bias)
        dt, B, C = self._selection(u)
        decay = torch.exp(dt.unsqueeze(-1) * self._poles())  # (B, E, N)
        hidden = decay * state.hidden + (dt * u).unsqueeze(-1) * B.unsqueeze(1)
        y = torch.einsum("ben,bn->be", hidden, C.to(hidden.dtype)) + self.D * u
        return self.out_proj((y * F.silu(z)).to(x.dtype)), MambaState(inputs[:, 1:].clone(), hidden)

    def state_size(self, length: int) -> int:
        """Returns the numbers kept per row, the same at every length."""
        return self.d_inner * (self.d_conv - 1 + self.d_state)

    def state_space_parameters(self) -> list[nn.Parameter]:
        """Returns the parameters of the recurrence: they learn at a rate of their own, and never decay."""
        return [self.A_log, self.D, self.dt_proj.bias]

    def backend_choice(self, *, resets: bool = False, initial_state: bool = False) -> BackendChoice:
        """Returns the backend that a call takes on the module's device, and why, as a sentence for a log."""
        return choose_backend(self.backend, self.A_log.device, ScanNeeds(self._scan_dtype(), resets, initial_state))
