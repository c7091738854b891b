import copy

import numpy as np
import pytest
import torch
from torch import nn

from agents import DQN, DQNConfig, DuelingHead, LinearHead, NonFiniteLossError, QNetwork, TransitionBatch
from agents.targets import quantile_huber_loss

FRAMES = (2, 3, 5)
ACTIONS = 3
BATCH = 7


class TinyEncoder(nn.Module):
    """The features are eleven linear functions of the pixels."""

    frame_shape = FRAMES
    feature_dim = 11

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(30, 11)

    def forward(self, frames):
        return self.linear(frames.flatten(1).float() / 255)


def make_agent(seed=0, network=None, *, head=None, **settings):
    torch.manual_seed(seed)
    if network is None:
        parts = {"num_quantiles": settings.pop("num_quantiles", 1)} | ({} if head is None else {"head": head})
        network = QNetwork(TinyEncoder(), observation_shape=FRAMES, num_actions=ACTIONS, **parts)
    options = {name: settings.pop(name) for name in ("autocast_dtype", "compile_update") if name in settings}
    config = DQNConfig(**{"optimizer": "adam", "target_update_every_updates": 1_000, **settings})
    return DQN(network, config, device=torch.device("cpu"), **options)


def make_batch(seed=0, **changes):
    generator = torch.Generator().manual_seed(seed)
    batch = TransitionBatch(
        observation=torch.randint(256, (BATCH, *FRAMES), generator=generator, dtype=torch.uint8),
        action=torch.randint(ACTIONS, (BATCH,), generator=generator),
        reward=torch.randn(BATCH, generator=generator) * 3,
        discount=torch.tensor([0.9, 0.0, 0.9, 0.81, 0.9, 0.0, 0.9]),
        next_observation=torch.randint(256, (BATCH, *FRAMES), generator=generator, dtype=torch.uint8),
        weight=torch.ones(BATCH),
        slot=torch.arange(BATCH),
    )
    return batch._replace(**changes)


def gradients(agent):
    return {name: parameter.grad.clone() for name, parameter in agent.network.named_parameters()}


def published_loss(network, target_network, batch, *, double, squared):
    """The loss of the papers, one transition at a time."""
    losses = []
    for i in range(BATCH):
        observation, next_observation = batch.observation[i : i + 1], batch.next_observation[i : i + 1]
        with torch.no_grad():
            target_values = target_network(next_observation)[0]
            chooser = network(next_observation)[0] if double else target_values
            target = batch.reward[i] + batch.discount[i] * target_values[chooser.argmax()]
        error = network(observation)[0, batch.action[i]] - target
        if squared or error.abs() <= 1:
            losses.append(batch.weight[i] * 0.5 * error**2)
        else:
            losses.append(batch.weight[i] * (error.abs() - 0.5))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("loss", ["huber", "squared"])
def test_loss_and_gradient_are_those_of_the_papers(double, loss):
    agent = make_agent(double=double, loss=loss)
    # Another target network, or Double Q-learning would be the same as Q-learning.
    agent.target_network.load_state_dict(make_agent(seed=1).network.state_dict())
    batch = make_batch(weight=torch.linspace(0.2, 1.0, BATCH))
    network = copy.deepcopy(agent.network)
    expected = published_loss(network, agent.target_network, batch, double=double, squared=loss == "squared")
    expected.backward()
    result = agent.update(batch)
    torch.testing.assert_close(result.loss, expected.detach())
    for name, gradient in gradients(agent).items():
        torch.testing.assert_close(gradient, network.get_parameter(name).grad, msg=name)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("head", [LinearHead, DuelingHead])
def test_quantile_regression_fits_the_quantiles_of_the_best_next_action(double, head):
    agent, another = (make_agent(seed, double=double, loss="quantile", head=head, num_quantiles=5) for seed in (0, 1))
    agent.target_network.load_state_dict(another.network.state_dict())
    batch = make_batch(weight=torch.linspace(0.2, 1.0, BATCH))
    network, target_network = copy.deepcopy(agent.network), agent.target_network
    losses = []
    for i in range(BATCH):
        next_observation = batch.next_observation[i : i + 1]
        chooser = network if double else target_network
        best = chooser.quantiles(next_observation)[0].mean(dim=1).argmax()
        target = batch.reward[i] + batch.discount[i] * target_network.quantiles(next_observation)[0, best].detach()
        predicted = network.quantiles(batch.observation[i : i + 1])[0, batch.action[i]]
        losses.append(quantile_huber_loss(predicted[None], target[None])[0])
    (batch.weight * torch.stack(losses)).mean().backward()
    result = agent.update(batch)
    torch.testing.assert_close(result.error, torch.stack(losses).detach())
    for name, gradient in gradients(agent).items():
        torch.testing.assert_close(gradient, network.get_parameter(name).grad, msg=name)


@pytest.mark.parametrize("num_quantiles", [1, 5])
def test_munchausen_adds_the_log_policy_and_softens_the_maximum(num_quantiles):
    settings = {"loss": "quantile", "num_quantiles": num_quantiles, "munchausen": 0.9, "munchausen_temperature": 0.3}
    agent, another = (make_agent(seed, **settings) for seed in (0, 1))
    agent.target_network.load_state_dict(another.network.state_dict())
    batch = make_batch()
    expected = []
    for i in range(BATCH):
        with torch.no_grad():
            here = agent.network.quantiles(batch.observation[i : i + 1])[0]
            there = agent.target_network.quantiles(batch.next_observation[i : i + 1])[0]
        policy = torch.softmax(there.mean(dim=1) / 0.3, dim=0)
        soft = sum(p * (z - 0.3 * p.log()) for p, z in zip(policy, there, strict=True))
        own = 0.3 * torch.softmax(here.mean(dim=1) / 0.3, dim=0)[batch.action[i]].log()
        target = batch.reward[i] + 0.9 * max(own, torch.tensor(-1.0)) + batch.discount[i] * soft
        expected.append(quantile_huber_loss(here[batch.action[i]][None], target[None])[0])
    torch.testing.assert_close(agent.update(batch).error, torch.stack(expected))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"munchausen": 1.0}, r"munchausen must lie within \[0, 1\), got 1.0"),
        ({"munchausen": 0.9, "double": True}, "choose one of the two"),
        ({"munchausen_temperature": 0.0}, "munchausen_temperature must be positive"),
        ({"munchausen_floor": 0.5}, "munchausen_floor at most 0"),
    ],
)
def test_munchausen_settings_without_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DQNConfig(**settings)


def test_quantiles_without_their_loss_are_refused():
    with pytest.raises(ValueError, match="a network of 5 quantiles needs the loss quantile, got huber"):
        make_agent(num_quantiles=5)


def test_nothing_of_the_next_observation_counts_after_a_terminal_state():
    results = [
        make_agent().update(make_batch(discount=torch.zeros(BATCH), next_observation=make_batch(seed).next_observation))
        for seed in (1, 2)
    ]
    assert results[0].loss == results[1].loss


def test_the_td_error_is_the_value_before_the_update_minus_the_target():
    agent = make_agent()
    batch = make_batch(discount=torch.zeros(BATCH))
    before = agent.action_values(batch.observation).gather(1, batch.action[:, None])[:, 0]
    torch.testing.assert_close(agent.update(batch).error, before - batch.reward)


def test_the_target_network_changes_only_at_its_period_and_then_equals_the_network():
    agent = make_agent(target_update_every_updates=3)
    first = copy.deepcopy(agent.target_network.state_dict())
    for _ in range(2):
        agent.update(make_batch())
        torch.testing.assert_close(agent.target_network.state_dict(), first, rtol=0, atol=0)
    agent.update(make_batch())
    torch.testing.assert_close(agent.target_network.state_dict(), agent.network.state_dict(), rtol=0, atol=0)


def test_the_target_network_goes_a_share_tau_of_the_way():
    agent = make_agent(target_update_every_updates=2, tau=0.125)
    first = copy.deepcopy(agent.target_network.state_dict())
    for _ in range(2):
        agent.update(make_batch())
    weights = agent.network.state_dict()
    expected = {name: 0.875 * first[name] + 0.125 * weights[name] for name in first}
    torch.testing.assert_close(agent.target_network.state_dict(), expected)


@pytest.mark.parametrize("act_with", ["online", "target"])
def test_the_network_that_acts_is_the_one_asked_for(act_with):
    agent = make_agent(act_with=act_with)
    for _ in range(3):
        agent.update(make_batch())  # the target network stays behind
    observations = make_batch().observation
    network = {"online": agent.network, "target": agent.target_network}[act_with]
    torch.testing.assert_close(agent.action_values(observations), network(observations), rtol=0, atol=0)
    assert not torch.equal(agent.network(observations), agent.target_network(observations))


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_updates_make_the_loss_smaller(optimizer):
    agent = make_agent(optimizer=optimizer, learning_rate=3e-3)
    losses = [float(agent.update(make_batch()).loss) for _ in range(100)]
    assert losses[-1] < losses[0] / 3


def test_an_encoder_learns_at_its_own_rate():
    def steps(**settings):
        agent = make_agent(**settings)
        before = copy.deepcopy(agent.network.state_dict())
        agent.update(make_batch())
        after = agent.network.state_dict()
        return [
            float((after[name] - before[name]).abs().max())
            for name in ("encoder.linear.bias", "head.action_values.bias")
        ]

    # Adam's first step has the length of the learning rate.
    assert steps(learning_rate=1e-2, optimizer_epsilon=1e-12) == pytest.approx([1e-2, 1e-2], rel=1e-3)
    slow = steps(learning_rate=1e-2, encoder_learning_rate=1e-4, optimizer_epsilon=1e-12)
    assert slow == pytest.approx([1e-4, 1e-2], rel=1e-3)


def test_a_learning_rate_of_the_encoder_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="encoder_learning_rate must be positive or None, got 0"):
        DQNConfig(encoder_learning_rate=0.0)


def test_learning_rates_fall_linearly_and_go_on_falling_in_a_restored_agent():
    settings = {
        "learning_rate": 0.5,
        "encoder_learning_rate": 0.1,
        "final_learning_rate_share": 0.2,
        "learning_rate_decay_updates": 4,
    }
    agent = make_agent(**settings)
    seen = []
    for update in range(6):
        if update == 3:
            state, agent = agent.state_dict(), make_agent(seed=1, **settings)
            agent.load_state_dict(state)
        agent.update(make_batch())
        seen.append([group["lr"] for group in agent.optimizer.param_groups])
    shares = [1.0, 0.8, 0.6, 0.4, 0.2, 0.2]
    assert seen == [pytest.approx([0.1 * share, 0.5 * share]) for share in shares]


def test_the_gradient_norm_is_clipped():
    agent = make_agent(max_gradient_norm=0.01)
    agent.update(make_batch())
    norm = torch.cat([gradient.flatten() for gradient in gradients(agent).values()]).norm()
    torch.testing.assert_close(norm, torch.tensor(0.01), rtol=1e-3, atol=0)


def test_a_loss_that_is_not_finite_stops_before_the_weights_change():
    agent = make_agent()
    before = copy.deepcopy(agent.state_dict())
    with pytest.raises(NonFiniteLossError, match="the loss is nan at update 0"):
        agent.update(make_batch(reward=torch.full((BATCH,), torch.nan)))
    torch.testing.assert_close(agent.network.state_dict(), before["network"], rtol=0, atol=0)


def test_a_restored_agent_continues_exactly():
    agent, restored = make_agent(target_update_every_updates=2), make_agent(seed=1, target_update_every_updates=2)
    for seed in range(3):
        agent.update(make_batch(seed))
    restored.load_state_dict(copy.deepcopy(agent.state_dict()))
    for seed in range(3, 6):
        assert agent.update(make_batch(seed)).loss == restored.update(make_batch(seed)).loss
    torch.testing.assert_close(agent.state_dict(), restored.state_dict(), rtol=0, atol=0)


def test_bfloat16_changes_values_by_its_rounding_only():
    plain, rounded = make_agent(), make_agent(autocast_dtype=torch.bfloat16)
    observations = make_batch().observation
    torch.testing.assert_close(
        plain.action_values(observations), rounded.action_values(observations), rtol=0.02, atol=0.02
    )
    assert not torch.equal(plain.action_values(observations), rounded.action_values(observations))
    torch.testing.assert_close(plain.update(make_batch()).loss, rounded.update(make_batch()).loss, rtol=0.03, atol=0)


@pytest.mark.usefixtures("unchecked_signatures")
def test_the_compiled_update_is_the_update():
    plain, compiled = (make_agent(double=True, head=DuelingHead, compile_update=on) for on in (False, True))
    for seed in range(3):
        results = [agent.update(make_batch(seed)) for agent in (plain, compiled)]
        torch.testing.assert_close(results[0].loss, results[1].loss)
    torch.testing.assert_close(plain.network.state_dict(), compiled.network.state_dict())


@pytest.mark.gpu
@pytest.mark.usefixtures("unchecked_signatures")
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
@pytest.mark.parametrize(
    ("num_quantiles", "settings"),
    [
        (1, {}),
        (5, {"loss": "quantile"}),
        (1, {"max_gradient_norm": 0.01}),
        (1, {"final_learning_rate_share": 0.1, "learning_rate_decay_updates": 4}),
        (1, {"encoder_learning_rate": 1e-5}),
    ],
)
def test_the_captured_update_is_the_update(optimizer, num_quantiles, settings):
    agents = []
    for capture in (False, True):
        torch.manual_seed(0)
        network = QNetwork(TinyEncoder(), observation_shape=FRAMES, num_actions=ACTIONS, num_quantiles=num_quantiles)
        config = DQNConfig(optimizer=optimizer, target_update_every_updates=2, **settings)
        agents.append(DQN(network, config, device=torch.device("cuda"), capture_update=capture))
    for seed in range(5):
        results = [agent.update(make_batch(seed)) for agent in agents]
        torch.testing.assert_close(results[0].loss, results[1].loss)
    agents[1].load_state_dict(copy.deepcopy(agents[0].state_dict()))
    for agent in agents:
        agent.update(make_batch(5))
    torch.testing.assert_close(agents[0].network.state_dict(), agents[1].network.state_dict())


def test_capturing_needs_a_gpu():
    network = QNetwork(TinyEncoder(), observation_shape=FRAMES, num_actions=ACTIONS)
    with pytest.raises(ValueError, match="captured on a CUDA device only, got cpu"):
        DQN(network, DQNConfig(), device=torch.device("cpu"), capture_update=True)


def test_predict_takes_one_observation_or_many_and_returns_the_greedy_actions():
    agent = make_agent()
    observations = make_batch().observation
    greedy = agent.action_values(observations).argmax(dim=1)
    assert torch.equal(agent.act(observations), greedy)
    actions, state = agent.predict(observations.numpy(), deterministic=True)
    np.testing.assert_array_equal(actions, greedy.numpy())
    assert state is None
    assert agent.predict(observations[4].numpy())[0] == greedy[4]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
        ({"target_update_every_updates": 0}, "target_update_every_updates must be at least 1, got 0"),
        ({"tau": 0.0}, r"tau must lie within \(0, 1\], got 0.0"),
        ({"final_learning_rate_share": 0.0}, r"final_learning_rate_share must lie within \(0, 1\] .* got 0.0 and 0"),
        ({"final_learning_rate_share": 0.5}, "learning_rate_decay_updates must be at least 1 .* of 0.5, got 0"),
        ({"max_gradient_norm": -1.0}, "max_gradient_norm must be positive or None, got -1.0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DQNConfig(**settings)


@pytest.mark.usefixtures("unchecked_signatures")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "hubert"}, "loss must be one of huber, squared, quantile, got 'hubert'"),
        ({"optimizer": "Adam"}, "optimizer must be one of rmsprop, adam, got 'Adam'"),
        ({"act_with": "targets"}, "act_with must be one of online, target, got 'targets'"),
    ],
)
def test_a_misspelt_choice_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DQNConfig(**settings)
