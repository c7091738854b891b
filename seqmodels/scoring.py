"""Counts how well a model's outputs answer a batch, in sums that add up over batches and processes."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from .tasks.task import NOT_SCORED

Output = Literal["per_position", "class", "regression"]


class Scores(NamedTuple):
    """Sums over a batch. For a regression nothing is right or wrong, and only loss and answers count."""

    loss: Float[Tensor, ""]  # of all answers; with gradient
    answers: Float[Tensor, ""]  # scored positions, classes or numbers
    correct: Float[Tensor, ""]  # answers that are right
    rows: Float[Tensor, ""]  # examples with at least one answer
    rows_correct: Float[Tensor, ""]  # of which all answers are right

    def detached(self) -> Float[Tensor, "5"]:
        """Returns the five sums as one tensor without gradient, ready to be added to others."""
        return torch.stack(list(self)).detach()


def score(
    outputs: Float[Tensor, "b *rest"], targets: Shaped[Tensor, "b *scored"], output: Output, *, smoothing: float = 0.0
) -> Scores:
    """Returns the scores of a model's outputs.

    per_position: outputs (b, l, k), targets (b, l), cross-entropy where a target is not NOT_SCORED; class: (b, k) and
    (b,), cross-entropy; regression: both (b, k), squared error. `smoothing` mixes the target of a cross-entropy with
    the uniform distribution (Szegedy et al. 2016, section 7). Losses are taken in float32 at least.
    """
    outputs = outputs if outputs.dtype == torch.float64 else outputs.float()
    if output == "regression":
        loss = (outputs - targets).square().sum()
        nothing = torch.zeros_like(loss)
        return Scores(loss, torch.full_like(loss, targets.numel()), nothing, nothing, nothing)
    answers = targets if targets.ndim == 2 else targets.unsqueeze(1)  # a class is one answer a row
    logits = outputs.reshape(-1, outputs.shape[-1])
    loss = F.cross_entropy(
        logits, answers.reshape(-1), ignore_index=NOT_SCORED, label_smoothing=smoothing, reduction="sum"
    )
    scored = answers != NOT_SCORED
    right = (logits.argmax(dim=-1).view_as(answers) == answers) & scored
    has_answers = scored.any(dim=1)
    rows_right = ((right == scored).all(dim=1)) & has_answers
    counts = [mask.sum().to(loss.dtype) for mask in (scored, right, has_answers, rows_right)]
    return Scores(loss, *counts)


def count_answers(targets: Shaped[Tensor, "b *scored"], output: Output) -> int:
    """Returns over how many answers a batch's loss is the mean."""
    return targets.numel() if output == "regression" else int((targets != NOT_SCORED).sum())
