"""The selective scan, the recurrence inside Mamba, on whichever backend is there."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .backends import IMPLEMENTATIONS, Backend, ScanNeeds, choose_backend
from .scan_result import ScanResult


def selective_scan(
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
    backend: Backend = "auto",
) -> ScanResult:
    """Returns the outputs, and the state after the last position, of Gu and Dao 2023, algorithm 2:

        h[t] = exp(dt[t] A) h[t-1] + dt[t] B[t] u[t],     y[t] = (C[t] h[t] + D u[t]) silu(z[t])

    for each of d channels with n states. A is negative, dt positive. Where `resets` is True, h[t-1] counts as 0.
    Computes in float32, or float64 for inputs of that; outputs have the type of `u`, the state has the type of the
    computation. Every backend gives the same numbers and gradients, those of the states included.

    Raises:
        ValueError: the backend is not there, or the initial state has another shape than (b, d, n).
    """
    expected = (u.shape[0], *A.shape)
    if initial_state is not None and initial_state.shape != expected:
        raise ValueError(f"the initial state must have shape {expected}, got {tuple(initial_state.shape)}")
    dtype = torch.promote_types(u.dtype, torch.float32)
    needs = ScanNeeds(dtype, resets=resets is not None, initial_state=initial_state is not None)
    scan = IMPLEMENTATIONS[choose_backend(backend, u.device, needs).name]
    # A state in bfloat16 would forget what it adds up.
    with torch.autocast(u.device.type, enabled=False):
        output, last_state = scan(
            *(part.to(dtype) for part in (u, dt, A, B, C)),
            D=None if D is None else D.to(dtype),
            z=None if z is None else z.to(dtype),
            initial_state=None if initial_state is None else initial_state.to(dtype),
            resets=resets,
        )
    return ScanResult(output.to(u.dtype), last_state)
