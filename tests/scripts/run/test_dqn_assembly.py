from dataclasses import replace

import numpy as np
import pytest
import torch

from agents import DuelingHead, LinearHead
from agents.replay import DeviceStorage, Lz4Storage, RawStorage
from agents.training import Interval
from gen_ssl.encoders import NatureCNN
from scripts.run.config_file import config_from_json, config_to_json
from scripts.run.dqn_assembly import build_agent, build_games, build_training
from scripts.run.dqn_config import PRESETS, DQNRunConfig, EvaluationConfig, ReplayConfig

CPU = torch.device("cpu")
CATCH = replace(PRESETS["catch"], num_envs=2)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds_a_run_that_steps(name):
    config = replace(PRESETS[name], compile="off")
    training = build_training(config, device=CPU)
    frames, rewards, *_ = training.environment.step(training.environment.action_space.sample())
    assert frames.shape == (config.num_envs, 1, 84, 84)
    assert rewards.shape == (config.num_envs,)
    training.environment.close()


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_its_file(name):
    assert config_from_json(DQNRunConfig, config_to_json(PRESETS[name])) == PRESETS[name]


def test_the_presets_have_the_published_networks():
    for name, parameters in (("nature-2015", 1_684_128 + 6 * 513), ("nips-2013", 676_144 + 6 * 257)):
        config = replace(PRESETS[name], compile="off")
        games = build_games(config, num_envs=1, purpose="evaluation")
        network = build_agent(config, games, device=CPU).network
        games.close()
        assert sum(parameter.numel() for parameter in network.parameters()) == parameters  # Pong has 6 actions
        assert isinstance(network.head, LinearHead)


def test_a_saved_encoder_gives_the_agent_identical_features(tmp_path):
    encoder = NatureCNN()
    encoder.save_pretrained(tmp_path / "encoder")
    games = build_games(CATCH, num_envs=1, purpose="evaluation")
    agent = build_agent(replace(CATCH, encoder=str(tmp_path / "encoder"), dueling=True), games, device=CPU)
    frames = torch.randint(256, (3, 4, 84, 84), dtype=torch.uint8)
    assert torch.equal(agent.network.encoder(frames), encoder(frames))
    assert isinstance(agent.network.head, DuelingHead)


def test_a_frozen_encoder_replays_features_and_a_finetuned_one_frames(tmp_path):
    NatureCNN(feature_dim=61).save_pretrained(tmp_path / "encoder")
    config = replace(CATCH, encoder=str(tmp_path / "encoder"))
    for mode, shape in (("finetune", (4, 84, 84)), ("frozen", (61,))):
        training = build_training(replace(config, encoder_mode=mode), device=CPU)
        for _ in range(config.replay.n_step + 2):
            training.step(Interval(training))
        batch = training.replay.sample(5, np.random.default_rng(0))
        assert batch.observation.shape == (5, *shape)
        learns = any(parameter.requires_grad for parameter in training.agent.network.encoder.parameters())
        assert learns == (mode == "finetune")


def test_an_encoder_made_for_other_frames_is_refused(tmp_path):
    NatureCNN(frame_shape=(3, 96, 96)).save_pretrained(tmp_path / "encoder")
    games = build_games(CATCH, num_envs=1, purpose="evaluation")
    with pytest.raises(
        ValueError, match=r"made for frames of shape \(3, 96, 96\), the environment gives \(4, 84, 84\)"
    ):
        build_agent(replace(CATCH, encoder=str(tmp_path / "encoder")), games, device=CPU)


def test_an_unknown_encoder_is_refused_with_the_names_there_are():
    games = build_games(CATCH, num_envs=1, purpose="evaluation")
    with pytest.raises(ValueError, match="encoder must be one of NatureCNN, DQN2013CNN.* or the folder"):
        build_agent(replace(CATCH, encoder="NoSuchNetwork"), games, device=CPU)


@pytest.mark.parametrize(
    ("storage", "kind"), [("auto", Lz4Storage), ("lz4", Lz4Storage), ("raw", RawStorage), ("device", DeviceStorage)]
)
def test_frames_are_stored_as_asked(storage, kind):
    config = replace(CATCH, replay=replace(CATCH.replay, storage=storage))
    assert isinstance(build_training(config, device=CPU).replay._storage, kind)


def test_priorities_have_the_exponent_asked_for():
    for exponent, share in ((0.0, 0.5), (1.0, 0.9)):
        config = replace(CATCH, replay=replace(CATCH.replay, prioritised=True, priority_exponent=exponent))
        training = build_training(config, device=CPU)
        for _ in range(config.replay.n_step + 1):
            training.step(Interval(training))
        replay = training.replay
        batch = replay.sample(64, np.random.default_rng(0))
        slots = torch.unique(batch.slot)
        assert len(slots) == 2  # one transition of each game
        replay.set_priorities(slots, torch.tensor([0.9, 0.1]))
        drawn = replay.sample(10_000, np.random.default_rng(0)).slot
        assert (drawn == slots[0]).float().mean() == pytest.approx(share, abs=0.02)


def test_bfloat16_is_used_when_asked_for():
    games = build_games(CATCH, num_envs=1, purpose="evaluation")
    agents = [build_agent(replace(CATCH, precision=p), games, device=CPU) for p in ("float32", "bfloat16")]
    frames = torch.randint(256, (3, 4, 84, 84), dtype=torch.uint8)
    values = [agent.action_values(frames) for agent in agents]
    assert not torch.equal(*values)
    torch.testing.assert_close(*values, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: replace(CATCH, num_envs=0), "num_envs must be at least 1, got 0"),
        (lambda: ReplayConfig(capacity=0), "capacity must be at least 1, got 0"),
        (lambda: EvaluationConfig(num_games=0), "num_games must be at least 1, got 50000 and 0"),
        (lambda: replace(CATCH, replay=ReplayConfig(capacity=999)), "capacity of 999 is smaller than learning_starts"),
    ],
)
def test_bad_settings_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_learning_cannot_start_before_the_replay_holds_a_transition():
    with pytest.raises(ValueError, match="learning_starts must be at least 192, n_step .* each of 32 games.* got 191"):
        replace(PRESETS["fast"], training=replace(PRESETS["fast"].training, learning_starts=191))
