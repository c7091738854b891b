"""Features on a scale on which a head can tell them apart, whatever the encoder's own."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .gather import Gather, keep_rows


class RunningStandardisation(nn.Module):
    """Subtracts the features' mean and divides by their deviation, both followed over the batches of all ranks.

    Two frames of a game differ in a few pixels. A network at its random start gives them features that differ by a few
    per cent, of which a loss that compares samples would see next to nothing. BatchNorm in the heads of SimCLR takes
    the common part out, but a batch's own statistics tell its samples apart from others (He et al. 2020, section 3.3);
    these are those of many batches, without gradient.
    """

    mean: Float[Tensor, " d"]
    variance: Float[Tensor, " d"]
    batches: Tensor

    def __init__(self, feature_dim: int, *, momentum: float = 0.9, gather: Gather = keep_rows) -> None:
        """Starts as the identity; the first batch in training sets both, later ones move them by 1 - momentum."""
        super().__init__()
        self.momentum = momentum
        self._gather = gather
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("variance", torch.ones(feature_dim))
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Returns the features on that scale; a feature that never changes becomes 0."""
        precise = features.to(torch.promote_types(features.dtype, torch.float32))  # before bfloat16 rounds differences
        if self.training:
            self._follow(self._gather(precise.detach()))
        standardised = (precise - self.mean) * torch.rsqrt(self.variance + 1e-12)
        return standardised.to(features.dtype)

    @torch.no_grad()
    def _follow(self, rows: Float[Tensor, "m d"]) -> None:
        variance, mean = torch.var_mean(rows, dim=0, correction=0)
        self.batches += 1
        share = (1 / self.batches).clamp_min(1 - self.momentum)  # the plain mean of the first batches
        self.mean.lerp_(mean.to(self.mean.dtype), share.to(self.mean.dtype))
        self.variance.lerp_(variance.to(self.variance.dtype), share.to(self.variance.dtype))
