"""State space duality, the recurrence of Mamba-2, by matrix products over chunks (Dao and Gu 2024, section 6)."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable


class DualResult(NamedTuple):
    """The outputs at every position, and the state after the last."""

    output: Float[Tensor, "b l h p"]
    last_state: Float[Tensor, "b h p n"]


def state_space_dual(
    x: Float[Tensor, "b l h p"],
    dt: Float[Tensor, "b l h"],
    A: Float[Tensor, " h"],
    B: Float[Tensor, "b l g n"],
    C: Float[Tensor, "b l g n"],
    *,
    D: Float[Tensor, " h"] | None = None,
    initial_state: Float[Tensor, "b h p n"] | None = None,
    resets: Bool[Tensor, "b l"] | None = None,
    chunk_length: int = 64,
) -> DualResult:
    """Returns the outputs, and the state after the last position, of

        h[t] = exp(dt[t] A) h[t-1] + dt[t] x[t] B[t]',     y[t] = h[t] C[t] + D x[t]

    for each of h heads with p channels and n states; heads share B and C in g groups of neighbours. A is negative, dt
    positive. Where `resets` is True, h[t-1] counts as 0. Computes in float32, or float64 for inputs of that; outputs
    have the type of `x`.

    Raises:
        ValueError: the heads do not divide into the groups, or the initial state has another shape than (b, h, p, n).
    """
    batch, length, heads, channels = x.shape
    groups, states = B.shape[2:]
    if heads % groups != 0:
        raise ValueError(f"the number of heads must be a multiple of the groups, got {heads} and {groups}")
    expected = (batch, heads, channels, states)
    if initial_state is not None and initial_state.shape != expected:
        raise ValueError(f"the initial state must have shape {expected}, got {tuple(initial_state.shape)}")
    dtype = torch.promote_types(x.dtype, torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        weighted = x.to(dtype) * dt.to(dtype).unsqueeze(-1)
        # Short rows are one chunk; positions of x = 0 and dt = 0 at the end change no state.
        size = min(chunk_length, length)
        missing = -length % size
        steps = _chunks(dt.to(dtype) * A.to(dtype), missing, size).unflatten(2, (groups, -1))  # (b, k, g, r, T)
        inputs = _chunks(weighted, missing, size).unflatten(2, (groups, -1))  # (b, k, g, r, T, p)
        B, C = _chunks(B.to(dtype), missing, size), _chunks(C.to(dtype), missing, size)  # (b, k, g, T, n)
        marks = None if resets is None else F.pad(resets, (0, missing)).unflatten(1, (-1, size))  # (b, k, T)
        start = x.new_zeros(expected, dtype=dtype) if initial_state is None else initial_state.to(dtype)
        y, last_state = _chunked(inputs, steps, B, C, start.unflatten(1, (groups, -1)), marks)
        output = y.permute(0, 1, 4, 2, 3, 5).reshape(batch, length + missing, heads, channels)[:, :length]
        if D is not None:
            output = torch.addcmul(output, x.to(dtype), D.to(dtype).unsqueeze(-1))
    return DualResult(output.to(x.dtype), last_state.flatten(1, 2))


def _chunks(part: Tensor, missing: int, size: int) -> Tensor:
    """Returns (b, l, h, ...) as (b, chunks, h, size, ...)."""
    if missing:
        part = F.pad(part, (0, 0) * (part.ndim - 2) + (0, missing))
    chunks: Tensor = part.unflatten(1, (-1, size)).transpose(2, 3)
    return chunks


def _chunked(
    x: Tensor, steps: Tensor, B: Tensor, C: Tensor, start: Tensor, resets: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Returns the outputs (b, k, g, r, T, p) and the last state (b, g, r, p, n).

    `steps` are the logarithms of the decays into each position; k chunks, g groups of r heads each.
    """
    # In float64: a difference of two long sums would lose the digits of a short one.
    reached = steps.double().cumsum(-1)
    size = x.shape[-2]
    linked = torch.ones(size, size, dtype=torch.bool, device=x.device).tril()
    into = reached.to(x.dtype).exp()  # from the chunk's start
    out_of = (reached[..., -1:] - reached).to(x.dtype).exp()  # to the chunk's end
    if resets is not None:
        sequence = resets.cumsum(-1)[:, :, None, None]  # (b, k, 1, 1, T)
        linked = linked & (sequence.unsqueeze(-1) == sequence.unsqueeze(-2))
        into = into.masked_fill(sequence > 0, 0.0)
        out_of = out_of.masked_fill(sequence < sequence[..., -1:], 0.0)
    decay: Tensor = _Decays.apply(reached, linked, x.dtype)  # type: ignore[no-untyped-call]
    scores = torch.matmul(C, B.transpose(-1, -2)).unsqueeze(3)  # (b, k, g, 1, T, T)
    within = torch.matmul(scores * decay, x)

    # What each chunk adds to the state: all heads of a group in one product with its B.
    kept = x * out_of.unsqueeze(-1)  # (b, k, g, r, T, p)
    heads, channels = x.shape[3], x.shape[5]
    added = torch.matmul(kept.transpose(-1, -2).flatten(3, 4), B).unflatten(3, (heads, channels))  # (b, k, g, r, p, n)
    starts = []
    state = start
    for chunk_added, chunk_decay in zip(added.unbind(1), into[..., -1, None, None].unbind(1), strict=True):
        starts.append(state)
        state = torch.addcmul(chunk_added, chunk_decay, state)
    before = torch.stack(starts, dim=1).flatten(3, 4)  # (b, k, g, r p, n)
    seen = torch.matmul(C, before.transpose(-1, -2)).unflatten(-1, (heads, channels)).transpose(3, 4)
    return torch.addcmul(within, seen, into.unsqueeze(-1)), state


class _Decays(torch.autograd.Function):
    """The decays (..., T, T) from position j (last axis) to i, 0 where the two are not linked.

    Its own backward, because PyTorch's would take a dozen arrays of this size, in float64, through memory.
    """

    @staticmethod
    def forward(ctx: Any, reached: Tensor, linked: Tensor, dtype: torch.dtype) -> Tensor:
        between = (reached.unsqueeze(-1) - reached.unsqueeze(-2)).to(dtype)
        # Masked before the exponential: above the diagonal it would overflow.
        decay = between.masked_fill_(~linked, -torch.inf).exp_()
        ctx.save_for_backward(decay)
        return decay

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_decay: Tensor) -> tuple[Tensor | None, ...]:
        (decay,) = ctx.saved_tensors
        d_between = d_decay * decay
        # In float64, so that what cancels between the two sums is gone.
        return d_between.sum(-1, dtype=torch.float64) - d_between.sum(-2, dtype=torch.float64), None, None
