"""k-NN probes: what the training samples with the most similar features are."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn


def nearest_neighbour_classes(
    train_features: Float[Tensor, "n d"],
    train_classes: Int64[Tensor, "n v"],
    features: Float[Tensor, "m d"],
    *,
    num_neighbours: int = 20,
    temperature: float = 0.07,
    chunk: int = 512,
) -> Int64[Tensor, "m v"]:
    """Returns each variable's class with the largest sum of exp(cosine / T) over the k most similar training samples.

    Wu et al. 2018, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", section 3.4, with the
    values of Caron et al. 2021. Where there are fewer than k samples, all of them vote. Cosines are float64: where
    features differ by a thousandth of their mean, those of neighbours differ by less than float32 tells apart.
    """
    train_directions = nn.functional.normalize(train_features.double(), dim=1)
    num_classes = int(train_classes.max()) + 1
    found = []
    for part in nn.functional.normalize(features.double(), dim=1).split(chunk):
        similarity = part @ train_directions.T  # (c, n)
        nearest = similarity.topk(min(num_neighbours, len(train_features)), dim=1)
        weights = (nearest.values / temperature).exp()  # (c, k)
        classes = train_classes[nearest.indices]  # (c, k, v)
        votes = torch.zeros(len(part), num_classes, classes.shape[2])
        votes.scatter_add_(1, classes, weights.unsqueeze(2).expand_as(classes).float())
        found.append(votes.argmax(dim=1))
    return torch.cat(found)
