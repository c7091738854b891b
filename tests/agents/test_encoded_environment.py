import copy

import numpy as np
import pytest
import torch
from torch import nn

from agents import (
    DQN,
    DQNConfig,
    EncodedEnvironment,
    ExplorationConfig,
    QNetwork,
    Training,
    TrainingConfig,
    VectorEnvironment,
    train,
)  # fmt: skip
from agents.replay import RawStorage, Replay
from envs import make_catch_vector

NUM_ENVS = 3
STACK = 2
FEATURES = 17
CPU = torch.device("cpu")


class TinyEncoder(nn.Module):
    """Averages blocks of pixels: enough to see Catch."""

    def __init__(self, frame_shape=(STACK, 84, 84)):
        super().__init__()
        self.frame_shape = frame_shape
        self.feature_dim = FEATURES
        self.linear = nn.Linear(frame_shape[0] * 144, FEATURES)

    def forward(self, frames):
        return torch.relu(self.linear(nn.functional.avg_pool2d(frames.float() / 255, 7).flatten(1)))


def frozen_encoder(seed=0):
    torch.manual_seed(seed)
    return TinyEncoder().requires_grad_(False)


def make_training(encoder, *, seed=0):
    torch.manual_seed(seed)
    games = EncodedEnvironment(make_catch_vector(num_envs=NUM_ENVS, seed=seed), encoder, device=CPU)
    network = QNetwork(encoder, observation_shape=(STACK, 84, 84), num_actions=3, scale_features=True)
    config = DQNConfig(optimizer="adam", learning_rate=1e-3, target_update_every_updates=5)
    capacity = NUM_ENVS * 67
    storage = RawStorage(capacity, (FEATURES,), dtype=torch.float32)
    return Training(
        agent=DQN(network, config, device=CPU),
        environment=games,
        replay=Replay(storage, num_envs=NUM_ENVS, stack=1, n_step=3, discount=0.9, reward_clip=True),
        config=TrainingConfig(
            total_steps=600,
            learning_starts=90,
            batch_size=13,
            samples_per_step=2,
            held_out_states=11,
            log_every_steps=100,
            exploration=ExplorationConfig(final_epsilon=0.1, decay_steps=200),
        ),
        seed=seed,
    )


def test_observations_are_the_features_of_the_stacks_an_agent_would_see():
    encoder = frozen_encoder()
    games, plain = (make_catch_vector(num_envs=NUM_ENVS, seed=5) for _ in range(2))
    encoded = EncodedEnvironment(games, encoder, device=CPU)
    assert isinstance(encoded, VectorEnvironment)
    frames = plain.reset()[0]
    stacks = np.concatenate([frames, frames], axis=1)
    np.testing.assert_array_equal(encoded.reset()[0], encoder(torch.from_numpy(stacks)).numpy())
    generator = np.random.default_rng(0)
    episodes = 0
    for _ in range(97):
        actions = generator.integers(3, size=NUM_ENVS)
        frames, rewards, terminated, truncated, info = plain.step(actions)
        features, encoded_rewards, _, _, encoded_info = encoded.step(actions)
        ended = terminated | truncated
        final_stacks = np.concatenate([stacks[:, 1:], info["final_obs"]], axis=1)
        final_features = encoder(torch.from_numpy(final_stacks)).numpy()
        np.testing.assert_allclose(encoded_info["final_obs"][ended], final_features[ended], rtol=1e-5, atol=1e-6)
        stacks = np.concatenate([stacks[:, 1:], frames], axis=1)
        stacks[ended] = np.concatenate([frames, frames], axis=1)[ended]
        np.testing.assert_array_equal(features, encoder(torch.from_numpy(stacks)).numpy())
        np.testing.assert_array_equal(encoded_rewards, rewards)
        episodes += ended.sum()
    assert episodes > 5


def test_an_encoder_that_can_learn_is_refused():
    with pytest.raises(ValueError, match="features can be stored for a frozen encoder only"):
        EncodedEnvironment(make_catch_vector(num_envs=NUM_ENVS), TinyEncoder(), device=CPU)


def test_an_encoder_that_frames_cannot_fill_is_refused():
    encoder = TinyEncoder(frame_shape=(4, 96, 96)).requires_grad_(False)
    with pytest.raises(ValueError, match=r"takes stacks of shape \(4, 96, 96\), which frames of shape \(1, 84, 84\)"):
        EncodedEnvironment(make_catch_vector(num_envs=NUM_ENVS), encoder, device=CPU)


def test_a_frozen_encoder_has_no_gradient_and_does_not_move_while_the_head_learns():
    encoder = frozen_encoder()
    encoder_before = copy.deepcopy(encoder.state_dict())
    training = make_training(encoder)
    head_before = copy.deepcopy(training.agent.network.head.state_dict())
    list(train(training))
    assert training.agent.updates > 50
    assert all(parameter.grad is None for parameter in encoder.parameters())
    torch.testing.assert_close(encoder.state_dict(), encoder_before, rtol=0, atol=0)
    assert not torch.equal(training.agent.network.head.action_values.weight, head_before["action_values.weight"])


def test_the_scale_of_the_features_is_measured_when_learning_starts():
    training = make_training(frozen_encoder())
    list(train(training))
    agent = training.agent
    expected = training._held_out.double().mean(dim=0).float()
    for network in (agent.network, agent.target_network):
        torch.testing.assert_close(network.scale.mean, expected)
        assert not torch.equal(network.scale.deviation, torch.ones(FEATURES))


def test_values_of_features_are_the_values_of_the_frames_they_come_from():
    training = make_training(frozen_encoder())
    list(train(training))
    frames = torch.randint(256, (7, STACK, 84, 84), dtype=torch.uint8)
    features = training.agent.network.encoder(frames)
    assert torch.equal(training.agent.action_values(features), training.agent.action_values(frames))


def test_a_resumed_run_of_features_equals_one_that_never_stopped():
    def without_clock(metrics):
        return {tag: value for tag, value in metrics.items() if not tag.startswith("time/")}

    whole = make_training(frozen_encoder())
    expected = [without_clock(metrics) for metrics in train(whole)]
    stopped = make_training(frozen_encoder())
    saved = [copy.deepcopy(stopped.state_dict()) for _ in train(stopped)]
    for index in (0, 3):
        # Another seed and another encoder: everything must come from the saved state.
        resumed = make_training(frozen_encoder(seed=9), seed=5)
        resumed.load_state_dict(copy.deepcopy(saved[index]))
        assert [without_clock(metrics) for metrics in train(resumed)] == expected[index + 1 :]
