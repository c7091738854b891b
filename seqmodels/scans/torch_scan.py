"""The selective scan in PyTorch alone, on any device: in two levels, with the states computed again in backward.

A row is cut into segments that advance side by side, and time into blocks of a few positions. In a block, decays and
inputs are computed for all positions at once; only `h = decay * h + input` runs position by position. Where there are
several segments, a first pass finds the state at the end of each, and those are joined from segment to segment. Decays
are exponentials of sums of dt A over the positions between, never quotients of longer ones, which would overflow.

In this file (T, R, N, D): positions of a block, rows (batch x segments), states, channels. Channels come last because
they are many: every product then runs over long rows of memory.
"""

import math
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from .reference_scan import skip_and_gate
from .scan_result import ScanResult

BLOCK_NUMBERS = 1 << 17  # of one state a position: three such arrays should stay in a core's cache
MIN_BLOCK, MAX_BLOCK = 32, 64  # positions; one state in so many is kept for backward
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


def _block_size(u: Tensor, d_state: int, num_segments: int) -> int:
    """Returns how many positions a block has, but for the last."""
    numbers = u.shape[0] * num_segments * u.shape[2] * d_state
    return min(max(MIN_BLOCK, min(MAX_BLOCK, BLOCK_NUMBERS // numbers)), u.shape[1] // num_segments)


def _cut(part: Tensor, num_segments: int, size: int) -> tuple[Tensor, ...]:
    """Returns the blocks (T, R, ...) of (b, l, ...), cut into segments first; views, of a contiguous part."""
    rows = part.reshape(len(part) * num_segments, part.shape[1] // num_segments, *part.shape[2:])
    pieces: tuple[Tensor, ...] = rows.transpose(0, 1).split(size)
    return pieces


def _blocks(
    u: Tensor, dt: Tensor, B: Tensor, C: Tensor, resets: Tensor | None, num_segments: int, size: int
) -> list[_Block]:
    """Returns the inputs of all blocks."""
    us, dts, Bs, Cs = (_cut(part, num_segments, size) for part in (u, dt, B, C))
    masks: tuple[Tensor | None, ...] = (None,) * len(us) if resets is None else _cut(resets, num_segments, size)
    return [_Block(*parts) for parts in zip(us, dts, Bs, Cs, masks, strict=True)]


class _Workspace:
    """Arrays for the numbers of one block, filled again for every block, and each position's part of them."""

    def __init__(self, size: int, rows: int, A: Tensor) -> None:
        self._decays = A.new_empty(size, rows, *A.shape)
        self._states = A.new_empty(size + 1, rows, *A.shape)
        # Made once: of a small model, a view takes as long as what is computed with it.
        self._decay_at, self._state_at = self._decays.unbind(), self._states.unbind()

    @cached_property
    def _flows(self) -> Tensor:
        return torch.empty_like(self._decays)

    @cached_property
    def _flow_at(self) -> tuple[Tensor, ...]:
        return self._flows.unbind()

    def decays(self, block: _Block, A: Tensor) -> Tensor:
        """Returns the decays (T, R, N, D) into each position."""
        return _decays(block.dt, A, block.resets, self._decays[: len(block.dt)])

    def states(self, block: _Block, start: Tensor) -> Tensor:
        """Returns the states (T + 1, R, N, D), the start included; wants the decays first."""
        states = self._states[: len(block.dt) + 1]
        states[0] = start
        torch.mul(block.B.unsqueeze(3), (block.dt * block.u).unsqueeze(2), out=states[1:])
        before = self._state_at[0]
        for state, decay in zip(self._state_at[1 : len(states)], self._decay_at, strict=False):
            before = state.addcmul_(decay, before)
        return states

    def state_gradients(self, block: _Block, d_y: Tensor, after: Tensor) -> Tensor:
        """Returns the gradients of the states (T, R, N, D), given what reaches the last from later positions (R, N, D).

        Wants the decays first.
        """
        flows = torch.mul(block.C.unsqueeze(3), d_y.unsqueeze(2), out=self._flows[: len(block.dt)])
        in_order = self._flow_at[: len(flows)]
        later = in_order[-1].add_(after)
        for flow, decay in zip(reversed(in_order[:-1]), reversed(self._decay_at[1 : len(flows)]), strict=True):
            later = flow.addcmul_(decay, later)
        return flows


def _decays(dt: Tensor, A: Tensor, resets: Tensor | None, out: Tensor | None = None) -> Tensor:
    """Returns exp(dt A) (..., N, D), and 0 where a row is reset, for dt (..., D)."""
    # On a CPU, PyTorch's exp takes twice as long as its exp2.
    decays = torch.mul(dt.unsqueeze(-2), A * math.log2(math.e), out=out).exp2_()
    if resets is not None:
        decays.masked_fill_(resets[..., None, None], 0.0)
    return decays


def _join(ends: Tensor, first: Tensor, blocks: list[_Block], A: Tensor, *, backwards: bool) -> Tensor:
    """Returns what enters each segment (R, N, D), from what each adds (R, N, D) and what enters the first (b, N, D).

    What enters one segment reaches the next one decayed by all of dt in it. Backwards, the first is the last in time.
    """
    batch = len(first)
    total_dt = torch.stack([block.dt.sum(0) for block in blocks]).sum(0)  # (R, D)
    cuts = [block.resets.any(0) for block in blocks if block.resets is not None]
    decay = _decays(total_dt, A, torch.stack(cuts).any(0) if cuts else None)
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
        rows, size = len(u) * n, _block_size(u, A.shape[1], n)
        blocks = _blocks(u, dt, B, C, resets, n, size)
        turned = A.t().contiguous()
        work = _Workspace(size, rows, turned)
        h = state.transpose(1, 2).contiguous()  # (R, N, D)
        if n > 1:
            ends = h.new_zeros(rows, *turned.shape)
            for block in blocks:
                work.decays(block, turned)
                ends = work.states(block, ends)[-1]
            h = _join(ends, h, blocks, turned, backwards=False)
        starts, y = [], u.new_empty(u.shape)
        for block, into in zip(blocks, _cut(y, n, size), strict=True):
            starts.append(h)
            work.decays(block, turned)
            states = work.states(block, h)
            into.copy_(torch.matmul(block.C.unsqueeze(2), states[1:]).squeeze(2))
            h = states[-1].clone()
        ctx.save_for_backward(u, dt, B, C, A, resets, *starts)
        ctx.num_segments = n
        last = h.view(-1, n, *turned.shape)[:, -1]
        return y, last.transpose(1, 2).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor, d_last: Tensor) -> tuple[Tensor | None, ...]:
        u, dt, B, C, A, resets, *starts = ctx.saved_tensors
        n = ctx.num_segments
        rows, size = len(u) * n, _block_size(u, A.shape[1], n)
        blocks = _blocks(u, dt, B, C, resets, n, size)
        outer = _cut(d_y, n, size)
        turned = A.t().contiguous()
        work = _Workspace(size, rows, turned)
        carry = d_last.transpose(1, 2).contiguous()  # gradient of the state after the positions still to come
        if n > 1:
            reached = carry.new_zeros(rows, *turned.shape)
            for block, gradient in zip(reversed(blocks), reversed(outer), strict=True):
                decays = work.decays(block, turned)
                reached = work.state_gradients(block, gradient, reached)[0] * decays[0]
            carry = _join(reached, carry, blocks, turned, backwards=True)
        d_A = torch.zeros_like(turned)
        d_u, d_dt, d_B, d_C = (part.new_empty(part.shape) for part in (u, dt, B, C))
        into = _blocks(d_u, d_dt, d_B, d_C, None, n, size)
        for block, gradient, start, of in zip(*map(reversed, (blocks, outer, starts, into)), strict=True):
            decays, states = work.decays(block, turned), work.states(block, start)
            flows = work.state_gradients(block, gradient, carry)
            carry = flows[0] * decays[0]
            _fill_input_gradients(of, block, gradient, turned, decays, states, flows, d_A)
        d_initial = carry.view(-1, n, *turned.shape)[:, 0].transpose(1, 2)
        return d_u, d_dt, d_B, d_C, d_A.t(), d_initial, None, None


def _fill_input_gradients(
    into: _Block, block: _Block, d_y: Tensor, A: Tensor, decays: Tensor, states: Tensor, flows: Tensor, d_A: Tensor
) -> None:
    """Writes the gradients of a block's inputs into `into`; adds to `d_A`, and overwrites `decays` and `flows`."""
    into.C.copy_(_channels_met(states[1:], d_y))
    into.B.copy_(_channels_met(flows, block.dt * block.u))
    d_dt_u = torch.matmul(block.B.unsqueeze(2), flows).squeeze(2)  # (T, R, D)
    d_exponent = decays.mul_(flows).mul_(states[:-1])  # of exp(dt A)
    weighted = torch.mul(d_exponent, block.dt.unsqueeze(2), out=flows)
    d_A += weighted.sum((0, 1))
    torch.addcmul(d_exponent.mul_(A).sum(2), d_dt_u, block.u, out=into.dt)
    torch.mul(d_dt_u, block.dt, out=into.u)


def _channels_met(states: Tensor, x: Tensor) -> Tensor:
    """Returns the sums (T, R, N) over channels of states (T, R, N, D) times x (T, R, D)."""
    # A row times a transposed matrix takes a quarter of the time of the matrix times a column.
    sums = torch.bmm(x.flatten(0, 1).unsqueeze(1), states.flatten(0, 1).mT)
    return sums.view(states.shape[:3])
