import math

import numpy as np
import pytest
import torch
from torch import nn

from gen_ssl.collapse import CollapseConfig, CollapseMonitor, feature_deviation, rank_me
from gen_ssl.encoders import DQN2013CNN
from gen_ssl.frames import FrameBatch
from gen_ssl.simclr import SimCLR, SimCLRConfig
from gen_ssl.views import default_views

FRAME_SHAPE = (1, 23, 23)


def test_the_deviation_is_that_of_directions():
    features = np.random.default_rng(0).normal(size=(7, 3)) + 1
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = math.sqrt(3) * math.sqrt(np.mean(directions.std(axis=0) ** 2))
    assert feature_deviation(torch.from_numpy(features)) == pytest.approx(expected, abs=1e-6)
    assert expected == pytest.approx(math.sqrt(1 - np.linalg.norm(directions.mean(axis=0)) ** 2))


def test_the_rank_is_that_of_the_paper():
    features = np.random.default_rng(0).normal(size=(7, 3))
    singular = np.linalg.svd(features, compute_uv=False)
    shares = singular / singular.sum() + 1e-7  # Garrido et al. 2023, eq. 1
    expected = math.exp(-sum(share * math.log(share) for share in shares))
    assert rank_me(torch.from_numpy(features)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("features", "deviation", "rank"),
    [
        (torch.eye(5), math.sqrt(1 - 1 / 5), 5),
        (torch.ones(5, 3), 0, 1),
        (torch.zeros(5, 3), 0, 0),
        (torch.tensor([[1.0, 0.0], [-2.0, 0.0]]), 1, 1),
        (torch.tensor([[1.0, 0.0], [math.nan, 0.0]]), math.nan, math.nan),
        (torch.tensor([[1.0, 0.0], [math.inf, 0.0]]), math.nan, math.nan),
    ],
)
def test_extreme_features_have_known_deviation_and_rank(features, deviation, rank):
    assert feature_deviation(features) == pytest.approx(deviation, abs=1e-6, nan_ok=True)
    assert rank_me(features) == pytest.approx(rank, abs=1e-4, nan_ok=True)


def signs_of(report):
    return [sentence.removeprefix("collapse: ").split(" (")[0] for sentence in report.warnings]


def test_every_sign_is_named_with_its_numbers_once_until_it_is_gone():
    healthy = torch.eye(5)
    monitor = CollapseMonitor(healthy, CollapseConfig(patience_steps=100), initial_knn=0.5)
    assert monitor.check(healthy, step=100, loss=1.0, loss_at_chance=2.0, knn=0.6).warnings == ()
    collapsed = torch.ones(5, 5)
    report = monitor.check(collapsed, step=150, loss=1.99, loss_at_chance=2.0, knn=0.5)
    assert report.warnings == (
        "collapse: all frames get nearly the same features (deviation 0, 0.89 before training)",
        "collapse: features span few directions (RankMe 1.00, 5.00 before training)",
        "collapse: the loss is 1.990, that of guessing (ln K = 2.000)",
        "collapse: k-NN scores 0.500, no better than on the encoder before training (0.500)",
    )
    assert monitor.check(collapsed, step=200, loss=1.99, loss_at_chance=2.0, knn=0.4).warnings == ()
    assert monitor.check(healthy, step=250, loss=1.0, loss_at_chance=2.0, knn=0.6).warnings == ()
    assert signs_of(monitor.check(collapsed, step=300)) == [
        "all frames get nearly the same features",
        "features span few directions",
    ]


def test_loss_and_knn_are_given_time():
    monitor = CollapseMonitor(torch.eye(5), CollapseConfig(patience_steps=100), initial_knn=0.5)
    assert monitor.check(torch.eye(5), step=99, loss=2.0, loss_at_chance=2.0, knn=0.1).warnings == ()


def test_features_and_losses_that_are_not_numbers_count_as_collapsed():
    monitor = CollapseMonitor(torch.eye(5), CollapseConfig(patience_steps=0))
    report = monitor.check(torch.full((5, 5), math.nan), step=1, loss=math.nan, loss_at_chance=2.0)
    assert signs_of(report) == [
        "all frames get nearly the same features",
        "features span few directions",
        "the loss is nan, that of guessing",
    ]


def test_a_resumed_monitor_compares_with_the_features_before_training():
    first = CollapseMonitor(torch.eye(5), CollapseConfig(patience_steps=0), initial_knn=0.5)
    first.check(torch.ones(5, 5), step=1)
    second = CollapseMonitor(torch.ones(3, 2), CollapseConfig(patience_steps=0))
    second.load_state_dict(first.state_dict())
    # The features' signs are known already; the k-NN score of before is remembered.
    assert signs_of(second.check(torch.ones(5, 5), step=2, knn=0.3)) == [
        "k-NN scores 0.300, no better than on the encoder before training"
    ]


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="least_rank must lie between 0 and 1, got 2.0"):
        CollapseConfig(least_rank=2.0)
    with pytest.raises(ValueError, match="patience_steps must be at least 0, got -1"):
        CollapseConfig(patience_steps=-1)
    with pytest.raises(ValueError, match="collapse shows in the features of at least 2 frames, got 1"):
        CollapseMonitor(torch.ones(1, 3), CollapseConfig())


def frames_with_a_ball(count, seed):
    """Grey frames with a bright square of 3 pixels somewhere."""
    random = np.random.default_rng(seed)
    frames = np.full((count, *FRAME_SHAPE), 87, dtype=np.uint8)
    for frame, (y, x) in zip(frames, random.integers(0, 21, size=(count, 2)), strict=True):
        frame[0, y : y + 3, x : x + 3] = 236
    return torch.from_numpy(frames)


class ViewAgreement(nn.Module):
    """Pulls views together and pushes nothing apart: what SimCLR would be without its negatives."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.predictor = nn.Linear(encoder.feature_dim, encoder.feature_dim)

    def forward(self, batch, generator):
        first, second = (self.encoder(default_views()(batch.stacks[0], generator)) for _ in range(2))
        loss = -nn.functional.cosine_similarity(self.predictor(first), second, eps=1e-4).mean()
        return loss, {}


def names_after_training(method, *, rate, steps=200):
    """Returns the signs seen over some steps of training, looked for every 50."""
    held_out = frames_with_a_ball(64, seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        monitor = CollapseMonitor(method.encoder(held_out), CollapseConfig())
    optimizer = torch.optim.Adam(method.parameters(), lr=rate)
    seen, losses = [], []
    for step in range(1, steps + 1):
        stacks = frames_with_a_ball(32, seed=100 + step).unsqueeze(0)
        zeros = torch.zeros(32, dtype=torch.int64)
        loss, metrics = method(FrameBatch(stacks, zeros, torch.zeros(32), zeros), generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 50 == 0:
            with torch.no_grad():
                features = method.encoder(held_out)
            chance = float(metrics["loss_at_chance"]) if "loss_at_chance" in metrics else None
            seen += signs_of(
                monitor.check(features, step=step, loss=float(np.mean(losses[-50:])), loss_at_chance=chance)
            )
    return seen


def make_encoder():
    torch.manual_seed(0)
    return DQN2013CNN(FRAME_SHAPE, feature_dim=32)


def make_simclr():
    encoder = make_encoder()
    return SimCLR(encoder, SimCLRConfig(hidden_dim=64, projection_dim=16), views=default_views())


def test_a_healthy_run_raises_no_alarm():
    assert names_after_training(make_simclr(), rate=1e-3) == []


def test_a_hundredfold_learning_rate_raises_an_alarm_within_200_steps():
    seen = names_after_training(make_simclr(), rate=1e-1)
    assert any(sign.startswith("the loss is") or sign.startswith("all frames") for sign in seen)


def test_agreement_without_negatives_raises_an_alarm_within_200_steps():
    seen = names_after_training(ViewAgreement(make_encoder()), rate=1e-3)
    assert "all frames get nearly the same features" in seen
