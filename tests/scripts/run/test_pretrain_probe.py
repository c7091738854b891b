from functools import partial

import numpy as np
import pytest
import torch

from gen_ssl.encoders import DQN2013CNN
from gen_ssl.frames import FrameStore, FrameStoreWriter
from gen_ssl.probing import EncoderProbe, Labels, ProbeConfig, frame_labels, nearest_neighbour_classes, weighted_f1
from scripts.run.pretrain_probe import knn_score

FRAME_SHAPE = (1, 29, 37)


@pytest.fixture
def store(tmp_path):
    """Five episodes in which a bright square moves about, with actions and rewards of chance."""
    generator = np.random.default_rng(0)
    frames = np.zeros((95, *FRAME_SHAPE), dtype=np.uint8)
    for frame, x in zip(frames, generator.integers(0, 32, 95), strict=True):
        frame[0, 5:10, x : x + 5] = 255
    ended = np.arange(95) % 19 == 18
    with FrameStoreWriter(tmp_path, frame_shape=FRAME_SHAPE) as writer:
        writer.append(
            game="Pong",
            num_actions=3,
            frames=frames,
            actions=generator.integers(0, 3, 95),
            rewards=generator.normal(size=95).astype(np.float32),
            terminated=ended,
            truncated=np.zeros(95, np.bool_),
        )
    return FrameStore.open(tmp_path)


def test_only_the_state_counts_beside_action_and_reward(store):
    half = (store.frames(np.arange(95))[:, 0].amax(dim=1).argmax(dim=1) // 18).numpy()

    def labels(indices):
        state = Labels(name="half", values=half[indices].astype(np.int64), category="agent")
        return [*frame_labels(store, indices), state]

    probe = EncoderProbe(store, labels, ProbeConfig(stack=2))
    torch.manual_seed(0)
    encoder = DQN2013CNN((2, *FRAME_SHAPE[1:]), feature_dim=11)
    train, test = probe.parts["train"], probe.parts["validation"]
    with torch.no_grad():
        features = [encoder(store.stacks(part.indices, stack=2)) for part in (train, test)]
    predicted = nearest_neighbour_classes(features[0], train.classes, features[1])
    column = [label.name for label in probe.labels].index("half")
    assert knn_score(probe)(encoder) == pytest.approx(weighted_f1(test.classes[:, column], predicted[:, column]))


def test_chance_is_not_scored(store):
    assert knn_score(EncoderProbe(store, partial(frame_labels, store), ProbeConfig(stack=2))) is None
