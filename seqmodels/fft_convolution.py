"""Causal convolution of long sequences with kernels as long, one kernel per channel, by the Fourier transform."""

from functools import cache
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from .block_size import numbers_at_once


def fft_convolution(u: Float[Tensor, "b l d"], kernel: Float[Tensor, "d k"]) -> Float[Tensor, "b l d"]:
    """Returns y_t = sum over j <= t of kernel_j u_(t - j); what of the kernel is longer than u has no effect.

    y is a view of (b, d, l), as the transforms leave it: named last in a sum with (b, l, d), it gives one laid out as
    that. Where the kernel learns, keeps the spectrum of u, about twice its size: to transform it again would be a fifth
    of both passes. Rounding spreads over a row, so an output holds about 1e-7 (float32) of the largest one; an input
    does not reach earlier outputs otherwise.
    """
    learns = kernel.requires_grad and torch.is_grad_enabled()
    y: Tensor = _Convolution.apply(u, kernel[:, : u.shape[1]], learns)  # type: ignore[no-untyped-call]
    return y


@cache
def good_length(length: int) -> int:
    """Returns the next number of factors 2, 3 and 5, whose transforms are fast."""
    odd_parts = (3**i * 5**j for i in range(length.bit_length()) for j in range(length.bit_length()))
    best: int = min(part << max(0, (-(-length // part) - 1).bit_length()) for part in odd_parts)
    return best


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, u: Float[Tensor, "b l d"], kernel: Float[Tensor, "d k"], learns: bool
    ) -> Float[Tensor, "b l d"]:
        length, taps = u.shape[1], kernel.shape[1]
        padded = good_length(length + taps - 1)  # shorter, and the end would wrap around to the start
        transfer = torch.fft.rfft(kernel, n=padded)
        y, spectra = u.new_empty(u.mT.shape), []
        for rows in _blocks(u, padded):
            spectrum = _spectrum(u[rows], padded)
            y[rows] = torch.fft.irfft(spectrum * transfer, n=padded)[:, :, :length]
            if learns:
                spectra.append(spectrum.conj_physical_())  # as the kernel's gradient needs it
        ctx.save_for_backward(transfer, *spectra)
        ctx.taps, ctx.padded = taps, padded
        return y.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, "b l d"]) -> tuple[Tensor, Tensor | None, None]:
        transfer, *spectra = ctx.saved_tensors
        length, remaining = gradient.shape[1], iter(spectra)
        # Correlation is convolution with the conjugate spectrum.
        backwards, both = transfer.conj().resolve_conj(), torch.zeros_like(transfer)
        to_u = gradient.new_empty(gradient.mT.shape)
        for rows in _blocks(gradient, ctx.padded):
            flow = _spectrum(gradient[rows], ctx.padded)
            if spectra:
                both += (next(remaining) * flow).sum(0)
            to_u[rows] = torch.fft.irfft(flow.mul_(backwards), n=ctx.padded)[:, :, :length]
            del flow  # before the next one is made
        to_kernel = torch.fft.irfft(both, n=ctx.padded)[:, : ctx.taps] if spectra else None
        return to_u.mT, to_kernel, None


def _spectrum(x: Float[Tensor, "rows l d"], padded: int) -> Complex[Tensor, "rows d f"]:
    frame = x.new_zeros(x.shape[0], x.shape[2], padded)
    frame[:, :, : x.shape[1]] = x.mT
    spectrum: Tensor = torch.fft.rfft(frame)
    return spectrum


def _blocks(x: Float[Tensor, "b l d"], padded: int) -> list[slice]:
    """Returns which rows to transform at once, all channels: of a long batch, about a quarter."""
    # Fewer and larger blocks keep several threads from waiting for each other.
    numbers = max(2 * numbers_at_once(x.device), x.numel() // 2)
    rows = max(numbers // (x.shape[2] * padded), 1)
    return [slice(start, start + rows) for start in range(0, len(x), rows)]
