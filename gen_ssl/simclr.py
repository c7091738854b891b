"""SimCLR: two views of a frame are to be found among the views of all others (Chen et al. 2020).

With the 2N projections z of both views of N stacks, s_ij = cosine(z_i, z_j) / T, and p(i) the other view of the same:

    loss = mean over i of -log( exp s_i,p(i) / sum over k != i of exp s_ik )          (eq. 1, "NT-Xent")
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from .contrast import check_several, contrast_metrics, full_precision
from .encoders import Encoder
from .frames.frame_batch import FrameBatch
from .gather import Gather, keep_rows
from .images import side_by_side
from .method import MethodOutput, check_batch
from .projection_head import ProjectionHead
from .views import Views


@dataclass(frozen=True, kw_only=True)
class SimCLRConfig:
    """The loss and the head. The defaults are those of Chen et al. 2020 for ImageNet."""

    temperature: float = 0.1
    hidden_dim: int = 2_048
    projection_dim: int = 128

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")


class SimCLR(nn.Module):
    """Pulls two views of a stack together and pushes those of other stacks, on all ranks, away."""

    encoder: Encoder

    def __init__(self, encoder: Encoder, config: SimCLRConfig, *, views: Views, gather: Gather = keep_rows) -> None:
        """Builds the projection head on the encoder's features; `gather` brings in the other ranks' projections."""
        super().__init__()
        self.time_offsets = (0,)
        self.encoder = encoder
        self.config = config
        self.head = ProjectionHead(encoder.feature_dim, config.hidden_dim, config.projection_dim, gather=gather)
        self._views = views
        self._gather = gather

    def forward(self, batch: FrameBatch, generator: torch.Generator) -> MethodOutput:
        """Returns the loss over the batches of all ranks, the same on each."""
        check_batch(batch, self.time_offsets)
        frames = batch.stacks[0]
        both = torch.cat([self._views(frames, generator), self._views(frames, generator)])
        first, second = self.head(self.encoder(both)).chunk(2)
        with full_precision(first, second) as (first, second):
            logits, positives = nt_xent_logits(
                self._gather(first), self._gather(second), temperature=self.config.temperature
            )
            loss = nn.functional.cross_entropy(logits, positives)
        return MethodOutput(loss, contrast_metrics(logits, positives))

    def pictures(self, batch: FrameBatch, generator: torch.Generator) -> dict[str, UInt8[Tensor, "n colours h w"]]:
        """Returns pairs of views, side by side."""
        frames = batch.stacks[0]
        return {"view_pairs": side_by_side(self._views(frames, generator), self._views(frames, generator))}


def nt_xent_logits(
    first: Float[Tensor, "n d"], second: Float[Tensor, "n d"], *, temperature: float
) -> tuple[Float[Tensor, "2*n 2*n"], Int64[Tensor, " 2*n"]]:
    """Returns s of both views' projections, minus infinity on the diagonal, and the column of each row's positive."""
    check_several(len(first))
    directions = nn.functional.normalize(torch.cat([first, second]), dim=1)
    rows = torch.arange(len(directions), device=directions.device)
    itself = rows.unsqueeze(0) == rows.unsqueeze(1)
    logits = (directions @ directions.T / temperature).masked_fill(itself, -torch.inf)
    return logits, rows.roll(len(first))
