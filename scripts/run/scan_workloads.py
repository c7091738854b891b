"""What the benchmark of scans measures beside layers: S4D's convolution against its plain form."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from seqmodels.fft_convolution import fft_convolution
from seqmodels.s4d import S4D, s4d_lin

from .sequence_costs import Workload


@dataclass(frozen=True, kw_only=True)
class S4DConvolution:
    """S4D's kernel and its convolution with a batch; a callable that builds forward and backward on a device."""

    materialised: bool  # the kernel as a product with the whole (d_state, length) Vandermonde matrix of each channel
    d_model: int
    d_state: int
    batch_size: int

    def __call__(self, device: str) -> Workload:
        """Returns forward and backward of a batch of a length."""
        layer = S4D(self.d_model, d_state=self.d_state, initialization=s4d_lin).to(device)

        def workload(length: int) -> Callable[[], object]:
            x = torch.randn(self.batch_size, length, self.d_model, device=device, requires_grad=True)
            gradient = torch.randn_like(x, requires_grad=False)  # given: no loss is to be measured with it

            def run() -> None:
                if self.materialised:
                    y = plain_convolution(x, vandermonde_kernel(layer, length))
                else:
                    y = fft_convolution(x, layer.kernel(length))
                y.backward(gradient)
                layer.zero_grad()

            return run

        return workload


def vandermonde_kernel(layer: S4D, length: int) -> Tensor:
    """Returns S4D's kernel (d, l) as its paper's listing computes it: every power of every pole at once.

    In the precision of the parameters, complex64 for float32, as S4's own code does.
    """
    dt = layer.log_dt.exp()[:, None]
    poles = torch.complex(-layer.log_A_real.exp(), layer.A_imag)
    scaled = torch.view_as_complex(layer.C) * torch.expm1(dt * poles) / poles
    powers = torch.exp((dt * poles)[..., None] * torch.arange(length, device=dt.device))  # (D, N / 2, L)
    return 2.0 * torch.einsum("dn,dnl->dl", scaled, powers).real


def plain_convolution(u: Tensor, kernel: Tensor) -> Tensor:
    """Returns the causal convolution (b, l, d) by Fourier transforms of twice the length, along rows of memory."""
    length = u.shape[1]
    spectrum = torch.fft.rfft(u.mT, n=2 * length) * torch.fft.rfft(kernel, n=2 * length)
    y: Tensor = torch.fft.irfft(spectrum, n=2 * length)[:, :, :length].mT
    return y
