"""The selective scan by the compiled kernel of `selective_scan.cpp`, on the CPU."""

import ctypes
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from .compiled_kernel import load_kernel
from .scan_result import ScanResult

CHUNK = 32  # positions: the states of 16 channels, 16 each, then take 32 KB and stay in the cache
SINGLE_THREAD_UPDATES = 1 << 17  # state updates below which starting threads takes longer than the work
PARALLEL_ITEMS = 16  # backward splits channels into groups until there are so many: a sum for each, on any machine

INTEGERS = ("batch", "length", "channels", "states", "chunk", "groups", "threads")
STRIDED = ("u", "dt", "B", "C", "z")
ARRAYS = (
    *("u", "dt", "A", "B", "C", "D", "z", "initial_state", "resets", "out", "starts", "last_state"),
    *("d_out", "d_last_state", "d_u", "d_dt", "d_A", "d_B", "d_C", "d_D", "d_z", "d_initial_state"),
)


class _Scan(ctypes.Structure):
    """`struct Scan` of the kernel."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in INTEGERS),
        *((f"{name}_stride", ctypes.c_int64) for name in STRIDED),
        *((name, ctypes.c_void_p) for name in ARRAYS),
    )


def absence() -> str | None:
    """Returns why the kernel is not there, or None; builds it where it can be built."""
    kernel = load_kernel()
    return None if kernel.library is not None else kernel.reason


def cpp_scan(
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
    """Returns what `selective_scan` returns; float32 or float64 on the CPU.

    Keeps the inputs and the states at the start of every 32 positions for backward, which computes the others again.
    """
    return ScanResult(*_CppScan.apply(u, dt, A, B, C, D, z, initial_state, resets))  # type: ignore[no-untyped-call]


class _CppScan(torch.autograd.Function):
    """The scan with its gradients; not differentiable twice."""

    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        dt: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None,
        z: Tensor | None,
        initial_state: Tensor | None,
        resets: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        batch, length, channels = u.shape
        states, width = A.shape[1], getattr(_library(), f"lanes_{_suffix(u)}")()
        tiles = -(-channels // width)
        arrays = {
            "u": _rows(u),
            "dt": _rows(dt),
            "A": A.contiguous(),
            "B": _rows(B),
            "C": _rows(C),
            "D": None if D is None else D.contiguous(),
            "z": None if z is None else _rows(z),
            "initial_state": None if initial_state is None else initial_state.contiguous(),
            "resets": None if resets is None else resets.contiguous(),
            "starts": u.new_empty(batch, -(-length // CHUNK), tiles, states, width),
        }
        out, last_state = u.new_empty(batch, length, channels), u.new_empty(batch, channels, states)
        ctx.groups = min(tiles, -(-PARALLEL_ITEMS // batch))
        _call("forward", u, states, ctx.groups, arrays | {"out": out, "last_state": last_state})
        ctx.names = tuple(arrays)
        ctx.save_for_backward(*arrays.values())
        return out, last_state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor, d_last_state: Tensor) -> tuple[Tensor | None, ...]:
        arrays: dict[str, Tensor | None] = dict(zip(ctx.names, ctx.saved_tensors, strict=True))
        u, _, A, B, C, D, z, initial_state, *_ = ctx.saved_tensors
        batch, _, channels = u.shape
        d_u, d_dt = u.new_empty(u.shape), u.new_empty(u.shape)
        # The kernel leaves sums over rows, and over groups of channels, to us.
        d_A, d_state = u.new_empty(batch, *A.shape), u.new_empty(batch, *A.shape)
        d_B, d_C = u.new_empty(ctx.groups, *B.shape), u.new_empty(ctx.groups, *C.shape)
        d_D = None if D is None else u.new_empty(batch, channels)
        d_z = None if z is None else u.new_empty(u.shape)
        arrays |= {"d_out": d_out.contiguous(), "d_last_state": d_last_state.contiguous()}
        arrays |= {"d_u": d_u, "d_dt": d_dt, "d_A": d_A, "d_B": d_B, "d_C": d_C, "d_D": d_D, "d_z": d_z}
        _call("backward", u, A.shape[1], ctx.groups, arrays | {"d_initial_state": d_state})
        d_B, d_C = (part.squeeze(0) if ctx.groups == 1 else part.sum(0) for part in (d_B, d_C))
        d_D = None if d_D is None else d_D.sum(0)
        return d_u, d_dt, d_A.sum(0), d_B, d_C, d_D, d_z, None if initial_state is None else d_state, None


def _call(direction: str, u: Tensor, states: int, groups: int, arrays: dict[str, Tensor | None]) -> None:
    """Runs the kernel on these arrays; the caller keeps them alive."""
    batch, length, channels = u.shape
    small = batch * length * channels * states < SINGLE_THREAD_UPDATES
    scan = _Scan(
        batch=batch,
        length=length,
        channels=channels,
        states=states,
        chunk=CHUNK,
        groups=groups,
        threads=1 if small else torch.get_num_threads(),
    )
    for name, array in arrays.items():
        if array is not None:
            setattr(scan, name, array.data_ptr())
            if name in STRIDED:
                # Where there is one position only, its stride can be any number, and rows follow each other by theirs.
                setattr(scan, f"{name}_stride", array.stride(1 if length > 1 else 0))
    # ctypes releases Python's lock during the call.
    getattr(_library(), f"{direction}_{_suffix(u)}")(ctypes.byref(scan))


def _library() -> ctypes.CDLL:
    library = load_kernel().library
    assert library is not None, "the caller chose this backend without asking whether it is there"
    return library


def _suffix(array: Tensor) -> str:
    return {torch.float32: "float32", torch.float64: "float64"}[array.dtype]


def _rows(array: Tensor) -> Tensor:
    """Returns the array itself where the kernel can step through it, as through a half of a wider projection."""
    batch, length, _ = array.shape
    regular = batch == 1 or length == 1 or array.stride(0) == length * array.stride(1)
    return array if regular and array.stride(2) == 1 else array.contiguous()
