"""The norm before Mamba-2's last projection."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class GatedRMSNorm(nn.Module):
    """Gates, then divides by the root of the mean square over each group of neighbours, then scales.

    The gate comes first (mamba_ssm's `norm_before_gate=False`); a group's channels are those that share B and C.
    """

    def __init__(self, width: int, *, num_groups: int = 1, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.num_groups = num_groups
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "*b c"], gate: Float[Tensor, "*b c"]) -> Float[Tensor, "*b c"]:
        """Returns norm(x silu(gate)) * weight, in the type of `x`."""
        dtype = torch.promote_types(x.dtype, torch.float32)  # squares of half precision overflow
        gated = (x.to(dtype) * F.silu(gate.to(dtype))).unflatten(-1, (self.num_groups, -1))
        normed = F.rms_norm(gated, gated.shape[-1:], eps=self.epsilon).flatten(-2)
        return normed.to(x.dtype) * self.weight
