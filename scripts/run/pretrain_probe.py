"""Probes of an encoder while it is pretrained, and when it is done."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from gen_ssl.encoders import Encoder
from gen_ssl.frames import FrameStore, Split
from gen_ssl.probing import (
    EncoderProbe,
    LabelledFrames,
    ProbeConfig,
    nearest_neighbour_classes,
    state_columns,
    weighted_f1,
)

from .probe_assembly import probe_labels

KNN_TRAINING_FRAMES = 1_000  # few enough to be encoded at every log line
KNN_TEST_FRAMES = 500


def build_probe(store: FrameStore, *, stack: int) -> EncoderProbe | None:
    """Returns the probe of these frames, None where there is nothing to probe: several games, or no variable varies."""
    if len(store.games) != 1:
        return None
    try:
        return EncoderProbe(store, probe_labels(store), ProbeConfig(stack=stack))
    except ValueError:
        return None


def knn_score(probe: EncoderProbe) -> Callable[[Encoder], float] | None:
    """Returns what scores an encoder by k-NN on a part of the frames: mean weighted F1 over the state's variables.

    None where there are action and reward only: random play's actions are chance, and a score of chance would be
    mistaken for a collapse. Tested on validation episodes, so that the probe at the end has a test of its own.
    """
    columns = state_columns(probe.labels)
    if probe.labels[columns[0]].category in ("action", "reward"):
        return None
    train, test = _some(probe, "train", KNN_TRAINING_FRAMES), _some(probe, "validation", KNN_TEST_FRAMES)
    stacks = {id(part): probe.store.stacks(part.indices, stack=probe.config.stack) for part in (train, test)}

    @torch.no_grad()
    def score(encoder: Encoder) -> float:
        assert isinstance(encoder, nn.Module)
        device, was_training = next(encoder.parameters()).device, encoder.training
        encoder.eval()
        of_train, of_test = (
            torch.cat([encoder(chunk.to(device)).float().cpu() for chunk in stacks[id(part)].split(256)])
            for part in (train, test)
        )
        encoder.train(was_training)
        predicted = nearest_neighbour_classes(of_train, train.classes, of_test)
        return float(np.mean([weighted_f1(test.classes[:, index], predicted[:, index]) for index in columns]))

    return score


def _some(probe: EncoderProbe, split: Split, count: int) -> LabelledFrames:
    """Returns samples from all over a part, at most `count`."""
    part = probe.parts[split]
    chosen = np.linspace(0, len(part) - 1, min(count, len(part))).astype(np.int64)
    return LabelledFrames(indices=part.indices[chosen], classes=part.classes[torch.from_numpy(chosen)])
