"""The small network between features and a contrastive loss, thrown away after pretraining."""

from jaxtyping import Float
from torch import Tensor, nn

from .gather import Gather, keep_rows
from .running_standardisation import RunningStandardisation


class ProjectionHead(nn.Module):
    """Two linear layers with a ReLU between them (Chen et al. 2020, eq. 1), on standardised features.

    Where SimCLR has BatchNorm there are running statistics before the first layer, and LayerNorm after it: statistics
    of a batch would couple its samples.
    """

    def __init__(self, feature_dim: int, hidden_dim: int, projection_dim: int, *, gather: Gather = keep_rows) -> None:
        """Builds the layers; `gather` brings in the other ranks' features, for the statistics."""
        super().__init__()
        self.layers = nn.Sequential(
            RunningStandardisation(feature_dim, gather=gather),
            nn.Linear(feature_dim, hidden_dim, bias=False),
            nn.LayerNorm(hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, projection_dim),
        )

    def forward(self, features: Float[Tensor, "n feature_dim"]) -> Float[Tensor, "n projection_dim"]:
        """Returns one projection per vector of features."""
        projections: Tensor = self.layers(features)
        return projections
