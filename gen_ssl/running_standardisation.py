"""Features on a scale on which a head can tell them apart, whatever the encoder's own."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .gather import Gather, keep_rows


class RunningStandardisation(nn.Module):
    """Subtracts the features' mean and divides by their deviation, over the batches of all ranks.

    Two frames of a game differ in a few pixels. A network at its random start gives them features that differ by a few
    per cent, of which a loss that compares samples would see next to nothing. Where a gradient is asked for, the
    statistics are the batch's own, and the gradient flows through them, as in the BatchNorm of SimCLR's head: without
    it nothing holds the common part of the features where it is, and on Pong it grew until what differs was a
    ten-thousandth of it. Without gradient they are running averages: a key that was standardised by the statistics of
    its own batch would tell its query apart by them (He et al. 2020, section 3.3).
    """

    mean: Float[Tensor, " d"]
    variance: Float[Tensor, " d"]
    batches: Tensor

    def __init__(self, feature_dim: int, *, momentum: float = 0.5, gather: Gather = keep_rows) -> None:
        """Starts as the identity; the first batch in training sets the averages, later ones move them a share."""
        super().__init__()
        self.momentum = momentum
        self._gather = gather
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("variance", torch.ones(feature_dim))
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Returns the features on that scale; a feature that never changes becomes 0."""
        precise = features.to(torch.promote_types(features.dtype, torch.float32))  # before bfloat16 rounds differences
        mean, variance = self.mean, self.variance
        if self.training:
            batch_variance, batch_mean = torch.var_mean(self._gather(precise), dim=0, correction=0)
            self._follow(batch_mean, batch_variance)
            if torch.is_grad_enabled():
                mean, variance = batch_mean, batch_variance
        return ((precise - mean) * torch.rsqrt(variance + 1e-12)).to(features.dtype)

    @torch.no_grad()
    def _follow(self, mean: Float[Tensor, " d"], variance: Float[Tensor, " d"]) -> None:
        self.batches += 1
        share = (1 / self.batches).clamp_min(1 - self.momentum)  # the plain mean of the first batches
        self.mean.lerp_(mean.to(self.mean.dtype), share.to(self.mean.dtype))
        self.variance.lerp_(variance.to(self.variance.dtype), share.to(self.variance.dtype))
