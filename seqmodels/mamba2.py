"""Mamba-2: one decay for each head, so that the recurrence is computed by matrix products (Dao and Gu 2024)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .carried_state import check_state_fits
from .causal_convolution import causal_convolution
from .gated_norm import GatedRMSNorm
from .positive_settings import check_positive
from .scans import state_space_dual
from .step_biases import draw_step_biases


class Mamba2State(NamedTuple):
    """What Mamba-2 carries: the inputs its convolution still sees, and the states of its recurrence."""

    window: Float[Tensor, "b w c"]  # w = d_conv - 1, c = expand * d_model + 2 * num_groups * d_state
    hidden: Float[Tensor, "b h p n"]


class Mamba2(nn.Module):
    """The block of Dao and Gu 2024, section 7: one projection, convolution, recurrence, gated norm, projection.

    Parameters carry mamba_ssm's names and shapes, so that weights move in both directions.

    Attributes:
        d_model: length of the vectors, in and out.
        num_heads: how many heads of `head_dim` channels each.
    """

    def __init__(
        self,
        d_model: int,
        *,
        d_state: int = 128,
        d_conv: int = 4,
        expand: int = 2,
        head_dim: int | None = None,
        num_groups: int = 1,
        dt_min: float = 1e-3,
        dt_max: float = 0.1,
        conv_bias: bool = True,
        bias: bool = False,
        chunk_length: int = 64,
    ) -> None:
        """Defaults are the paper's; `head_dim` None is 64, or the whole inner width where that is narrower.

        `chunk_length` changes the speed alone.

        Raises:
            ValueError: a size is below 1, the inner width no multiple of `head_dim` or the heads none of `num_groups`.
        """
        super().__init__()
        check_positive(d_model=d_model, d_state=d_state, d_conv=d_conv, expand=expand)
        check_positive(num_groups=num_groups, chunk_length=chunk_length)
        self.d_model, self.d_state, self.d_conv = d_model, d_state, d_conv
        self.d_inner, self.num_groups = expand * d_model, num_groups
        self.head_dim = min(64, self.d_inner) if head_dim is None else head_dim
        check_positive(head_dim=self.head_dim)
        if self.d_inner % self.head_dim != 0:
            raise ValueError(f"expand * d_model must be a multiple of head_dim, got {self.d_inner} and {self.head_dim}")
        self.num_heads = self.d_inner // self.head_dim
        if self.num_heads % num_groups != 0:
            raise ValueError(
                f"the number of heads must be a multiple of num_groups, got {self.num_heads} and {num_groups}"
            )
        self.chunk_length = chunk_length
        self.d_convolved = self.d_inner + 2 * num_groups * d_state  # x, B and C
        self.in_proj = nn.Linear(d_model, self.d_inner + self.d_convolved + self.num_heads, bias=bias)
        # Holds the parameters under their usual name; `causal_convolution` uses them.
        self.conv1d = nn.Conv1d(self.d_convolved, self.d_convolved, d_conv, groups=self.d_convolved, bias=conv_bias)
        self.dt_bias = nn.Parameter(draw_step_biases(self.num_heads, dt_min=dt_min, dt_max=dt_max))
        self.A_log = nn.Parameter(torch.empty(self.num_heads).uniform_(1, 16).log())
        self.D = nn.Parameter(torch.ones(self.num_heads))
        self.norm = GatedRMSNorm(self.d_inner, num_groups=num_groups)
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=bias)

    def forward(
        self,
        x: Float[Tensor, "b l d"],
        *,
        state: Mamba2State | None = None,
        resets: Bool[Tensor, "b l"] | None = None,
    ) -> tuple[Float[Tensor, "b l d"], Mamba2State]:
        """Returns the outputs and the state after the last position, see `SequenceModel`."""
        if state is not None:
            check_state_fits(state, len(x), self.initial_state(0))
        window = self.initial_state(len(x)).window if state is None else state.window
        z, convolved, dt = self._project(x)
        convolved, window = causal_convolution(convolved, window, self.conv1d.weight, self.conv1d.bias, resets)
        u, B, C = self._heads(F.silu(convolved))
        y, hidden = state_space_dual(
            *(u, F.softplus(dt + self.dt_bias), -self.A_log.exp(), B, C),
            D=self.D,
            initial_state=None if state is None else state.hidden,
            resets=resets,
            chunk_length=self.chunk_length,
        )
        return self.out_proj(self.norm(y.flatten(-2), z)), Mamba2State(window, hidden)

    def _project(self, x: Float[Tensor, "*b d"]) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the gate z, what is convolved (x, B and C), and dt before its bias."""
        z, convolved, dt = self.in_proj(x).split([self.d_inner, self.d_convolved, self.num_heads], dim=-1)
        return z, convolved, dt

    def _heads(self, convolved: Float[Tensor, "*b c"]) -> tuple[Tensor, Tensor, Tensor]:
        """Returns x (..., h, p), B and C (..., g, n)."""
        shared = self.num_groups * self.d_state
        u, B, C = convolved.split([self.d_inner, shared, shared], dim=-1)
        groups = (self.num_groups, self.d_state)
        return u.unflatten(-1, (self.num_heads, self.head_dim)), B.unflatten(-1, groups), C.unflatten(-1, groups)

    def initial_state(self, batch_size: int) -> Mamba2State:
        """Returns zeros: nothing was seen."""
        zeros = self.conv1d.weight.new_zeros
        dtype = torch.promote_types(self.A_log.dtype, torch.float32)  # in which the recurrence is computed
        return Mamba2State(
            zeros(batch_size, self.d_conv - 1, self.d_convolved),
            zeros(batch_size, self.num_heads, self.head_dim, self.d_state, dtype=dtype),
        )

    def step(self, x: Float[Tensor, "b d"], state: Mamba2State) -> tuple[Float[Tensor, "b d"], Mamba2State]:
        """Returns the output at one position and the state after it; the cost does not depend on the past's length."""
        check_state_fits(state, len(x), self.initial_state(0))
        z, convolved, dt = self._project(x)
        inputs = torch.cat([state.window, convolved.unsqueeze(1)], dim=1)  # (B, W + 1, C)
        mixed = torch.einsum("bwc,cw->bc", inputs, self.conv1d.weight.squeeze(1))
        u, B, C = self._heads(F.silu(mixed if self.conv1d.bias is None else mixed + self.conv1d.bias))
        heads_per_group = self.num_heads // self.num_groups
        B, C = (part.repeat_interleave(heads_per_group, dim=1) for part in (B, C))  # (B, H, N)
        dt = F.softplus(dt + self.dt_bias)
        decay = torch.exp(dt * -self.A_log.exp())[..., None, None]
        hidden = decay * state.hidden + (dt.unsqueeze(-1) * u).unsqueeze(-1) * B.unsqueeze(-2)
        y = torch.einsum("bhpn,bhn->bhp", hidden, C.to(hidden.dtype)) + self.D.unsqueeze(-1) * u
        return self.out_proj(self.norm(y.flatten(-2).to(x.dtype), z)), Mamba2State(inputs[:, 1:].clone(), hidden)

    def state_size(self, length: int) -> int:
        """Returns the numbers kept per row, the same at every length."""
        return self.d_convolved * (self.d_conv - 1) + self.d_inner * self.d_state

    def state_space_parameters(self) -> list[nn.Parameter]:
        """Returns the parameters of the recurrence: they learn at a rate of their own, and never decay."""
        return [self.A_log, self.D, self.dt_bias]
