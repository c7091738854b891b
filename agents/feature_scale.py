"""Features of a frozen encoder on a scale on which a linear head can tell them apart."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

FARTHEST = 10.0  # deviations from the mean, beyond which a feature counts as so far away


class FeatureScale(nn.Module):
    """Subtracts each feature's mean and divides by its deviation, both measured once, before learning.

    An encoder that was pretrained for another purpose may give all frames of a game nearly the same vector: a sprite is
    a few pixels. What tells them apart is then a thousandth of the features' size, and of the gradient, and a head on
    the features as they are learns the common part alone. An encoder that learns sees to its scale itself.

    Does nothing until it is fitted.
    """

    mean: Float[Tensor, " d"]
    deviation: Float[Tensor, " d"]

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("deviation", torch.ones(feature_dim))

    @torch.no_grad()
    def fit(self, features: Float[Tensor, "n d"]) -> None:
        """Measures both. A feature that is constant to the precision of float32 keeps its size."""
        deviation, mean = torch.std_mean(features, dim=0, correction=0)
        constant = deviation <= 1e-6 * mean.abs()
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(constant, 1.0, deviation))

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Returns the features in deviations from their mean, at most `FARTHEST` of them."""
        scaled: Tensor = ((features - self.mean) / self.deviation).clamp(-FARTHEST, FARTHEST)
        return scaled
