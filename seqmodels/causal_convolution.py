"""The short causal convolution of Mamba: each channel mixes its last few inputs, never those before a reset."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable


class Convolved(NamedTuple):
    """The outputs at every position, and the inputs that later positions still see."""

    output: Float[Tensor, "b l d"]
    window: Float[Tensor, "b w d"]


def causal_convolution(
    x: Float[Tensor, "b l d"],
    window: Float[Tensor, "b w d"],
    weight: Float[Tensor, "d 1 k"],
    bias: Float[Tensor, " d"] | None,
    resets: Bool[Tensor, "b l"] | None = None,
) -> Convolved:
    """Returns y[t] = bias + sum over j of weight[:, 0, k - 1 - j] x[t - j], and the last w = k - 1 inputs.

    `window` holds the w inputs before the first position, zeros at a sequence's start; where `resets` is True, all
    inputs before count as zeros. `weight` is that of `nn.Conv1d(d, d, k, groups=d)`.
    """
    _, length, _ = x.shape
    inputs = torch.cat([window.to(weight.dtype), x.to(weight.dtype)], dim=1)  # (B, W + L, D)
    # Inputs belong together where as many sequences have begun.
    sequence = None if resets is None else F.pad(resets.cumsum(1), (window.shape[1], 0))  # (B, W + L)
    output: Tensor = _Convolution.apply(inputs, weight.squeeze(1), bias, sequence)  # type: ignore[no-untyped-call]
    if sequence is None:
        return Convolved(output, inputs[:, length:].clone())
    foreign = sequence[:, length:] != sequence[:, -1:]
    return Convolved(output, inputs[:, length:].masked_fill(foreign.unsqueeze(-1), 0.0))


class _Convolution(torch.autograd.Function):
    """The sum over shifted inputs with its gradients, in place: autograd would keep and pad a copy for every shift."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, sequence: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs, weight, sequence)
        ctx.has_bias = bias is not None
        length = inputs.shape[1] - weight.shape[1] + 1
        y = inputs[:, inputs.shape[1] - length :] * weight[:, -1]
        for tap in range(weight.shape[1] - 1):
            y.addcmul_(_own(inputs[:, tap : tap + length], sequence, tap), weight[:, tap])
        return y if bias is None else y.add_(bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight, sequence = ctx.saved_tensors
        length = d_y.shape[1]
        d_inputs = torch.zeros_like(inputs)
        d_weight = torch.empty_like(weight)
        for tap in range(weight.shape[1]):
            d_own = _own(d_y, sequence, tap)
            d_weight[:, tap] = (d_own * inputs[:, tap : tap + length]).sum((0, 1))
            d_inputs[:, tap : tap + length].addcmul_(d_own, weight[:, tap])
        return d_inputs, d_weight, d_y.sum((0, 1)) if ctx.has_bias else None, None


def _own(part: Tensor, sequence: Tensor | None, tap: int) -> Tensor:
    """Returns `part` with 0 at every position for which the input at this tap is of another sequence."""
    if sequence is None:
        return part
    length = part.shape[1]
    foreign = sequence[:, sequence.shape[1] - length :] != sequence[:, tap : tap + length]
    return part.masked_fill(foreign.unsqueeze(-1), 0.0)
