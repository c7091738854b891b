"""The selective scan's kernels in Triton: one program for one channel of one row, time in blocks.

In a block, all positions and states of the channel are combined at once by an associative scan over pairs (decay,
state); only the state is carried from block to block. Forward keeps the states at the start of every block, backward
computes those between again and runs the same scan from the end.

(T, N): positions of a block, states of the channel, both padded to powers of two. Arrays are (row, channel, time), B
and C (row, time, state). Importing this module is safe without Triton; its kernels then do not exist.
"""

from __future__ import annotations

import importlib.util
import inspect
from typing import Any

if importlib.util.find_spec("triton") is not None:
    import triton
    import triton.language as tl


def _combine(left_decay: Any, left_state: Any, right_decay: Any, right_state: Any) -> Any:
    """Two stretches of time in a row, as one."""
    return left_decay * right_decay, right_decay * left_state + right_state


def _forward(
    u: Any,
    dt: Any,
    A: Any,
    B: Any,
    C: Any,
    resets: Any,
    initial_state: Any,
    y: Any,
    starts: Any,
    last_state: Any,
    length: Any,
    channels: Any,
    states: Any,
    HAS_RESETS: tl.constexpr,
    T: tl.constexpr,
    N: tl.constexpr,
) -> None:
    """Writes outputs, the states at the start of every block (row, channel, block, state), and the last states."""
    row, channel = tl.program_id(0).to(tl.int64), tl.program_id(1)
    place = row * channels + channel
    n, within = tl.arange(0, N), tl.arange(0, T)
    real = n < states
    a = tl.load(A + channel * states + n, mask=real, other=0.0)
    h = tl.load(initial_state + place * states + n, mask=real, other=0.0)
    blocks = tl.cdiv(length, T)
    for block in range(blocks):
        tl.store(starts + (place * blocks + block) * states + n, h, mask=real)
        t = block * T + within
        inside = t < length
        # Positions behind the end have dt = 0: they change no state.
        u_t = tl.load(u + place * length + t, mask=inside, other=0.0)
        dt_t = tl.load(dt + place * length + t, mask=inside, other=0.0)
        at = (row * length + t)[:, None] * states + n[None, :]
        both = inside[:, None] & real[None, :]
        B_t = tl.load(B + at, mask=both, other=0.0)
        C_t = tl.load(C + at, mask=both, other=0.0)
        decay = tl.exp(dt_t[:, None] * a[None, :])
        if HAS_RESETS:
            reset = tl.load(resets + row * length + t, mask=inside, other=0)
            decay = tl.where(reset[:, None] != 0, 0.0, decay)
        total, local = tl.associative_scan((decay, (dt_t * u_t)[:, None] * B_t), 0, combine)
        h_t = local + total * h[None, :]
        tl.store(y + place * length + t, tl.sum(h_t * C_t, axis=1), mask=inside)
        h = tl.sum(tl.where(within[:, None] == T - 1, h_t, 0.0), axis=0)
    tl.store(last_state + place * states + n, h, mask=real)


def _backward(
    u: Any,
    dt: Any,
    A: Any,
    B: Any,
    C: Any,
    resets: Any,
    starts: Any,
    d_y: Any,
    d_last_state: Any,
    d_u: Any,
    d_dt: Any,
    d_A: Any,
    d_B: Any,
    d_C: Any,
    d_initial_state: Any,
    length: Any,
    channels: Any,
    states: Any,
    HAS_RESETS: tl.constexpr,
    T: tl.constexpr,
    N: tl.constexpr,
) -> None:
    """Writes every gradient; those of A for each row, (row, channel, state), those of B and C added up atomically."""
    row, channel = tl.program_id(0).to(tl.int64), tl.program_id(1)
    place = row * channels + channel
    n, within = tl.arange(0, N), tl.arange(0, T)
    real = n < states
    a = tl.load(A + channel * states + n, mask=real, other=0.0)
    d_a = tl.zeros_like(a)
    carried = tl.load(d_last_state + place * states + n, mask=real, other=0.0)  # gradient of the state after the block
    blocks = tl.cdiv(length, T)
    for done in range(blocks):
        block = blocks - 1 - done
        t = block * T + within
        inside = t < length
        followed = (t + 1 < length) & (within < T - 1)  # the next position is in this block too
        u_t = tl.load(u + place * length + t, mask=inside, other=0.0)
        dt_t = tl.load(dt + place * length + t, mask=inside, other=0.0)
        dt_next = tl.load(dt + place * length + t + 1, mask=followed, other=0.0)
        d_y_t = tl.load(d_y + place * length + t, mask=inside, other=0.0)
        at = (row * length + t)[:, None] * states + n[None, :]
        both = inside[:, None] & real[None, :]
        B_t = tl.load(B + at, mask=both, other=0.0)
        C_t = tl.load(C + at, mask=both, other=0.0)
        decay = tl.exp(dt_t[:, None] * a[None, :])
        next_decay = tl.exp(dt_next[:, None] * a[None, :])
        if HAS_RESETS:
            reset = tl.load(resets + row * length + t, mask=inside, other=0)
            next_reset = tl.load(resets + row * length + t + 1, mask=followed, other=0)
            decay = tl.where(reset[:, None] != 0, 0.0, decay)
            next_decay = tl.where(next_reset[:, None] != 0, 0.0, next_decay)
        added = (dt_t * u_t)[:, None] * B_t
        start = tl.load(starts + (place * blocks + block) * states + n, mask=real, other=0.0)
        total, local = tl.associative_scan((decay, added), 0, combine)
        h_t = local + total * start[None, :]
        total, local = tl.associative_scan((next_decay, d_y_t[:, None] * C_t), 0, combine, reverse=True)
        d_h = local + total * carried[None, :]
        tl.atomic_add(d_C + at, d_y_t[:, None] * h_t, mask=both)
        tl.atomic_add(d_B + at, d_h * (dt_t * u_t)[:, None], mask=both)
        d_dt_u = tl.sum(d_h * B_t, axis=1)
        d_exponent = d_h * (h_t - added)  # of exp(dt A): what came from the state before
        tl.store(d_u + place * length + t, d_dt_u * dt_t, mask=inside)
        tl.store(d_dt + place * length + t, d_dt_u * u_t + tl.sum(d_exponent * a[None, :], axis=1), mask=inside)
        d_a += tl.sum(d_exponent * dt_t[:, None], axis=0)
        carried = tl.sum(tl.where(within[:, None] == 0, d_h * decay, 0.0), axis=0)
    tl.store(d_A + place * states + n, d_a, mask=real)
    tl.store(d_initial_state + place * states + n, carried, mask=real)


if importlib.util.find_spec("triton") is not None:
    # Unwrapped: Triton reads a function's source and the names around it, which a checker of types would hide.
    combine = triton.jit(inspect.unwrap(_combine))
    forward_kernel = triton.jit(inspect.unwrap(_forward))
    backward_kernel = triton.jit(inspect.unwrap(_backward))
