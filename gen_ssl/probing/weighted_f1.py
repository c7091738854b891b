"""The score of the state-variable probes."""

import torch
from jaxtyping import Int64
from torch import Tensor


def weighted_f1(targets: Int64[Tensor, " n"], predictions: Int64[Tensor, " n"]) -> float:
    """Returns the mean over classes of F1 = 2 TP / (2 TP + FP + FN), weighted by how often each class is a target.

    As scikit-learn's `f1_score(average="weighted")`; a class that is never predicted has F1 0.
    """
    num_classes = int(torch.maximum(targets.max(), predictions.max())) + 1
    target_counts = torch.bincount(targets, minlength=num_classes).double()
    predicted_counts = torch.bincount(predictions, minlength=num_classes).double()
    hits = torch.bincount(targets[targets == predictions], minlength=num_classes).double()
    f1 = 2 * hits / (target_counts + predicted_counts).clamp_min(1)  # 2 TP + FP + FN = targets + predictions
    return float((f1 * target_counts).sum() / target_counts.sum())
