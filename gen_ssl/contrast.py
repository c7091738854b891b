"""What contrastive losses share: enough samples, enough digits, and the loss by which chance is recognised."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn


def check_several(num_samples: int) -> None:
    """Raises ValueError for a batch in which a sample has nothing to be told apart from."""
    if num_samples < 2:
        raise ValueError(f"a contrastive loss needs at least 2 samples in a batch, got {num_samples}")


@contextmanager
def full_precision(*tensors: Float[Tensor, "..."]) -> Iterator[list[Tensor]]:
    """Gives tensors in float32 at least, and turns autocast off: logits are differences divided by a temperature."""
    with torch.autocast(tensors[0].device.type, enabled=False):
        yield [tensor.to(torch.promote_types(tensor.dtype, torch.float32)) for tensor in tensors]


def contrast_metrics(
    logits: Float[Tensor, "*positions n candidates"], positives: Int64[Tensor, "*positions n"]
) -> dict[str, Tensor]:
    """Returns the share of rows whose positive has the largest logit, and the loss of guessing, ln of the candidates.

    Candidates masked by minus infinity do not count.
    """
    logits = logits.detach()
    candidates = logits.isfinite().sum(dim=-1).float().mean()
    return {
        "accuracy": (logits.argmax(dim=-1) == positives).float().mean(),
        "loss_at_chance": candidates.log(),
    }


def info_nce(logits: Float[Tensor, "*positions n n"]) -> Float[Tensor, ""]:
    """Returns the mean over rows i of -log(exp l_ii / sum over j of exp l_ij) (van den Oord et al. 2018, eq. 4)."""
    diagonal = torch.arange(logits.shape[-1], device=logits.device).expand(logits.shape[:-1])
    return nn.functional.cross_entropy(logits.flatten(0, -2), diagonal.flatten())
