import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

from agents.dqn import DQN, DQNConfig
from agents.evaluation import evaluate
from agents.q_network import QNetwork
from agents.stable_baselines3_bridge import EncoderExtractor, StableBaselines3Agent, encoder_policy_kwargs
from envs import AtariConfig, Catch, make_atari, make_catch_vector
from gen_ssl.encoders import NatureCNN

CATCH_SHAPE = (1, 84, 84)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return NatureCNN(CATCH_SHAPE, feature_dim=11)


@pytest.fixture
def frames():
    return torch.randint(0, 256, (2, *CATCH_SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def their_dqn(encoder, **changes):
    kwargs = encoder_policy_kwargs(encoder) | {"net_arch": []}
    settings = {"buffer_size": 53, "learning_starts": 7, "batch_size": 5, "seed": 0, "device": "cpu"}
    return stable_baselines3.DQN("CnnPolicy", Catch(), policy_kwargs=kwargs, **(settings | changes))


def same_weights(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_their_dqn_sees_exactly_what_the_encoder_makes_of_the_frames(encoder, frames):
    policy = their_dqn(encoder).policy
    features = policy.q_net.extract_features(frames, policy.q_net.features_extractor)
    assert torch.equal(features, encoder(frames))


def test_their_dqn_learns_with_our_encoder(encoder):
    model = their_dqn(encoder, target_update_interval=1_000).learn(60)
    assert not same_weights(model.q_net.features_extractor.encoder, encoder)


def test_the_target_network_has_an_encoder_of_its_own(encoder):
    model = their_dqn(encoder, target_update_interval=1_000).learn(60)
    assert same_weights(model.q_net_target.features_extractor.encoder, encoder)


def test_their_ppo_starts_from_the_weights_it_was_given_and_learns(encoder):
    # With its default ortho_init, PPO would draw them anew: a pretrained encoder would be lost without a word.
    model = stable_baselines3.PPO(
        "CnnPolicy", Catch(), policy_kwargs=encoder_policy_kwargs(encoder), n_steps=22, batch_size=11, n_epochs=1
    )
    assert same_weights(model.policy.features_extractor.encoder, encoder)
    model.learn(22)
    assert not same_weights(model.policy.features_extractor.encoder, encoder)


def test_a_saved_model_of_theirs_comes_back_with_its_encoder(encoder, frames, tmp_path):
    model = their_dqn(encoder)
    model.save(tmp_path / "model")
    loaded = stable_baselines3.DQN.load(tmp_path / "model", device="cpu")
    assert torch.equal(loaded.q_net(frames), model.q_net(frames))


def test_an_encoder_made_for_other_frames_is_refused_with_both_shapes(encoder):
    space = gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)
    with pytest.raises(
        ValueError, match=r"made for frames of shape \(1, 84, 84\), the environment gives \(4, 84, 84\)"
    ):
        EncoderExtractor(space, encoder)


def test_pixels_scaled_before_the_encoder_are_refused(encoder, frames):
    extractor = EncoderExtractor(Catch().observation_space, encoder)
    extractor(torch.zeros(2, *CATCH_SHAPE))  # black at any scale
    with pytest.raises(ValueError, match="pass normalize_images=False"):
        extractor(frames / 255)


def test_our_agent_plays_under_their_evaluate_policy(encoder):
    network = QNetwork(encoder, observation_shape=CATCH_SHAPE, num_actions=3)
    agent = DQN(network, DQNConfig(), device=torch.device("cpu"))
    returns, lengths = evaluate_policy(agent, Monitor(Catch()), n_eval_episodes=3, return_episode_rewards=True)
    assert set(returns) <= {-1.0, 1.0}
    assert lengths == [11, 11, 11]


def test_our_agent_predicts_for_one_observation_what_it_does_with_a_batch(encoder):
    network = QNetwork(encoder, observation_shape=CATCH_SHAPE, num_actions=3)
    agent = DQN(network, DQNConfig(), device=torch.device("cpu"))
    env = Catch()
    observation, _ = env.reset(seed=0)
    action, state = agent.predict(observation, deterministic=True)
    assert state is None
    assert action == agent.act(torch.from_numpy(observation[None])).item()


def test_their_agent_plays_under_our_evaluation(encoder):
    model = their_dqn(encoder)
    games = make_catch_vector(num_envs=2, seed=0)
    evaluation = evaluate(StableBaselines3Agent(model), games, num_games=3, stack=1, seed=0, epsilon=0.0)
    assert len(evaluation.returns) == 3
    assert set(evaluation.returns) <= {-1.0, 1.0}


def test_their_agent_acts_on_stacks_of_real_frames_as_it_predicts():
    env = make_atari(AtariConfig(game="Pong"))
    model = stable_baselines3.DQN(
        "CnnPolicy", env, policy_kwargs=encoder_policy_kwargs(NatureCNN()), buffer_size=2, device="cpu"
    )
    observation, _ = env.reset(seed=0)
    expected, _ = model.predict(observation, deterministic=True)
    assert StableBaselines3Agent(model).act(torch.from_numpy(observation)[None]).tolist() == [expected]
