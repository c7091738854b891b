"""The selective scan by our own Triton kernels, on a GPU; on a CPU, slowly, under Triton's interpreter."""

import functools
import importlib
import importlib.util
import os
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from .reference_scan import skip_and_gate
from .scan_result import ScanResult

BLOCK_NUMBERS = 1024  # positions x states that one program holds at once
MIN_BLOCK = 16  # positions; one state in so many is kept for backward


def absence(device: torch.device) -> str | None:
    """Returns why the kernels cannot run on a device, or None."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if device.type != "cuda" and not _interpreted():
        return f"Triton computes on a GPU, not on {device.type}, unless TRITON_INTERPRET=1 is set"
    return _import_failure()


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


@functools.cache
def _import_failure() -> str | None:
    try:
        _kernels()
    except Exception as error:  # a broken installation raises what it likes
        return f"Triton is installed but cannot be imported: {error!r}"
    return None


@functools.cache
def _kernels() -> ModuleType:
    """Imports the kernels when they are first needed: Triton is slow to import."""
    return importlib.import_module(".triton_kernels", __package__)


def triton_scan(
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
    block: int | None = None,
) -> ScanResult:
    """Returns what `selective_scan` returns; `block`, a power of two, is the number of positions taken at once.

    Gradients of B and C are added up in no fixed order: their last digits differ from run to run.
    """
    padded_states = 1 << (A.shape[1] - 1).bit_length()
    if block is None:
        block = max(MIN_BLOCK, BLOCK_NUMBERS // padded_states)
    state = u.new_zeros(len(u), *A.shape) if initial_state is None else initial_state
    sizes = (block, padded_states)
    y, last_state = _TritonScan.apply(u, dt, A, B, C, state, resets, sizes)  # type: ignore[no-untyped-call]
    return ScanResult(skip_and_gate(y, u, D, z), last_state)


class _TritonScan(torch.autograd.Function):
    """y[t] = C[t] h[t] with its gradients; not differentiable twice."""

    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        dt: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        state: Tensor,
        resets: Tensor | None,
        sizes: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        batch, length, channels = u.shape
        # A program reads one channel at successive positions: those have to lie side by side.
        u, dt = u.transpose(1, 2).contiguous(), dt.transpose(1, 2).contiguous()
        A, B, C, state = A.contiguous(), B.contiguous(), C.contiguous(), state.contiguous()
        resets = None if resets is None else resets.contiguous().view(torch.uint8)
        y = torch.empty_like(u)
        starts = u.new_empty(batch, channels, -(-length // sizes[0]), A.shape[1])
        last_state = torch.empty_like(state)
        mask = u if resets is None else resets  # a pointer that is not read
        kernel = _kernels().forward_kernel[(batch, channels)]
        arrays = (u, dt, A, B, C, mask, state, y, starts, last_state)
        with _on_device_of(u):
            kernel(*arrays, length, channels, A.shape[1], HAS_RESETS=resets is not None, T=sizes[0], N=sizes[1])
        ctx.save_for_backward(u, dt, A, B, C, resets, starts)
        ctx.sizes = sizes
        return y.transpose(1, 2), last_state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor, d_last_state: Tensor) -> tuple[Tensor | None, ...]:
        u, dt, A, B, C, resets, starts = ctx.saved_tensors
        batch, channels, length = u.shape
        d_u, d_dt = torch.empty_like(u), torch.empty_like(dt)
        d_A, d_state = u.new_empty(batch, *A.shape), u.new_empty(batch, *A.shape)
        d_B, d_C = torch.zeros_like(B), torch.zeros_like(C)
        mask = u if resets is None else resets
        given = (u, dt, A, B, C, mask, starts, d_y.transpose(1, 2).contiguous(), d_last_state.contiguous())
        kernel = _kernels().backward_kernel[(batch, channels)]
        arrays = (*given, d_u, d_dt, d_A, d_B, d_C, d_state)
        with _on_device_of(u):
            kernel(*arrays, length, channels, A.shape[1], HAS_RESETS=resets is not None, T=ctx.sizes[0], N=ctx.sizes[1])
        return d_u.transpose(1, 2), d_dt.transpose(1, 2), d_A.sum(0), d_B, d_C, d_state, None, None


def _on_device_of(array: Tensor) -> torch.cuda.device:
    """Triton launches on the current GPU, which need not be the arrays' own; -1 changes nothing."""
    return torch.cuda.device(array.device.index if array.is_cuda else -1)
