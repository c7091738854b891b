"""Position probes: how well places on the screen are linear in the features."""

import torch
from jaxtyping import Float
from torch import Tensor

from .linear_classifiers import Standardisation

# Penalties that are tried, as shares of the features' mean square: from hardly any to almost the mean.
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def position_r2(
    train: tuple[Float[Tensor, "n d"], Float[Tensor, "n p"]],
    validation: tuple[Float[Tensor, "m d"], Float[Tensor, "m p"]],
    test: tuple[Float[Tensor, "t d"], Float[Tensor, "t p"]],
) -> Float[Tensor, " p"]:
    """Returns R^2 = 1 - sum of squared errors / sum of squares around the mean, of ridge regression on the test part.

    The penalty is chosen for each position by the validation part. R^2 may be negative: worse than the mean.
    """
    scaling = Standardisation(train[0])
    features, mean = scaling(train[0]).double(), train[1].double().mean(dim=0)
    gram = features.T @ features / len(features)
    moment = features.T @ (train[1].double() - mean) / len(features)
    identity = torch.eye(len(gram), dtype=torch.float64)
    best_error = torch.full((train[1].shape[1],), torch.inf, dtype=torch.float64)
    best_weight = torch.zeros_like(moment)
    for penalty in PENALTIES:
        weight = torch.linalg.solve(gram + penalty * identity, moment)  # (d, p)
        errors = (scaling(validation[0]).double() @ weight + mean - validation[1]).square().mean(dim=0)
        best_weight = torch.where(errors < best_error, weight, best_weight)
        best_error = torch.minimum(errors, best_error)
    targets = test[1].double()
    residual = (scaling(test[0]).double() @ best_weight + mean - targets).square().sum(dim=0)
    around_mean = (targets - targets.mean(dim=0)).square().sum(dim=0)
    r2: Tensor = 1 - residual / around_mean.clamp_min(1e-12)
    return r2.float()
