"""Features on a scale on which a head can tell them apart, whatever the encoder's own."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .gather import Gather, keep_rows

# Between a batch's statistics and the running ones (Ioffe 2017, section 4.1): a feature that has been 0 in the batches
# before would be divided by next to nothing.
MOST_SCALE, MOST_OFFSET = 3.0, 5.0


class RunningStandardisation(nn.Module):
    """Subtracts the features' mean and divides by their deviation, both followed over the batches of all ranks.

    Two frames of a game differ in a few pixels. A network at its random start gives them features that differ by a few
    per cent, of which a loss that compares samples would see next to nothing. BatchNorm in the heads of SimCLR takes
    the common part out, but a batch's own statistics tell its samples apart from others (He et al. 2020, section 3.3);
    these are those of several batches.

    The gradient is that of the batch's own statistics (Batch Renormalization, Ioffe 2017, algorithm 1). Without it
    nothing holds the features' common part where it is: on Pong it grew until what differs was a ten-thousandth of it.
    """

    mean: Float[Tensor, " d"]
    variance: Float[Tensor, " d"]
    batches: Tensor

    def __init__(self, feature_dim: int, *, momentum: float = 0.5, gather: Gather = keep_rows) -> None:
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
        if not self.training:
            return ((precise - self.mean) * _inverse_deviation(self.variance)).to(features.dtype)
        variance, mean = torch.var_mean(self._gather(precise), dim=0, correction=0)
        self._follow(mean.detach(), variance.detach())
        of_batch = (precise - mean) * _inverse_deviation(variance)
        with torch.no_grad():  # r and d of the paper
            scale = _inverse_deviation(self.variance) / _inverse_deviation(variance)
            offset = (mean - self.mean) * _inverse_deviation(self.variance)
            scale, offset = scale.clamp(1 / MOST_SCALE, MOST_SCALE), offset.clamp(-MOST_OFFSET, MOST_OFFSET)
        return (of_batch * scale + offset).to(features.dtype)

    @torch.no_grad()
    def _follow(self, mean: Float[Tensor, " d"], variance: Float[Tensor, " d"]) -> None:
        self.batches += 1
        share = (1 / self.batches).clamp_min(1 - self.momentum)  # the plain mean of the first batches
        self.mean.lerp_(mean.to(self.mean.dtype), share.to(self.mean.dtype))
        self.variance.lerp_(variance.to(self.variance.dtype), share.to(self.variance.dtype))


def _inverse_deviation(variance: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
    return torch.rsqrt(variance + 1e-12)
