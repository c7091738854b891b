"""ATC: a frame is to find the one a few steps later among those of the batch (Stooke et al. 2021).

With c = g(f(view of o_t)) of the trained network, c' = g'(f'(view of o_t+k)) of one that follows it slowly, an MLP h
on the anchor and a matrix W:

    p_i = c_i + h(c_i),   l_ij = p_i W c'_j,   loss = mean over i of -log( exp l_ii / sum over j of exp l_ij )
    theta' <- (1 - tau) theta' + tau theta
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from .contrast import check_several, contrast_metrics, full_precision, info_nce
from .encoders import Encoder
from .frames.frame_batch import FrameBatch
from .gather import Gather, keep_rows
from .images import side_by_side
from .method import MethodOutput, check_batch
from .momentum_encoder import check_momentum, follow, frozen_copy
from .running_standardisation import RunningStandardisation
from .views import Views


@dataclass(frozen=True, kw_only=True)
class ATCConfig:
    """The loss and the heads. The defaults are those of Stooke et al. 2021 for Atari (appendix, table of settings)."""

    steps_ahead: int = 3
    latent_dim: int = 256
    hidden_dim: int = 512
    momentum: float = 0.99  # 1 - tau

    def __post_init__(self) -> None:
        check_momentum(self.momentum)
        if self.steps_ahead < 1:
            raise ValueError(f"steps_ahead must be at least 1, got {self.steps_ahead}")


class ATC(nn.Module):
    """Predicts, from a stack, the code of the stack some steps later: Augmented Temporal Contrast."""

    encoder: Encoder

    def __init__(self, encoder: Encoder, config: ATCConfig, *, views: Views, gather: Gather = keep_rows) -> None:
        """Builds the heads and the following copy; `gather` brings in the other ranks' predictions and codes."""
        super().__init__()
        self.time_offsets = (0, config.steps_ahead)
        self.encoder = encoder
        self.config = config
        self.standardisation = RunningStandardisation(encoder.feature_dim, gather=gather)
        self.compressor = nn.Linear(encoder.feature_dim, config.latent_dim)
        self.anchor_mlp = nn.Sequential(
            nn.Linear(config.latent_dim, config.hidden_dim),
            nn.ReLU(),
            nn.Linear(config.hidden_dim, config.latent_dim),
        )
        self.bilinear = nn.Linear(config.latent_dim, config.latent_dim, bias=False)
        self.target_network = frozen_copy(self._online_network())
        self._views = views
        self._gather = gather

    def forward(self, batch: FrameBatch, generator: torch.Generator) -> MethodOutput:
        """Returns the loss over the batches of all ranks, the same on each."""
        check_batch(batch, self.time_offsets)
        codes = self.compressor(self.standardisation(self.encoder(self._views(batch.stacks[0], generator))))
        predictions = self.bilinear(codes + self.anchor_mlp(codes))
        with torch.no_grad():
            targets = self.target_network(self._views(batch.stacks[1], generator))
        with full_precision(predictions, targets) as (predictions, targets):
            logits = atc_logits(self._gather(predictions), self._gather(targets))
            loss = info_nce(logits)
        positives = torch.arange(len(logits), device=logits.device)
        return MethodOutput(loss, contrast_metrics(logits, positives))

    def after_step(self) -> None:
        """Moves the network of the targets."""
        follow(self.target_network, self._online_network(), momentum=self.config.momentum)

    def pictures(self, batch: FrameBatch, generator: torch.Generator) -> dict[str, UInt8[Tensor, "n colours h w"]]:
        """Returns views of an anchor and of its positive, side by side."""
        anchors, positives = (self._views(stacks, generator) for stacks in batch.stacks)
        return {"view_pairs": side_by_side(anchors, positives)}

    def _online_network(self) -> nn.Sequential:
        assert isinstance(self.encoder, nn.Module)
        return nn.Sequential(self.encoder, self.standardisation, self.compressor)


def atc_logits(predictions: Float[Tensor, "n d"], targets: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    """Returns l_ij = (p_i W) . c'_j; no gradient to the targets."""
    check_several(len(predictions))
    return predictions @ targets.detach().T
