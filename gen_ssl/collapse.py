"""Notices, while an encoder is pretrained, that it stops telling frames apart.

Four signs, each with a sentence of its own: features that hardly differ, features that span few directions, a
contrastive loss that stays at that of guessing, and k-NN probes no better than on the same encoder before training.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn


def feature_deviation(features: Float[Tensor, "n d"]) -> float:
    """Returns how much the directions of features differ: 0 if they are all one, at most 1.

    It is sqrt(d) times the root mean square, over dimensions, of the standard deviation over samples of the features at
    length 1; equally, sqrt(1 - |mean direction|^2). After Chen and He 2021 (SimSiam, section 4.1), who take the mean.
    """
    directions = nn.functional.normalize(features.double(), dim=1)
    return float(directions.var(dim=0, correction=0).sum().sqrt())


def rank_me(features: Float[Tensor, "n d"]) -> float:
    """Returns the effective number of directions that features span (Garrido et al. 2023, RankMe, eq. 1-2).

    It is exp of the entropy of the singular values over their sum (plus 1e-7), at most min(n, d); 0 of zeros, nan of
    features that are not all finite.
    """
    if not features.isfinite().all():
        return math.nan
    singular = torch.linalg.svdvals(features.double())
    total = float(singular.sum())
    if total == 0:
        return 0.0
    shares = singular / total + 1e-7
    return float((-(shares * shares.log()).sum()).exp())


@dataclass(frozen=True, kw_only=True)
class CollapseConfig:
    """From where on it counts as a collapse. Features are compared with those before training: how different the frames
    of a game look to a random encoder depends on the game.
    """

    least_deviation: float = 0.5  # as a share of the one before training
    least_rank: float = 0.5  # RankMe above 1, its least, as a share of the same before training
    loss_at_chance: float = 0.98  # as a share of ln K
    patience_steps: int = 150  # before which neither the loss nor k-NN needs to be better than at the start

    def __post_init__(self) -> None:
        for name in ("least_deviation", "least_rank", "loss_at_chance"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")
        if self.patience_steps < 0:
            raise ValueError(f"patience_steps must be at least 0, got {self.patience_steps}")


class CollapseReport(NamedTuple):
    """What one look found."""

    feature_deviation: float
    rank: float
    warnings: tuple[str, ...]  # one sentence for each sign that was not there at the last look


class CollapseMonitor:
    """Compares features of the same held-out frames with those before training, and names what went wrong.

    A sign is named when it appears, and again only after it has been gone.
    """

    def __init__(
        self,
        initial_features: Float[Tensor, "n d"],
        config: CollapseConfig,
        *,
        initial_knn: float | None = None,
    ) -> None:
        """Remembers what the encoder gave before training.

        Args:
            initial_features: of held-out frames, two at least.
            config: from where on it counts as a collapse.
            initial_knn: score of a k-NN probe on the encoder before training, where there are labels.
        """
        if len(initial_features) < 2:
            raise ValueError(f"collapse shows in the features of at least 2 frames, got {len(initial_features)}")
        self.config = config
        self.initial_deviation = feature_deviation(initial_features)
        self.initial_rank = rank_me(initial_features)
        self.initial_knn = initial_knn
        self._signs: set[str] = set()

    def check(
        self,
        features: Float[Tensor, "n d"],
        *,
        step: int,
        loss: float | None = None,
        loss_at_chance: float | None = None,
        knn: float | None = None,
    ) -> CollapseReport:
        """Looks for all signs whose numbers are given.

        Args:
            features: of the same held-out frames, by the encoder as it is now.
            step: how many steps have been trained.
            loss: mean of the last steps.
            loss_at_chance: ln K of a loss that tells one of K apart; methods report it among their metrics.
            knn: score of the k-NN probe now.
        """
        deviation, rank = feature_deviation(features), rank_me(features)
        signs = self._feature_signs(deviation, rank)
        if step >= self.config.patience_steps:
            signs |= self._score_signs(loss, loss_at_chance, knn)
        warnings = tuple(sentence for sign, sentence in signs.items() if sign not in self._signs)
        self._signs = set(signs)
        return CollapseReport(deviation, rank, warnings)

    def state_dict(self) -> dict[str, Any]:
        """Returns numbers and strings from which `load_state_dict` goes on."""
        return {
            "initial_deviation": self.initial_deviation,
            "initial_rank": self.initial_rank,
            "initial_knn": self.initial_knn,
            "signs": sorted(self._signs),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from where `state_dict` was taken: with the features before training, not before resuming."""
        self.initial_deviation = state["initial_deviation"]
        self.initial_rank = state["initial_rank"]
        self.initial_knn = state["initial_knn"]
        self._signs = set(state["signs"])

    def _feature_signs(self, deviation: float, rank: float) -> dict[str, str]:
        signs = {}
        # Not "below": features that are not numbers are a collapse as well.
        if not deviation > self.config.least_deviation * self.initial_deviation:
            signs["deviation"] = (
                f"collapse: all frames get nearly the same features (deviation {deviation:.2g}, "
                f"{self.initial_deviation:.2g} before training)"
            )
        if not rank - 1 > self.config.least_rank * (self.initial_rank - 1):
            signs["rank"] = (
                f"collapse: features span few directions (RankMe {rank:.2f}, {self.initial_rank:.2f} before training)"
            )
        return signs

    def _score_signs(self, loss: float | None, loss_at_chance: float | None, knn: float | None) -> dict[str, str]:
        signs = {}
        if loss is not None and loss_at_chance is not None and not loss < self.config.loss_at_chance * loss_at_chance:
            signs["loss"] = f"collapse: the loss is {loss:.3f}, that of guessing (ln K = {loss_at_chance:.3f})"
        if knn is not None and self.initial_knn is not None and not knn > self.initial_knn:
            signs["knn"] = (
                f"collapse: k-NN scores {knn:.3f}, no better than on the encoder before training "
                f"({self.initial_knn:.3f})"
            )
        return signs
