"""The Gaussian over latent variables that a variational encoder gives."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .views.drawing import draw_normal


class Posterior(NamedTuple):
    """q(z | x) = N(mean, diag(exp(log_variance)))."""

    mean: Float[Tensor, "b z"]
    log_variance: Float[Tensor, "b z"]

    def sample(self, generator: torch.Generator) -> Float[Tensor, "b z"]:
        """Returns mean + deviation * noise, through which gradients flow (Kingma and Welling 2014, eq. 10)."""
        noise = draw_normal(tuple(self.mean.shape), generator).to(self.mean)
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def divergence(self) -> Float[Tensor, "b z"]:
        """Returns KL(q || N(0, 1)) of each dimension: (mean^2 + variance - 1 - ln variance) / 2 (appendix B)."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance)


class GaussianPosterior(nn.Module):
    """Maps features to the posterior by two linear layers."""

    def __init__(self, feature_dim: int, latent_dim: int) -> None:
        super().__init__()
        self.mean = nn.Linear(feature_dim, latent_dim)
        self.log_variance = nn.Linear(feature_dim, latent_dim)

    def forward(self, features: Float[Tensor, "b feature_dim"]) -> Posterior:
        """Returns one Gaussian per vector of features."""
        # In bfloat16, exp of the logarithm would have three digits.
        mean, log_variance = self.mean(features), self.log_variance(features)
        wide = torch.promote_types(mean.dtype, torch.float32)
        return Posterior(mean.to(wide), log_variance.to(wide))
