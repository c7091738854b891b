"""The selective scan by the CUDA kernels of mamba-ssm, its module `selective_scan_cuda`.

Only that module is imported: the package around it imports much else, and fails where one part of that does.
"""

import functools
import importlib
import importlib.util
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from .scan_result import ScanResult
from .torch_scan import torch_scan


def absence(device: torch.device) -> str | None:
    """Returns why the kernels cannot run on a device, or None."""
    if device.type != "cuda":
        return f"upstream's kernels are for CUDA, not for {device.type}"
    if importlib.util.find_spec("selective_scan_cuda") is None:
        return "mamba-ssm is not installed"
    return _import_failure()


@functools.cache
def _import_failure() -> str | None:
    try:
        _kernels()
    except Exception as error:  # built for another PyTorch, it raises what the linker says
        return f"mamba-ssm is installed but its kernels cannot be imported: {error!r}"
    return None


@functools.cache
def _kernels() -> ModuleType:
    return importlib.import_module("selective_scan_cuda")


def mamba_ssm_scan(
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
) -> ScanResult:
    """Returns what `selective_scan` returns, for float32 inputs without resets and initial state.

    Raises:
        ValueError: resets or an initial state were given; `choose_backend` takes another backend then.
    """
    if resets is not None or initial_state is not None:
        raise ValueError("the backend 'mamba_ssm' takes neither resets nor an initial state")
    output, last_state = _UpstreamScan.apply(u, dt, A, B, C, D, z)  # type: ignore[no-untyped-call]
    return ScanResult(output, _StateGradient.apply(last_state, u, dt, A, B, C))  # type: ignore[no-untyped-call]


class _UpstreamScan(torch.autograd.Function):
    """Upstream's kernels behind their own signature: (row, channel, time), B and C (row, group, state, time)."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        by_time = [None if part is None else part.transpose(1, 2).contiguous() for part in (u, dt, z)]
        in_group = [part.transpose(1, 2).contiguous().unsqueeze(1) for part in (B, C)]
        skip = None if D is None else D.contiguous()
        arrays = (by_time[0], by_time[1], A.contiguous(), *in_group, skip, by_time[2], None)  # None: the bias of dt
        ungated, states, *gated = _kernels().fwd(*arrays, False)  # False: dt is positive already
        ctx.save_for_backward(*arrays, states, ungated if z is not None else None)
        last_state = states[:, :, -1, 1::2].contiguous()  # pairs (decay, state) at the end of each of its chunks
        ctx.mark_non_differentiable(last_state)
        return (gated[0] if gated else ungated).transpose(1, 2), last_state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_output: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        *arrays, states, ungated = ctx.saved_tensors
        d_output = d_output.transpose(1, 2).contiguous()
        # None: dz is allocated there; the two False: dt is positive already, the gated output is not wanted again.
        d_u, d_dt, d_A, d_B, d_C, d_D, _bias, *d_z = _kernels().bwd(
            *arrays, d_output, states, ungated, None, False, False
        )
        return (
            d_u.transpose(1, 2),
            d_dt.transpose(1, 2),
            d_A,
            d_B.squeeze(1).transpose(1, 2),
            d_C.squeeze(1).transpose(1, 2),
            None if arrays[5] is None else d_D,
            d_z[0].transpose(1, 2) if arrays[6] is not None else None,
        )


class _StateGradient(torch.autograd.Function):
    """The last state, unchanged, with the gradient that upstream's kernels leave out.

    Only where a loss depends on the state is anything computed: the scan again, by the backend `torch`.
    """

    @staticmethod
    def forward(ctx: Any, last_state: Tensor, *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs)
        return last_state.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_last_state: Tensor) -> tuple[Tensor | None, ...]:
        inputs = [part.detach().requires_grad_() for part in ctx.saved_tensors]
        with torch.enable_grad():
            last_state = torch_scan(*inputs).last_state
        # The last C reaches outputs only.
        return None, *torch.autograd.grad(last_state, inputs, d_last_state, materialize_grads=True)
