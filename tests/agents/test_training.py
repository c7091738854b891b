import copy
from concurrent.futures import Executor, Future

import numpy as np
import pytest
import torch
from torch import nn

from agents import DQN, DQNConfig, ExplorationConfig, NonFiniteLossError, QNetwork, Training, TrainingConfig, train
from agents.replay import Priorities, RawStorage, Replay
from agents.training import agent_stack
from envs import make_catch_vector

NUM_ENVS = 3
STACK = 2


class TinyEncoder(nn.Module):
    """Averages blocks of pixels: enough to see Catch."""

    def __init__(self, frame_shape=(STACK, 84, 84)):
        super().__init__()
        self.frame_shape = frame_shape
        self.feature_dim = 17
        self.linear = nn.Linear(frame_shape[0] * 144, 17)

    def forward(self, frames):
        return torch.relu(self.linear(nn.functional.avg_pool2d(frames.float() / 255, 7).flatten(1)))


def make_training(*, seed=0, learning_rate=1e-3, **settings):
    torch.manual_seed(seed)
    games = make_catch_vector(num_envs=NUM_ENVS, seed=seed)
    network = QNetwork(TinyEncoder(), observation_shape=(STACK, 84, 84), num_actions=3)
    config = DQNConfig(double=True, optimizer="adam", learning_rate=learning_rate, target_update_every_updates=5)
    capacity = NUM_ENVS * 67
    replay = Replay(
        RawStorage(capacity, (1, 84, 84)),
        num_envs=NUM_ENVS,
        stack=STACK,
        n_step=3,
        discount=0.9,
        reward_clip=True,
        priorities=Priorities(capacity),
    )
    defaults = {
        "total_steps": 600,
        "learning_starts": 90,
        "batch_size": 13,
        "samples_per_step": 2,
        "held_out_states": 11,
        "log_every_steps": 100,
        "exploration": ExplorationConfig(final_epsilon=0.1, decay_steps=200),
    }
    return Training(
        agent=DQN(network, config, device=torch.device("cpu")),
        environment=games,
        replay=replay,
        config=TrainingConfig(**{**defaults, **settings}),
        seed=seed,
    )


def without_clock(metrics):
    return {tag: value for tag, value in metrics.items() if not tag.startswith("time/")}


def test_a_run_resumed_at_any_yield_equals_one_that_never_stopped():
    whole = make_training()
    expected = [without_clock(metrics) for metrics in train(whole)]
    saved = []
    stopped = make_training()
    for _ in train(stopped):
        saved.append(copy.deepcopy(stopped.state_dict()))
    for index, state in enumerate(saved[:-1]):
        resumed = make_training(seed=5)  # another seed: everything must come from the saved state
        resumed.load_state_dict(copy.deepcopy(state))
        assert [without_clock(metrics) for metrics in train(resumed)] == expected[index + 1 :]
        torch.testing.assert_close(resumed.agent.state_dict(), whole.agent.state_dict(), rtol=0, atol=0)


class StepsFirst(Executor):
    def submit(self, function, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future


class LearnsFirst(Executor):
    def submit(self, function, *arguments):
        class Late:
            def result(self):
                return function(*arguments)

        return Late()


@pytest.mark.parametrize("order", [StepsFirst, LearnsFirst])
def test_learning_beside_the_environments_gives_the_numbers_of_one_after_the_other(order):
    beside, in_turn = make_training(), make_training()
    in_turn._background = order()
    assert [*map(without_clock, train(beside))] == [*map(without_clock, train(in_turn))]
    weights, expected = beside.agent.network.state_dict(), in_turn.agent.network.state_dict()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_the_same_seed_gives_the_same_metrics_and_another_seed_others():
    runs = [[without_clock(metrics) for metrics in train(make_training(seed=seed))] for seed in (3, 3, 4)]
    assert runs[0] == runs[1] != runs[2]


def test_every_step_earns_its_samples_from_the_start_of_learning_on():
    training = make_training(learning_starts=90, total_steps=600, batch_size=13, samples_per_step=2)
    list(train(training))
    # What the last step earned would be learned in the next one.
    assert training.agent.updates == (600 - NUM_ENVS - 90) * 2 // 13


def test_metrics_come_every_so_many_steps_and_at_the_end():
    training = make_training(total_steps=250, log_every_steps=100)
    steps = []
    for _ in train(training):
        steps.append(training.steps)
    assert steps == [102, 201, 252]  # the first multiples of the three games at or beyond


def test_play_is_random_until_learning_starts():
    training = make_training(learning_starts=300, total_steps=300)
    actions = []
    step = training.environment.step
    training.environment.step = lambda chosen: actions.append(chosen) or step(chosen)
    list(train(training))
    counts = np.bincount(np.concatenate(actions), minlength=3)
    assert training.agent.updates == 0
    assert counts.min() > 60


def test_metrics_are_all_there_once_the_agent_learns():
    tags = set(list(train(make_training()))[-1])
    assert tags >= {
        "episode/return",
        "episode/length",
        "exploration/epsilon",
        "learning/loss",
        "learning/q_mean",
        "learning/q_max",
        "learning/held_out_q",
        "learning/updates",
        "learning/discount",
        "learning/learning_rate",
        "replay/age_steps",
        "time/steps_per_second",
        "time/stepping_fraction",
        "time/acting_fraction",
        "time/sampling_fraction",
        "time/learning_fraction",
    }


def test_the_held_out_states_stay_the_same():
    training = make_training()
    metrics = train(training)
    next(metrics)
    first = training.state_dict()["held_out"].clone()
    list(metrics)
    assert torch.equal(training.state_dict()["held_out"], first)
    assert len(first) == 11


def test_returns_are_raw_scores_of_whole_episodes():
    training = make_training(total_steps=330)
    returns = [metrics["episode/return"] for metrics in train(training)]
    assert all(-1 <= value <= 1 for value in returns)
    assert set(training.recent_returns) <= {-1.0, 1.0}  # Catch is won or lost by one ball


def test_returns_are_not_clipped_though_the_learner_sees_signs():
    training = make_training(total_steps=330)
    step = training.environment.step

    def threefold_rewards(actions):
        frames, rewards, *rest = step(actions)
        return frames, 3 * rewards, *rest

    training.environment.step = threefold_rewards
    list(train(training))
    assert set(training.recent_returns) <= {-3.0, 3.0}
    assert training.replay.sample(50, np.random.default_rng(0)).reward.abs().max() <= 1.0


def test_importance_weights_grow_to_their_full_size_at_the_last_step(monkeypatch):
    training = make_training(importance_exponent=0.4, total_steps=600)
    exponents = {}
    sample = training.replay.sample

    def noting_sample(batch_size, generator, *, importance_exponent=None):
        if importance_exponent is not None:  # the held-out states have none
            exponents[training.steps] = importance_exponent
        return sample(batch_size, generator)

    monkeypatch.setattr(training.replay, "sample", noting_sample)
    list(train(training))
    assert max(exponents) > 590
    for steps, exponent in exponents.items():
        assert exponent == pytest.approx(0.4 + 0.6 * steps / 600)


def test_the_discount_grows_from_the_replays_to_the_final_one():
    training = make_training(
        final_discount=0.975, discount_growth_starts=200, discount_growth_steps=300, total_steps=600
    )
    discounts = {}
    for metrics in train(training):
        discounts[training.steps] = metrics["learning/discount"]
    # 1 - discount is 0.1 at first and a quarter of it at the end.
    assert discounts[102] == pytest.approx(0.9)
    assert discounts[300] == pytest.approx(1 - 0.1 * 0.25 ** (100 / 300))
    assert discounts[600] == 0.975
    batch = training.replay.sample(50, np.random.default_rng(0))
    assert batch.discount.max() == np.float32(0.975**3)


@pytest.mark.parametrize(("is_terminal", "expected"), [(True, 0.0), (False, 0.9**3)])
def test_a_lost_life_ends_the_return_only_when_asked(is_terminal, expected):
    training = make_training(life_loss_is_terminal=is_terminal, total_steps=21, learning_starts=1_000)
    step = training.environment.step

    def lose_a_life_each_step(actions):
        frames, rewards, terminated, truncated, info = step(actions)
        return frames, rewards, terminated, truncated, info | {"life_lost": np.ones(NUM_ENVS, bool)}

    training.environment.step = lose_a_life_each_step
    list(train(training))
    batch = training.replay.sample(5, np.random.default_rng(0))
    assert (batch.discount == np.float32(expected)).all()


def test_without_its_replay_a_resumed_run_refills_it_before_it_learns():
    training = make_training(learning_starts=90)
    metrics = train(training)
    for _ in range(3):
        next(metrics)
    state = copy.deepcopy(training.state_dict(with_replay=False))
    resumed = make_training(learning_starts=90)
    resumed.load_state_dict(state)
    updates = resumed.agent.updates
    assert updates > 0
    owed = state["samples_owed"]
    list(train(resumed))
    assert resumed.agent.updates == updates + (owed + (600 - state["steps"] - 90) * 2) // 13


def test_a_loss_that_is_not_finite_says_where_it_happened():
    training = make_training(learning_rate=1e30)
    with pytest.raises(NonFiniteLossError, match=r"the loss is (nan|inf) at update \d+"):
        list(train(training))


def test_learning_that_starts_before_there_is_a_transition_is_refused():
    message = "learning_starts must be at least 12, n_step .* each of 3 environments, .* got 11"
    with pytest.raises(ValueError, match=message):
        make_training(learning_starts=11)
    list(train(make_training(learning_starts=12, total_steps=21)))


def test_an_environment_that_omits_the_final_frames_is_refused():
    training = make_training()
    step = training.environment.step

    def forget_final_frames(actions):
        *outcome, info = step(actions)
        del info["final_obs"]
        return *outcome, info

    training.environment.step = forget_final_frames
    with pytest.raises(KeyError, match="final_obs"):
        next(train(training))


def test_frames_that_cannot_fill_the_encoders_stack_are_refused():
    training = make_training()
    training.agent.network.encoder.frame_shape = (STACK, 42, 42)
    with pytest.raises(ValueError, match=r"takes stacks of shape \(2, 42, 42\), which frames of shape \(1, 84, 84\)"):
        agent_stack(training.agent, training.environment)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"final_discount": 1.0}, r"final_discount must lie within \(0, 1\) or be None, got 1.0"),
        ({"discount_growth_starts": -1}, "discount_growth_starts must be at least 0, got -1"),
    ],
)
def test_a_growth_of_the_discount_without_sense_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**settings)


@pytest.mark.parametrize("name", ["total_steps", "batch_size", "samples_per_step", "log_every_steps"])
def test_settings_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        TrainingConfig(**{name: 0})
