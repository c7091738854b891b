"""Causal convolution of long sequences with kernels as long, one kernel per channel, by the Fourier transform."""

from typing import Any

import torch
from jaxtyping import Float
from scipy.fft import next_fast_len
from torch import Tensor
from torch.autograd.function import once_differentiable

# Channels are taken in groups of this many padded numbers, 4 MiB in float32: their transforms stay in the cache, and
# are never all in memory together.
_BLOCK = 2**20


def fft_convolution(u: Float[Tensor, "b l d"], kernel: Float[Tensor, "d k"]) -> Float[Tensor, "b l d"]:
    """Returns y_t = sum over j <= t of kernel_j u_(t - j); what of the kernel is longer than u has no effect.

    Keeps its inputs only: the backward pass transforms them again. Rounding spreads over a row, so an output holds
    about 1e-7 (float32) of the largest one; an input does not reach earlier outputs otherwise.
    """
    y: Tensor = _Convolution.apply(u, kernel[:, : u.shape[1]])
    return y


def good_length(length: int) -> int:
    """Returns the next number of factors 2, 3 and 5, whose transforms are fast."""
    good: int = next_fast_len(length, real=True)
    return good


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Float[Tensor, "b l d"], kernel: Float[Tensor, "d k"]) -> Float[Tensor, "b l d"]:
        ctx.save_for_backward(u, kernel)
        length = u.shape[1]
        padded = good_length(length + kernel.shape[1] - 1)  # shorter, and the end would wrap around to the start
        y = torch.empty_like(u)
        for channels in _groups(u, padded):
            transfer = torch.fft.rfft(kernel[channels], n=padded)
            y[:, :, channels] = _from_spectrum(_spectrum(u, channels, padded).mul_(transfer), padded, length)
        return y

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Float[Tensor, "b l d"]) -> tuple[Tensor, Tensor]:
        u, kernel = ctx.saved_tensors
        length, taps = u.shape[1], kernel.shape[1]
        padded = good_length(length + taps - 1)
        to_u, to_kernel = torch.empty_like(u), torch.empty_like(kernel)
        for channels in _groups(u, padded):
            # Correlation is convolution with the conjugate spectrum.
            flow = _spectrum(gradient, channels, padded)
            inputs = _spectrum(u, channels, padded)
            both = torch.linalg.vecdot(inputs, flow, dim=0)  # (G, K): conj(inputs) * flow, summed over the batch
            to_kernel[channels] = torch.fft.irfft(both, n=padded)[:, :taps]
            transfer = torch.fft.rfft(kernel[channels], n=padded)
            to_u[:, :, channels] = _from_spectrum(flow.mul_(transfer.conj()), padded, length)
        return to_u, to_kernel


def _groups(u: Float[Tensor, "b l d"], padded: int) -> list[slice]:
    size = max(1, _BLOCK // (u.shape[0] * padded))
    return [slice(start, start + size) for start in range(0, u.shape[2], size)]


def _spectrum(u: Float[Tensor, "b l d"], channels: slice, padded: int) -> Tensor:
    """Returns the transform of some channels of each row, (B, G, padded // 2 + 1)."""
    return torch.fft.rfft(u[:, :, channels].mT.contiguous(), n=padded)


def _from_spectrum(spectrum: Tensor, padded: int, length: int) -> Tensor:
    return torch.fft.irfft(spectrum, n=padded)[:, :, :length].mT  # (B, L, G)
