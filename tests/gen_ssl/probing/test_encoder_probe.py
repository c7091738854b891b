import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gen_ssl.encoders import NatureCNN
from gen_ssl.frames import FrameStore, split_episodes
from gen_ssl.probing import EncoderProbe, Labels, LinearConfig, ProbeConfig, SupervisedConfig, train_supervised
from scripts.run.pretrain_frames import collect_random_frames
from scripts.run.probe_assembly import probe_labels

QUICK = ProbeConfig(linear=LinearConfig(epochs=2, learning_rate=5e-3))


@pytest.fixture(scope="module")
def pong(tmp_path_factory) -> FrameStore:
    """Random play of a few games of Pong."""
    folder: Path = tmp_path_factory.mktemp("pong")
    collect_random_frames(folder, game="Pong", num_frames=4_001, seed=0)
    return FrameStore.open(folder, preload=True)


@pytest.fixture(scope="module")
def probe(pong) -> EncoderProbe:
    return EncoderProbe(pong, probe_labels(pong), QUICK)


def test_the_variables_are_those_of_the_game_its_actions_and_its_rewards(pong):
    indices = np.arange(3, len(pong), 7)
    labels = {label.name: label for label in probe_labels(pong)(indices)}
    assert set(labels) >= {"action", "reward", "ball_x", "ball_y", "player_y", "enemy_score"}
    assert labels["ball_x"].is_small_object
    assert labels["ball_x"].is_position
    assert not labels["enemy_score"].is_position
    np.testing.assert_array_equal(labels["ball_x"].values, pong.ram(indices)[:, 49])
    assert set(np.unique(labels["reward"].values)) <= {0, 1, 2}


def test_parts_share_no_episode_and_no_stack(pong, probe):
    episodes = split_episodes(pong, seed=0)
    seen = []
    for split, part in probe.parts.items():
        assert set(pong.episode_ids[part.indices]) <= set(episodes.episodes(split))
        seen.append({stack.tobytes() for stack in pong.stacks(part.indices).numpy()})
    assert not seen[0] & seen[2]
    assert not seen[0] & seen[1]
    assert not seen[1] & seen[2]


def test_a_variable_that_hardly_changes_is_not_probed(pong):
    def constant(indices):
        return [Labels(name="constant", values=np.full(len(indices), 7), category="miscellaneous")]

    def with_constant(indices):
        return [*constant(indices), *probe_labels(pong)(indices)]

    names = [label.name for label in EncoderProbe(pong, with_constant, QUICK).labels]
    assert "constant" not in names
    assert "ball_y" in names
    with pytest.raises(ValueError, match=r"none of the 1 variables has an entropy of 0\.6 nats"):
        EncoderProbe(pong, constant, QUICK)


def test_of_a_large_store_evenly_spaced_frames_are_probed_with_the_split_of_all(pong):
    parts = EncoderProbe(pong, probe_labels(pong), replace(QUICK, most_frames=997)).parts
    episodes = split_episodes(pong, seed=0)
    taken = set(np.linspace(0, len(pong) - 1, 997).astype(int))
    assert len(parts["train"]) == len(taken & set(pong.valid_indices(episodes=episodes.train)))
    for split, part in parts.items():
        assert set(part.indices) <= taken
        assert set(pong.episode_ids[part.indices]) <= set(episodes.episodes(split))
    with pytest.raises(ValueError, match="most_frames must be at least 1, got 0"):
        ProbeConfig(most_frames=0)
    with pytest.raises(ValueError, match="num_neighbours must be at least 1, got 0"):
        ProbeConfig(num_neighbours=0)


def test_of_frames_that_are_not_probed_nothing_is_read(pong, monkeypatch):
    read = set()
    read_ram = FrameStore.ram
    monkeypatch.setattr(FrameStore, "ram", lambda store, indices: read.update(indices) or read_ram(store, indices))
    probe = EncoderProbe(pong, probe_labels(pong), replace(QUICK, most_frames=997))
    assert len(read) == 997
    assert all(len(label.values) == 997 for label in probe.labels)
    memory = read_ram(pong, probe.parts["test"].indices)
    column = [label.name for label in probe.labels].index("ball_y")
    np.testing.assert_array_equal(probe.parts["test"].classes[:, column], memory[:, 54])


def test_an_encoder_has_a_score_for_every_variable_and_their_means(probe):
    torch.manual_seed(0)
    scores = probe.probe(NatureCNN(feature_dim=31), seed=0)
    names = [label.name for label in probe.labels]
    assert list(scores.f1) == list(scores.knn_f1) == names
    assert set(scores.r2) == {name for name in names if name.endswith(("_x", "_y"))}
    assert scores.summary["f1_small_objects"] == pytest.approx((scores.f1["ball_x"] + scores.f1["ball_y"]) / 2)
    agent, ball, enemy = scores.f1["player_y"], scores.summary["f1_small_objects"], scores.f1["enemy_y"]
    by_category = [agent, ball, enemy]
    counts = [scores.f1[name] for name in names if name.endswith("_score")]
    by_category += [sum(counts) / len(counts)] if counts else []
    assert scores.summary["f1_mean"] == pytest.approx(sum(by_category) / len(by_category))


def test_who_always_answers_the_most_frequent_value_scores_what_its_share_gives(probe):
    scores = probe.scores_of_most_frequent()
    for index, label in enumerate(probe.labels):
        train, test = (probe.parts[part].classes[:, index] for part in ("train", "test"))
        values, counts = train.unique(return_counts=True)
        share = (test == values[counts.argmax()]).double().mean().item()  # precision; recall is 1
        assert scores.f1[label.name] == pytest.approx(share * 2 * share / (1 + share), abs=1e-6)
    assert set(scores.summary) <= {"f1_mean", "f1_small_objects", "f1_action", "f1_reward"}
    assert not scores.knn_f1


def test_the_same_seed_gives_the_same_scores(probe):
    torch.manual_seed(0)
    encoder = NatureCNN(feature_dim=31)
    assert probe.probe(encoder, seed=3) == probe.probe(encoder, seed=3)


def test_training_on_the_labels_raises_the_scores(probe):
    torch.manual_seed(0)
    encoder = NatureCNN(feature_dim=31)
    before = probe.probe(encoder, seed=0).summary["position_r2_mean"]
    generator = torch.Generator().manual_seed(0)
    settings = SupervisedConfig(minutes=0.15, batch_size=64)
    shares = list(train_supervised(encoder, probe, settings, generator=generator))
    assert shares == sorted(shares)
    assert probe.probe(encoder, seed=0).summary["position_r2_mean"] > before


def test_end_to_end_training_keeps_what_validated_best(probe):
    torch.manual_seed(0)
    encoder = NatureCNN(feature_dim=31)
    first = copy.deepcopy(encoder.state_dict())
    settings = SupervisedConfig(minutes=0.02, batch_size=64, learning_rate=1e3)  # no step of which is for the better
    list(train_supervised(encoder, probe, settings, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(encoder.state_dict(), first, rtol=0, atol=0)


def test_frames_of_several_games_are_refused(tmp_path):
    for game in ("Pong", "Breakout"):
        collect_random_frames(tmp_path, game=game, num_frames=211, seed=0)
    with pytest.raises(ValueError, match="probed on one game at a time, got frames of Breakout, Pong"):
        probe_labels(FrameStore.open(tmp_path))
