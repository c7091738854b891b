"""MoCo: a view is to be told from a queue of earlier ones, encoded by a network that follows slowly (He et al. 2020).

With q = f(view 1) and k = f'(view 2) at length 1, and K keys of earlier batches in the queue:

    loss = mean over the batch of -log( exp(q . k / T) / (exp(q . k / T) + sum over the queue of exp(q . k_i / T)) )
    theta' <- m theta' + (1 - m) theta                                                                  (eq. 1 and 2)
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from .contrast import check_several, contrast_metrics, full_precision
from .encoders import Encoder
from .frames.frame_batch import FrameBatch
from .gather import Gather, keep_rows
from .images import side_by_side
from .method import MethodOutput, check_batch
from .momentum_encoder import check_momentum, follow, frozen_copy
from .projection_head import ProjectionHead
from .views import Views


@dataclass(frozen=True, kw_only=True)
class MoCoConfig:
    """The loss, the queue and the head. The defaults are those of He et al. 2020 for ImageNet; the head is SimCLR's."""

    temperature: float = 0.07
    momentum: float = 0.999
    queue_size: int = 65_536
    hidden_dim: int = 2_048
    projection_dim: int = 128

    def __post_init__(self) -> None:
        check_momentum(self.momentum)
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")
        if self.queue_size < 1:
            raise ValueError(f"queue_size must be at least 1, got {self.queue_size}")


class KeyQueue(nn.Module):
    """The newest keys of earlier batches; random directions as long as there are none, as in the paper's code."""

    keys: Float[Tensor, "k d"]
    position: Tensor

    def __init__(self, queue_size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("keys", nn.functional.normalize(torch.randn(queue_size, dim), dim=1))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))  # of the oldest key, replaced next

    @torch.no_grad()
    def push(self, keys: Float[Tensor, "n d"]) -> None:
        """Replaces the oldest keys by new ones; of more than fit, the last stay."""
        size = len(self.keys)
        # On the device, without looking at the position: a batch may cross the end, whatever the sizes.
        slots = (self.position + torch.arange(len(keys), device=self.keys.device)) % size
        self.keys[slots[-size:]] = keys[-size:].to(self.keys.dtype)
        self.position.add_(len(keys)).remainder_(size)


class MoCo(nn.Module):
    """Contrasts one view of a stack against the other one and a queue of earlier keys.

    The keys of a batch enter the queue in `after_step`, so a loss never meets them as negatives.
    """

    encoder: Encoder

    def __init__(self, encoder: Encoder, config: MoCoConfig, *, views: Views, gather: Gather = keep_rows) -> None:
        """Copies the encoder for the keys; `gather` brings the other ranks' keys into the queue."""
        super().__init__()
        self.time_offsets = (0,)
        self.encoder = encoder
        self.config = config
        self.head = ProjectionHead(encoder.feature_dim, config.hidden_dim, config.projection_dim, gather=gather)
        self.key_network = frozen_copy(self._query_network())
        self.queue = KeyQueue(config.queue_size, config.projection_dim)
        self._new_keys: list[Tensor] = []
        self._views = views
        self._gather = gather

    def forward(self, batch: FrameBatch, generator: torch.Generator) -> MethodOutput:
        """Returns the mean loss of this rank's batch; raises ValueError where all ranks together bring one sample."""
        check_batch(batch, self.time_offsets)
        frames = batch.stacks[0]
        queries = self.head(self.encoder(self._views(frames, generator)))
        with torch.no_grad():
            keys = self.key_network(self._views(frames, generator))
        with full_precision(queries, keys, self.queue.keys) as (queries, keys, earlier_keys):
            queries, keys = nn.functional.normalize(queries, dim=1), nn.functional.normalize(keys, dim=1)
            logits = moco_logits(queries, keys, earlier_keys, temperature=self.config.temperature)
            positives = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
            loss = nn.functional.cross_entropy(logits, positives)
        if self.training:
            new_keys = self._gather(keys)
            check_several(len(new_keys))
            self._new_keys.append(new_keys)
        return MethodOutput(loss, contrast_metrics(logits, positives))

    def after_step(self) -> None:
        """Moves the network for the keys, and puts the keys of the batches since the last call into the queue."""
        follow(self.key_network, self._query_network(), momentum=self.config.momentum)
        for keys in self._new_keys:
            self.queue.push(keys)
        self._new_keys.clear()

    def pictures(self, batch: FrameBatch, generator: torch.Generator) -> dict[str, UInt8[Tensor, "n colours h w"]]:
        """Returns pairs of views, side by side."""
        frames = batch.stacks[0]
        return {"view_pairs": side_by_side(self._views(frames, generator), self._views(frames, generator))}

    def _query_network(self) -> nn.Sequential:
        assert isinstance(self.encoder, nn.Module)
        return nn.Sequential(self.encoder, self.head)


def moco_logits(
    queries: Float[Tensor, "n d"], keys: Float[Tensor, "n d"], earlier_keys: Float[Tensor, "k d"], *, temperature: float
) -> Float[Tensor, "n k_and_1"]:
    """Returns the similarities to a query's own key, in column 0, and to those in the queue; no gradient to any key."""
    own = (queries * keys.detach()).sum(dim=1, keepdim=True)
    return torch.cat([own, queries @ earlier_keys.detach().T], dim=1) / temperature
