"""ST-DIM: every place of the map is to find the same place one step later among the batch (Anand et al. 2019).

With features phi(x), a map phi_mn(x) of M x N places and matrices W_g, W_l, for consecutive x_t and x_t+1:

    g_mn(x_t, x_t+1) = phi(x_t)^T W_g phi_mn(x_t+1)          global-local   (eq. 1)
    f_mn(x_t, x_t+1) = phi_mn(x_t)^T W_l phi_mn(x_t+1)       local-local    (eq. 2)
    loss = mean over m, n and the batch of -log( exp g_ii / sum over j of exp g_ij ), plus the same of f
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .contrast import check_several, contrast_metrics, full_precision, info_nce
from .encoders import Encoder, features_and_map
from .frames.frame_batch import FrameBatch
from .gather import Gather, keep_rows
from .method import MethodOutput, check_batch


@dataclass(frozen=True, kw_only=True)
class STDIMConfig:
    """The distance in time. The default is that of Anand et al. 2019."""

    steps_ahead: int = 1

    def __post_init__(self) -> None:
        if self.steps_ahead < 1:
            raise ValueError(f"steps_ahead must be at least 1, got {self.steps_ahead}")


class STDIM(nn.Module):
    """Tells every place of the next stack's map from the same place of other samples, globally and locally.

    Pairs never cross an episode's edge: both stacks of a sample come from the frame store at fixed time offsets.
    """

    encoder: Encoder

    def __init__(self, encoder: Encoder, config: STDIMConfig, *, gather: Gather = keep_rows) -> None:
        """Builds both matrices for the encoder's features and map; `gather` brings in the other ranks'."""
        super().__init__()
        self.time_offsets = (0, config.steps_ahead)
        self.encoder = encoder
        self.config = config
        num_channels = _map_channels(encoder)
        self.global_local = nn.Linear(encoder.feature_dim, num_channels)
        self.local_local = nn.Linear(num_channels, num_channels)
        self._gather = gather

    def forward(self, batch: FrameBatch, generator: torch.Generator) -> MethodOutput:
        """Returns the loss over the batches of all ranks, the same on each; nothing is drawn from the generator."""
        check_batch(batch, self.time_offsets)
        features, now = features_and_map(self.encoder, batch.stacks[0])  # (b, d), (b, f, y, x)
        later = self.encoder.spatial_features(batch.stacks[1])
        now, later = (places.flatten(2).permute(2, 0, 1) for places in (now, later))  # each (y x, b, f)
        global_predictions = self.global_local(features)
        local_predictions = self.local_local(now)
        with full_precision(global_predictions, local_predictions, later) as (from_global, from_local, later):
            # Gathered along the batch, which stands second in the maps.
            targets = self._gather(later.transpose(0, 1)).transpose(0, 1)
            from_local = self._gather(from_local.transpose(0, 1)).transpose(0, 1)
            from_global = self._gather(from_global)
            global_logits = place_logits(from_global.expand(len(targets), -1, -1), targets)
            local_logits = place_logits(from_local, targets)
            global_loss, local_loss = info_nce(global_logits), info_nce(local_logits)
        positives = torch.arange(targets.shape[1], device=targets.device).expand(targets.shape[:2])
        return MethodOutput(global_loss + local_loss, self._metrics(global_logits, local_logits, positives))

    def _metrics(self, global_logits: Tensor, local_logits: Tensor, positives: Tensor) -> dict[str, Tensor]:
        of_global, of_local = (contrast_metrics(logits, positives) for logits in (global_logits, local_logits))
        return {
            "global_accuracy": of_global["accuracy"],
            "local_accuracy": of_local["accuracy"],
            "loss_at_chance": of_global["loss_at_chance"] + of_local["loss_at_chance"],
        }


def place_logits(
    predictions: Float[Tensor, "places n f"], targets: Float[Tensor, "places n f"]
) -> Float[Tensor, "places n n"]:
    """Returns the logits of sample i's prediction against sample j's features, at each place of the map."""
    check_several(predictions.shape[1])
    return predictions @ targets.mT


def _map_channels(encoder: Encoder) -> int:
    assert isinstance(encoder, nn.Module)
    device = next(encoder.parameters()).device
    frames = torch.zeros((1, *encoder.frame_shape), dtype=torch.uint8, device=device)
    with torch.no_grad():
        return encoder.spatial_features(frames).shape[1]
