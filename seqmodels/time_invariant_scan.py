"""A linear recurrence that is the same at every position, run over a row chunk by chunk, as matrix products.

Glossary: s_t = A s_(t-1) + B u_t and y_t = C s_t, one such system per channel; B rows, L positions, D channels, N
numbers of state per channel (a complex one counts twice), c chunks of Q positions.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

Advance = Callable[[Float[Tensor, "d b n"], int], Float[Tensor, "d b n"]]


class ChunkOperators(NamedTuple):
    """What one chunk of Q positions does to its inputs and to the state before it."""

    kernel: Float[Tensor, "d q"]  # C A^l B: from an input to the output l positions later
    observe: Float[Tensor, "d n q"]  # C A^(l + 1): from the state before the chunk to the output at l
    control: Float[Tensor, "d q n"]  # A^(Q - 1 - l) B: from the input at l to the state after the chunk
    advance: Advance  # (s, m) -> A^m s for m up to Q


def time_invariant_scan(
    u: Float[Tensor, "b l d"],
    operators: ChunkOperators,
    state: Float[Tensor, "b d n"],
    resets: Bool[Tensor, "b l"] | None = None,
) -> tuple[Float[Tensor, "b l d"], Float[Tensor, "b d n"]]:
    """Returns the outputs y, and the state after the last position.

    Inside a chunk the recurrence is a product with the Toeplitz matrix of its kernel; from chunk to chunk only the
    state is carried. Time and memory grow with L, and beside inputs and outputs one state per chunk is kept. A reset
    cuts its chunk: products run over each part alone, and what lies before it is replaced by exact zeros, never
    subtracted.
    """
    size = operators.kernel.shape[1]
    length = u.shape[1]
    whole = length - length % size
    outputs = []
    carried = state.transpose(0, 1)  # (D, B, N)
    if whole > 0:
        y, carried = _scan(u[:, :whole], operators, carried, None if resets is None else resets[:, :whole])
        outputs.append(y)
    if whole < length:
        rest = _shortened(operators, length - whole)
        y, carried = _scan(u[:, whole:], rest, carried, None if resets is None else resets[:, whole:])
        outputs.append(y)
    return torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0], carried.transpose(0, 1)


def _shortened(operators: ChunkOperators, size: int) -> ChunkOperators:
    kernel, observe, control, advance = operators
    return ChunkOperators(kernel[:, :size], observe[:, :, :size], control[:, -size:], advance)


def _scan(
    u: Float[Tensor, "b l d"],
    operators: ChunkOperators,
    state: Float[Tensor, "d b n"],
    resets: Bool[Tensor, "b l"] | None,
) -> tuple[Float[Tensor, "b l d"], Float[Tensor, "d b n"]]:
    kernel, observe, control, advance = operators
    batch, size = u.shape[0], kernel.shape[1]
    chunks = u.unflatten(1, (-1, size)).permute(3, 0, 1, 2).flatten(1, 2)  # (D, Bc, Q)
    toeplitz = _toeplitz(kernel)
    if resets is None:
        part = intact = None
        local = torch.bmm(chunks, toeplitz)
        added = torch.bmm(chunks, control)
    else:
        part = resets.unflatten(1, (-1, size)).cumsum(dim=-1)  # (B, c, Q): how many resets lie in the chunk so far
        intact = part[..., -1] == 0  # (B, c)
        part = part.flatten(0, 1)  # (Bc, Q)
        local = _bmm_by_part(chunks, toeplitz, part)
        # Only what follows the chunk's last reset reaches the state after it.
        added = torch.bmm(torch.where(part == part[:, -1:], chunks, 0.0), control)
    before = []
    for index, step in enumerate(added.unflatten(1, (batch, -1)).unbind(2)):  # (D, B, N)
        before.append(state)
        state = advance(state, size)
        if intact is not None:
            state = torch.where(intact[:, index, None], state, 0.0)
        state = state + step
    started = torch.stack(before, dim=2).flatten(1, 2)  # (D, Bc, N)
    if part is None:
        y = torch.baddbmm(local, started, observe)
    else:
        y = local + torch.where(part == 0, torch.bmm(started, observe), 0.0)
    return y.unflatten(1, (batch, -1)).permute(1, 2, 3, 0).flatten(1, 2), state


def _toeplitz(kernel: Float[Tensor, "d q"]) -> Float[Tensor, "d q q"]:
    """Returns T with T[j, t] = kernel[t - j], zero where t < j: a row of inputs times T is their convolution."""
    size = kernel.shape[1]
    # Row j of the windows over (0, ..., 0, kernel) begins with j zeros when windows are taken from the right.
    windows = torch.nn.functional.pad(kernel, (size - 1, 0)).unfold(1, size, 1)
    return windows.flip(1)


def _bmm_by_part(
    chunks: Float[Tensor, "d m q"], toeplitz: Float[Tensor, "d q q"], part: Int64[Tensor, "m q"]
) -> Float[Tensor, "d m q"]:
    """Returns chunks @ toeplitz where inputs reach only outputs with their number of `part`.

    The work is one product per part, over those chunks that have it: little where resets are rare.
    """
    first = part == 0
    result = torch.where(first, torch.bmm(torch.where(first, chunks, 0.0), toeplitz), 0.0)
    for number in range(1, int(part[:, -1].max()) + 1):
        rows = (part[:, -1] >= number).nonzero().squeeze(1)
        inside = part[rows] == number
        reached = torch.bmm(torch.where(inside, chunks[:, rows], 0.0), toeplitz)
        result = result.index_add(1, rows, torch.where(inside, reached, 0.0))
    return result
