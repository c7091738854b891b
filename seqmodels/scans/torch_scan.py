"""The selective scan in PyTorch alone, on any device: in two levels, with the states computed again in backward.

A row is cut into segments that advance side by side, and time into blocks of a few positions. In a block, decays and
inputs are computed for all positions at once; only `h = decay * h + input` runs position by position. Where there are
several segments, a first pass finds the state at the end of each, and those are joined from segment to segment. Decays
are exponentials of sums of dt A over the positions between, never quotients of longer ones, which would overflow.

In this file (T, R, N, D): positions of a block, rows (batch x segments), states, channels. Channels come last because
they are many: every product then runs over long rows of memory.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from .reference_scan import skip_and_gate
from .scan_result import ScanResult

BLOCK_NUMBERS = 1 << 17  # of one state a position: three such arrays should stay in a core's cache
MIN_BLOCK, MAX_BLOCK = 16, 64  # positions; one state in so many is kept for backward
# Numbers in the states of all rows from which a step is worth its call: below, more segments advance side by side.
WORTHWHILE_NUMBERS = {"cpu": 1 << 12, "cuda": 1 << 18}


def torch_scan(
    u: Float[Tensor, "b l d"],
    dt: Float[Tensor, "b l d"],
    A: Float[Tensor, "d n"],
    B: Float[Tensor, "b l n"],
    C: Float[Tensor, "b l n"],
    *,
    D: Float[Tensor, " d"] | None = None,
    z: Float[Tensor, "b l d"] | None = None,
    initial_state: Float[Tensor, "b d n"] | None = None,
    resets: Bool[Tensor, "b l"] | None = None,
    num_segments: int | None = None,
) -> ScanResult:
    """Returns what `selective_scan` returns; `num_segments` None chooses it by the sizes and the device.

    Keeps the inputs and the states at the start of every block for backward, which computes the others again.
    """
    batch, length, channels = u.shape
    if num_segments is None:
        worthwhile = WORTHWHILE_NUMBERS.get(u.device.type, WORTHWHILE_NUMBERS["cuda"])
        wanted = -(-worthwhile // max(1, batch * channels * A.shape[1]))
        num_segments = max(1, min(wanted, length // MIN_BLOCK))
    missing = -length % num_segments
    state = u.new_zeros(batch, channels, A.shape[1]) if initial_state is None else initial_state
    # Positions of dt = 0 at the end change no state.
    padded = (torch.nn.functional.pad(part, (0, 0, 0, missing)) if missing else part for part in (u, dt, B, C))
    if resets is not None and missing:
        resets = torch.nn.functional.pad(resets, (0, missing))
    y, last_state = _TorchScan.apply(*padded, A, state, resets, num_segments)  # type: ignore[no-untyped-call]
    return ScanResult(skip_and_gate(y[:, :length], u, D, z), last_state)


class _Block(NamedTuple):
    """The inputs at a few positions of every row, time first."""

    u: Tensor  # (T, R, D)
    dt: Tensor  # (T, R, D)
    B: Tensor  # (T, R, N)
    C: Tensor  # (T, R, N)
    resets: Tensor | None  # (T, R)


def _blocks(u: Tensor, dt: Tensor, B: Tensor, C: Tensor, resets: Tensor | None, num_segments: int) -> list[_Block]:
    """Returns the inputs cut into segments, then into blocks of positions."""
    batch, length, channels = u.shape
    numbers = batch * num_segments * channels * B.shape[2]
    size = max(MIN_BLOCK, min(MAX_BLOCK, BLOCK_NUMBERS // numbers))

    def cut(part: Tensor) -> tuple[Tensor, ...]:
        rows = part.reshape(batch * num_segments, length // num_segments, *part.shape[2:])
        pieces: tuple[Tensor, ...] = rows.transpose(0, 1).split(size)
        return pieces

    parts = zip(cut(u), cut(dt), cut(B), cut(C), strict=True)
    masks: tuple[Tensor | None, ...] = (None,) * -(-(length // num_segments) // size) if resets is None else cut(resets)
    return [_Block(*tensors, mask) for tensors, mask in zip(parts, masks, strict=True)]


def _decay_and_states(block: _Block, A: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the decays (T, R, N, D) into each position, and the states (T + 1, R, N, D), the start included."""
    decay = torch.mul(block.dt.unsqueeze(2), A).exp_()
    if block.resets is not None:
        decay.masked_fill_(block.resets[..., None, None], 0.0)
    states = start.new_empty(len(decay) + 1, *start.shape)
    states[0] = start
    torch.mul(block.B.unsqueeze(3), (block.dt * block.u).unsqueeze(2), out=states[1:])
    before = states[0]
    for state, factor in zip(states[1:].unbind(), decay.unbind(), strict=True):
        before = state.addcmul_(factor, before)
    return decay, states


def _join(ends: Tensor, first: Tensor, blocks: list[_Block], A: Tensor, *, backwards: bool) -> Tensor:
    """Returns what enters each segment (R, N, D), from what each adds (R, N, D) and what enters the first (b, N, D).

    What enters one segment reaches the next one decayed by all of dt in it. Backwards, the first is the last in time.
    """
    batch = len(first)
    total_dt = torch.stack([block.dt.sum(0) for block in blocks]).sum(0)  # (R, D)
    decay = torch.mul(total_dt.unsqueeze(1), A).exp_()
    if blocks[0].resets is not None:
        cut = torch.stack([block.resets.any(0) for block in blocks if block.resets is not None]).any(0)
        decay.masked_fill_(cut[:, None, None], 0.0)
    segments = zip(
        decay.view(batch, -1, *decay.shape[1:]).unbind(1), ends.view(batch, -1, *ends.shape[1:]).unbind(1), strict=True
    )
    entering = [first]
    for factor, added in reversed(list(segments)) if backwards else segments:
        entering.append(torch.addcmul(added, factor, entering[-1]))
    entering.pop()  # what leaves the last segment
    if backwards:
        entering.reverse()
    return torch.stack(entering, dim=1).flatten(0, 1)


class _TorchScan(torch.autograd.Function):
    """y[t] = C[t] h[t] with its gradients; not differentiable twice."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, dt: Tensor, B: Tensor, C: Tensor, A: Tensor, state: Tensor, resets: Tensor | None, n: int
    ) -> tuple[Tensor, Tensor]:
        batch, length, channels = u.shape
        blocks = _blocks(u, dt, B, C, resets, n)
        turned = A.t().contiguous()
        h = state.transpose(1, 2).contiguous()  # (R, N, D)
        if n > 1:
            ends = h.new_zeros(batch * n, *h.shape[1:])
            for block in blocks:
                ends = _decay_and_states(block, turned, ends)[1][-1]
            h = _join(ends, h, blocks, turned, backwards=False)
        starts, outputs = [], []
        for block in blocks:
            starts.append(h)
            _, states = _decay_and_states(block, turned, h)
            outputs.append(torch.matmul(block.C.unsqueeze(2), states[1:]).squeeze(2))  # (T, R, D)
            h = states[-1].clone()  # a view would keep all of them
        ctx.save_for_backward(u, dt, B, C, A, resets, *starts)
        ctx.num_segments = n
        y = torch.cat(outputs).transpose(0, 1).reshape(batch, length, channels)
        last = h.view(batch, n, *h.shape[1:])[:, -1]
        return y, last.transpose(1, 2).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor, d_last: Tensor) -> tuple[Tensor | None, ...]:
        u, dt, B, C, A, resets, *starts = ctx.saved_tensors
        batch, length, _ = u.shape
        n = ctx.num_segments
        blocks = _blocks(u, dt, B, C, resets, n)
        outer = _blocks(d_y, dt, B, C, resets, n)  # its u: the gradient of y, cut like the inputs
        turned = A.t().contiguous()
        carry = d_last.transpose(1, 2).contiguous()  # gradient of the state after the positions still to come
        if n > 1:
            reached = carry.new_zeros(batch * n, *carry.shape[1:])
            for block, gradient in zip(reversed(blocks), reversed(outer), strict=True):
                decay = torch.mul(block.dt.unsqueeze(2), turned).exp_()
                if block.resets is not None:
                    decay.masked_fill_(block.resets[..., None, None], 0.0)
                reached = _state_gradients(block, gradient.u, decay, reached)[0] * decay[0]
            carry = _join(reached, carry, blocks, turned, backwards=True)
        d_A = torch.zeros_like(turned)
        gradients: list[tuple[Tensor, ...]] = []
        for block, gradient, start in zip(reversed(blocks), reversed(outer), reversed(starts), strict=True):
            decay, states = _decay_and_states(block, turned, start)
            d_states = _state_gradients(block, gradient.u, decay, carry)
            carry = d_states[0] * decay[0]
            gradients.append(_input_gradients(block, gradient.u, turned, decay, states, d_states, d_A))
        gradients.reverse()
        d_u, d_dt, d_B, d_C = (
            torch.cat(parts).transpose(0, 1).reshape(batch, length, -1) for parts in zip(*gradients, strict=True)
        )
        d_initial = carry.view(batch, n, *carry.shape[1:])[:, 0].transpose(1, 2)
        return d_u, d_dt, d_B, d_C, d_A.t(), d_initial, None, None


def _state_gradients(block: _Block, d_y: Tensor, decay: Tensor, after: Tensor) -> Tensor:
    """Returns the gradients of the states (T, R, N, D), given what reaches the last from later positions (R, N, D)."""
    d_states = torch.mul(block.C.unsqueeze(3), d_y.unsqueeze(2))
    in_order = d_states.unbind()
    in_order[-1].add_(after)
    factors = decay.unbind()
    for t in range(len(in_order) - 2, -1, -1):
        in_order[t].addcmul_(factors[t + 1], in_order[t + 1])
    return d_states


def _input_gradients(
    block: _Block, d_y: Tensor, A: Tensor, decay: Tensor, states: Tensor, d_states: Tensor, d_A: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns the gradients of u, dt, B and C; adds to `d_A`, and overwrites `decay` and `d_states`."""
    d_C = torch.matmul(states[1:], d_y.unsqueeze(3)).squeeze(3)  # (T, R, N)
    d_B = torch.matmul(d_states, (block.dt * block.u).unsqueeze(3)).squeeze(3)  # (T, R, N)
    d_dt_u = torch.matmul(block.B.unsqueeze(2), d_states).squeeze(2)  # (T, R, D)
    d_exponent = decay.mul_(d_states).mul_(states[:-1])  # of exp(dt A)
    weighted = torch.mul(d_exponent, block.dt.unsqueeze(2), out=d_states)
    d_A += weighted.sum((0, 1))
    d_dt = d_exponent.mul_(A).sum(2).addcmul_(d_dt_u, block.u)
    return d_dt_u * block.dt, d_dt, d_B, d_C
