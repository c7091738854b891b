"""The selective scan as it is defined, one position after the other: what the fast ones are tested against."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from .scan_result import ScanResult


def reference_scan(
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
    """Returns what `selective_scan` returns, by a loop over positions (Gu and Dao 2023, equation 2 and section 3.3)."""
    batch, length, channels = u.shape
    h = u.new_zeros(batch, channels, A.shape[1]) if initial_state is None else initial_state
    outputs = []
    for t in range(length):
        if resets is not None:
            h = torch.where(resets[:, t, None, None], 0.0, h)
        decay = torch.exp(dt[:, t, :, None] * A)  # (B, D, N)
        h = decay * h + (dt[:, t] * u[:, t]).unsqueeze(-1) * B[:, t, None, :]
        outputs.append((h * C[:, t, None, :]).sum(-1))
    return ScanResult(skip_and_gate(torch.stack(outputs, dim=1), u, D, z), h)


def skip_and_gate(
    y: Float[Tensor, "b l d"],
    u: Float[Tensor, "b l d"],
    D: Float[Tensor, " d"] | None,
    z: Float[Tensor, "b l d"] | None,
) -> Float[Tensor, "b l d"]:
    """Returns (y + D u) silu(z), each part where it is given."""
    if D is not None:
        y = torch.addcmul(y, u, D)
    return y if z is None else y * F.silu(z)
