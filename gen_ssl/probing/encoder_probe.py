"""Probes encoders on the frames of one game: every encoder on the same samples, with the same budget."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..encoders import Encoder
from ..frames import FrameStore
from ..frames.episode_split import Split
from .labels import LabelledFrames, LabelReader, evenly_spaced, informative, labelled_frames, state_columns
from .linear_classifiers import LinearClassifiers, LinearConfig
from .nearest_neighbours import nearest_neighbour_classes
from .positions import position_r2
from .weighted_f1 import weighted_f1


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """What is probed, and how."""

    stack: int = 4
    split_seed: int = 0  # that of pretraining: its training episodes are the probe's, so the test stays unseen
    most_frames: int = 20_000  # of the store, evenly spaced: time and memory grow with them
    least_entropy: float = 0.6  # of a variable's values, in nats; fewer would be predicted by the most frequent one
    num_neighbours: int = 20
    linear: LinearConfig = field(default_factory=LinearConfig)

    def __post_init__(self) -> None:
        for name in ("most_frames", "num_neighbours"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


class ProbeScores(NamedTuple):
    """The scores of one encoder on the test episodes."""

    f1: dict[str, float]  # of the linear probe, weighted F1 of each variable
    knn_f1: dict[str, float]  # of the k-NN probe, the same
    r2: dict[str, float]  # of ridge regression, of each position
    summary: dict[str, float]  # means, by the names of docs/probing.md


class EncoderProbe:
    """The samples of one store and their variables, on which any number of encoders is probed."""

    def __init__(self, store: FrameStore, read_labels: LabelReader, config: ProbeConfig) -> None:
        """Splits and labels the frames: memory grows with `most_frames`, not with the store.

        Raises ValueError where no variable has as much entropy as is asked for.
        """
        self.config = config
        self.store = store
        frames = evenly_spaced(len(store), config.most_frames)
        labels = read_labels(frames)
        parts = labelled_frames(store, labels, frames, stack=config.stack, split_seed=config.split_seed)
        kept = informative(parts["train"].classes, least_entropy=config.least_entropy)
        if not kept:
            raise ValueError(
                f"none of the {len(labels)} variables has an entropy of {config.least_entropy} nats in these frames"
            )
        self.labels = [labels[index] for index in kept]
        self.parts: dict[Split, LabelledFrames] = {
            split: LabelledFrames(indices=part.indices, classes=part.classes[:, kept]) for split, part in parts.items()
        }

    def with_linear(self, linear: LinearConfig) -> "EncoderProbe":
        """Returns a probe on the same samples whose linear classifiers are fitted in another way."""
        probe = copy.copy(self)
        probe.config = replace(self.config, linear=linear)
        return probe

    def probe(self, encoder: Encoder, *, seed: int) -> ProbeScores:
        """Returns the encoder's scores; `seed` shuffles the linear probe's batches."""
        return self.scores(self.features(encoder), seed=seed)

    def features(self, encoder: Encoder) -> dict[Split, Float[Tensor, "n d"]]:
        """Returns the encoder's features of every part, which several probes of the same samples can score."""
        return {split: self._encode(encoder, part) for split, part in self.parts.items()}

    def scores(self, features: Mapping[Split, Float[Tensor, "_ d"]], *, seed: int) -> ProbeScores:
        """Returns what can be read off the features; `seed` shuffles the linear probe's batches."""
        train, validation, test = ((features[split], self.parts[split].classes) for split in self.parts)
        linear = LinearClassifiers(self.config.linear)
        linear.fit(train, validation, torch.Generator().manual_seed(seed))
        f1 = self._f1(linear.predict(test[0]))
        neighbours = nearest_neighbour_classes(*train, test[0], num_neighbours=self.config.num_neighbours)
        knn_f1 = self._f1(neighbours)
        places = [index for index, variable in enumerate(self.labels) if variable.is_position]
        r2: dict[str, float] = {}
        if places:
            parts = [(part[0], part[1][:, places].float()) for part in (train, validation, test)]
            scores = position_r2(*parts).tolist()
            r2 = {self.labels[place].name: score for place, score in zip(places, scores, strict=True)}
        return ProbeScores(f1, knn_f1, r2, self._summary(f1, knn_f1, r2))

    def scores_of_most_frequent(self) -> ProbeScores:
        """Returns what is scored without features, by always answering a variable's most frequent training value."""
        most_frequent = self.parts["train"].classes.mode(dim=0).values
        f1 = self._f1(most_frequent.expand_as(self.parts["test"].classes))
        return ProbeScores(f1, {}, {}, self._summary(f1, {}, {}))

    @torch.no_grad()
    def _encode(self, encoder: Encoder, part: LabelledFrames, *, chunk: int = 256) -> Float[Tensor, "n d"]:
        assert isinstance(encoder, nn.Module)
        was_training, device = encoder.training, next(encoder.parameters()).device
        encoder.eval()
        chunks = np.array_split(part.indices, max(len(part) // chunk, 1))
        features = [
            encoder(self.store.stacks(indices, stack=self.config.stack).to(device)).float().cpu() for indices in chunks
        ]
        encoder.train(was_training)
        return torch.cat(features)

    def _f1(self, predictions: Tensor) -> dict[str, float]:
        targets = self.parts["test"].classes
        return {
            variable.name: weighted_f1(targets[:, index], predictions[:, index])
            for index, variable in enumerate(self.labels)
        }

    def _summary(self, f1: dict[str, float], knn_f1: dict[str, float], r2: dict[str, float]) -> dict[str, float]:
        summary = {"f1_mean": self._mean_over_categories(f1)}
        if knn_f1:
            summary["knn_f1_mean"] = self._mean_over_categories(knn_f1)
        small = [variable.name for variable in self.labels if variable.is_small_object]
        if small:
            summary["f1_small_objects"] = float(np.mean([f1[name] for name in small]))
        if r2:
            summary["position_r2_mean"] = float(np.mean(list(r2.values())))
        for name in ("action", "reward"):
            if name in f1:
                summary[f"f1_{name}"] = f1[name]
        return summary

    def _mean_over_categories(self, scores: dict[str, float]) -> float:
        """Returns the mean over categories of each category's mean; action and reward are not of the game's state."""
        by_category: dict[str, list[float]] = {}
        for index in state_columns(self.labels):
            variable = self.labels[index]
            by_category.setdefault(variable.category, []).append(scores[variable.name])
        means = [float(np.mean(values)) for values in by_category.values()]
        return float(np.mean(means))
