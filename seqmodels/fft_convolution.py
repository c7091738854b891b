"""Causal convolution of long sequences with kernels as long, one kernel per channel, by the Fourier transform."""

from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from .block_size import numbers_at_once

_CHANNELS = 16  # transformed at once, of a few rows: a cache line of float32


def fft_convolution(u: Float[Tensor, "b l d"], kernel: Float[Tensor, "d k"]) -> Float[Tensor, "b l d"]:
    """Returns y_t = sum over j <= t of kernel_j u_(t - j); what of the kernel is longer than u has no effect.

    Where the kernel learns, keeps the spectrum of u, about twice its size: to transform it again would be a fifth of
    both passes. Rounding spreads over a row, so an output holds about 1e-7 (float32) of the largest one; an input does
    not reach earlier outputs otherwise.
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
        length = u.shape[1]
        padded = good_length(length + kernel.shape[1] - 1)  # shorter, and the end would wrap around to the start
        y, frame, spectra = torch.empty_like(u), _frame(u, padded), []
        for channels in _slices(u.shape[2], _CHANNELS):
            transfer = torch.fft.rfft(kernel[channels], n=padded)
            for rows in _slices(u.shape[0], _rows_at_once(u, padded)):
                spectrum = _spectrum(u[rows, :, channels], frame)
                y[rows, :, channels] = torch.fft.irfft(spectrum * transfer, n=padded)[:, :, :length].mT
                if learns:
                    spectra.append(spectrum)
        ctx.save_for_backward(kernel, *spectra)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, "b l d"]) -> tuple[Tensor, Tensor | None, None]:
        kernel, *spectra = ctx.saved_tensors
        length, taps = gradient.shape[1], kernel.shape[1]
        padded = good_length(length + taps - 1)
        to_u, to_kernel, frame = torch.empty_like(gradient), torch.empty_like(kernel), _frame(gradient, padded)
        remaining = iter(spectra)
        for channels in _slices(gradient.shape[2], _CHANNELS):
            # Correlation is convolution with the conjugate spectrum.
            backwards = torch.fft.rfft(kernel[channels], n=padded).conj().resolve_conj()
            both = torch.zeros_like(backwards)
            for rows in _slices(gradient.shape[0], _rows_at_once(gradient, padded)):
                flow = _spectrum(gradient[rows, :, channels], frame)
                if spectra:
                    both += torch.linalg.vecdot(next(remaining), flow, dim=0)  # conj(u) flow
                to_u[rows, :, channels] = torch.fft.irfft(flow.mul_(backwards), n=padded)[:, :, :length].mT
            to_kernel[channels] = torch.fft.irfft(both, n=padded)[:, :taps]
        return to_u, to_kernel if spectra else None, None


def _rows_at_once(u: Float[Tensor, "b l d"], padded: int) -> int:
    """Returns of how many rows to transform some channels at once."""
    # An eighth of a long input is little beside it, and fewer, larger blocks keep several threads from waiting.
    return max(numbers_at_once(u.device), u.numel() // 8) // (_CHANNELS * padded)


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, start + max(1, size)) for start in range(0, count, max(1, size))]


def _frame(u: Float[Tensor, "b l d"], padded: int) -> Tensor:
    """Returns zeros for as many rows and channels as are transformed at once, (rows, channels, padded)."""
    rows = min(max(1, _rows_at_once(u, padded)), u.shape[0])
    return u.new_zeros(rows, min(_CHANNELS, u.shape[2]), padded)


def _spectrum(part: Tensor, frame: Tensor) -> Tensor:
    """Returns the transform (rows, channels, padded // 2 + 1) of a part (rows, l, channels), laid into the frame."""
    rows, length, channels = part.shape
    frame[:rows, :channels, :length] = part.mT  # what lies behind it stays zero
    spectrum: Tensor = torch.fft.rfft(frame[:rows, :channels])
    return spectrum
