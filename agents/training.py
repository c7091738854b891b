"""The training loop: step every environment once, meanwhile learn as often as the steps before have earned, store.

The loop is a generator of metrics. All of its state is in a `Training`, and every yield is a point at which that
state can be saved: a run resumed from it gives the numbers of a run that never stopped.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from .dqn import DQN, NonFiniteLossError
from .encoder import frames_per_observation
from .exploration import ExplorationConfig, epsilon_greedy, epsilons
from .frame_stacker import FrameStacker
from .replay import Replay
from .transition import UpdateResult

Metrics = dict[str, float]


@runtime_checkable
class VectorEnvironment(Protocol):
    """What training needs of a vector of games: newest frames, same-step autoreset, and a state that can be saved."""

    num_envs: int
    single_observation_space: Any  # a Box of frames (C, H, W), uint8, or of features (d,), float32
    single_action_space: Any  # Discrete

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Shaped[np.ndarray, "n *item"], dict[str, Any]]:
        """Begins an episode in every environment."""
        ...

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Returns frames, raw rewards, terminated, truncated and an info with `life_lost` and `final_obs`.

        Called in a thread of its own; no other method is called meanwhile.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Returns what `load_state_dict` needs to continue every episode exactly."""
        ...

    def load_state_dict(self, state: dict[str, Any], *, on_step: Callable[[int], None] | None = None) -> Any:
        """Restores every environment to the state that was saved; calls `on_step(steps taken)` as it plays again."""
        ...


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long to train, and how much to learn from each step. A step is one action of one environment."""

    total_steps: int = 50_000_000  # Mnih et al. 2015: 200 million emulator frames
    learning_starts: int = 50_000  # steps of uniformly random play first
    batch_size: int = 32
    samples_per_step: int = 8  # one batch of 32 every 4 steps
    life_loss_is_terminal: bool = True
    importance_exponent: float = 0.4  # of prioritised replay; annealed linearly to 1 (Schaul et al. 2016, section 3.4)
    # 1 - discount falls exponentially from the replay's to that of `final_discount`: near rewards are learned first,
    # far ones then (Schwarzer et al. 2023, BBF). None: the discount stays.
    final_discount: float | None = None
    discount_growth_starts: int = 0  # after so many steps
    discount_growth_steps: int = 1_000_000
    held_out_states: int = 512  # on which the mean maximal Q of Mnih et al. 2013, section 5.1, is taken
    log_every_steps: int = 5_000
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)

    def __post_init__(self) -> None:
        for name in (
            "total_steps",
            "learning_starts",
            "batch_size",
            "samples_per_step",
            "discount_growth_steps",
            "held_out_states",
            "log_every_steps",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.importance_exponent <= 1:
            raise ValueError(f"importance_exponent must be within [0, 1], got {self.importance_exponent}")
        if self.discount_growth_starts < 0:
            raise ValueError(f"discount_growth_starts must be at least 0, got {self.discount_growth_starts}")
        if self.final_discount is not None and not 0 < self.final_discount < 1:
            raise ValueError(f"final_discount must lie within (0, 1) or be None, got {self.final_discount}")


class Training:
    """One run of training: the agent, its games and its memory, and every counter the loop moves."""

    def __init__(
        self, *, agent: DQN, environment: VectorEnvironment, replay: Replay, config: TrainingConfig, seed: int
    ):
        """Begins an episode in every environment; `seed` draws explored actions and sampled batches."""
        first_transitions = environment.num_envs * (replay.n_step + 1)
        if config.learning_starts < first_transitions:
            raise ValueError(
                f"learning_starts must be at least {first_transitions}, n_step + 1 steps of each of "
                f"{environment.num_envs} environments, for the replay to hold a transition, "
                f"got {config.learning_starts}"
            )
        self.agent = agent
        self.environment = environment
        self.replay = replay
        self.config = config
        self.steps = 0
        self._learning_from_step = config.learning_starts
        self._first_discount = replay.discount
        if config.final_discount is not None and not replay.discount < 1:
            raise ValueError(f"a discount that grows must begin below 1, got {replay.discount}")
        self._samples_owed = 0
        self._generator = np.random.default_rng(seed)
        space = environment.single_observation_space
        stack = agent_stack(agent, environment)
        self._stacker = FrameStacker(environment.num_envs, space.shape, stack, dtype=space.dtype)
        self._held_out: Shaped[Tensor, "k ..."] | None = None
        self._episode_return = np.zeros(environment.num_envs)
        self._episode_length = np.zeros(environment.num_envs, np.int64)
        self.recent_returns: deque[float] = deque(maxlen=20)
        self._background = ThreadPoolExecutor(max_workers=1, thread_name_prefix="environments")
        frames, _ = environment.reset()
        self._frames = frames
        self._stacker.reset(frames)

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.steps >= self.config.total_steps

    @property
    def recent_score(self) -> float | None:
        """Mean return of the last 20 training episodes, None before the first."""
        return float(np.mean(self.recent_returns)) if self.recent_returns else None

    def state_dict(self, *, with_replay: bool = True) -> dict[str, Any]:
        """Returns tensors, numbers and strings from which `load_state_dict` continues exactly.

        Without the replay a resumed run first plays `learning_starts` steps to refill it, with its present epsilon,
        so it no longer equals one that never stopped.
        """
        state = {
            "steps": self.steps,
            "learning_from_step": self._learning_from_step,
            "samples_owed": self._samples_owed,
            "generator": self._generator.bit_generator.state,
            "held_out": self._held_out,
            "episode_return": torch.from_numpy(self._episode_return.copy()),
            "episode_length": torch.from_numpy(self._episode_length.copy()),
            "recent_returns": list(self.recent_returns),
            "stacks": torch.from_numpy(self._stacker.stacks.copy()),
            "frames": torch.from_numpy(self._frames.copy()),
            "agent": self.agent.state_dict(),
            "environment": self.environment.state_dict(),
        }
        return state | ({"replay": self.replay.state_dict()} if with_replay else {})

    def load_state_dict(self, state: dict[str, Any], *, on_step: Callable[[int], None] | None = None) -> None:
        """Continues where `state_dict` was taken; `on_step` as in `VectorEnvironment.load_state_dict`."""
        self.steps = state["steps"]
        self._samples_owed = state["samples_owed"]
        self._generator.bit_generator.state = state["generator"]
        self._held_out = state["held_out"]
        self._episode_return = state["episode_return"].numpy().copy()
        self._episode_length = state["episode_length"].numpy().copy()
        self.recent_returns = deque(state["recent_returns"], maxlen=self.recent_returns.maxlen)
        self._stacker.stacks[:] = state["stacks"].numpy()
        self._frames = state["frames"].numpy().copy()
        self.agent.load_state_dict(state["agent"])
        self.environment.load_state_dict(state["environment"], on_step=on_step)
        if "replay" in state:
            self._learning_from_step = state["learning_from_step"]
            self.replay.load_state_dict(state["replay"])
        else:
            self._learning_from_step = self.steps + self.config.learning_starts

    def step(self, interval: "Interval") -> None:
        """Takes one step in every environment and stores it; learns while the environments are busy.

        The two share nothing that changes, so that the numbers are those of one after the other.
        """
        actions = self._choose_actions(interval)
        stepped = self._background.submit(self.environment.step, actions)
        try:
            self._learn(interval)
        finally:  # also where the loss went wrong: no environment is left in the middle of a step
            with interval.timed("stepping"):
                outcome = stepped.result()
        self._store(actions, outcome, interval)

    def _choose_actions(self, interval: "Interval") -> Int64[np.ndarray, " n"]:
        num_envs, epsilon = self.environment.num_envs, self.epsilons()
        with interval.timed("acting"):
            stacks = torch.from_numpy(self._stacker.stacks)
            greedy = self.agent.act(stacks).numpy() if epsilon.min() < 1 else np.zeros(num_envs, np.int64)
            num_actions = int(self.environment.single_action_space.n)
            return epsilon_greedy(greedy, epsilon=epsilon, num_actions=num_actions, generator=self._generator)

    def _store(self, actions: Int64[np.ndarray, " n"], outcome: tuple[Any, ...], interval: "Interval") -> None:
        next_frames, rewards, terminated, truncated, info = outcome
        ended = terminated | truncated
        terminal = terminated | info["life_lost"] if self.config.life_loss_is_terminal else terminated
        with interval.timed("storing"):
            self.replay.append(
                frames=self._frames,
                actions=actions,
                rewards=rewards,
                terminal=terminal,
                ended=ended,
                final_frames=info["final_obs"],
            )
            self._frames = next_frames
            self._stacker.push(next_frames, ended)
        self.steps += self.environment.num_envs
        if self.steps > self._learning_from_step:
            self._samples_owed += self.environment.num_envs * self.config.samples_per_step
        self._note_episodes(rewards, ended, interval)

    def _note_episodes(
        self, rewards: Float[np.ndarray, " n"], ended: Bool[np.ndarray, " n"], interval: "Interval"
    ) -> None:
        self._episode_return += rewards
        self._episode_length += 1
        for finished in np.flatnonzero(ended):
            interval.returns.append(float(self._episode_return[finished]))
            interval.lengths.append(int(self._episode_length[finished]))
            self.recent_returns.append(interval.returns[-1])
        self._episode_return[ended] = 0
        self._episode_length[ended] = 0

    def _learn(self, interval: "Interval") -> None:
        """Makes the updates that the steps so far have earned: none before learning starts."""
        if self.steps < self._learning_from_step:
            return
        config, replay, agent = self.config, self.replay, self.agent
        if self._held_out is None:
            self._held_out = replay.sample(config.held_out_states, self._generator).observation.cpu()
            agent.fit_feature_scale(self._held_out)
        beta = self._importance_exponent()
        replay.discount = self.discount
        while self._samples_owed >= config.batch_size:
            with interval.timed("sampling"):
                batch = replay.sample(config.batch_size, self._generator, importance_exponent=beta)
            with interval.timed("learning"):
                result = agent.update(batch)
                try:
                    replay.set_priorities(batch.slot, result.error)
                except FloatingPointError as error:  # on a GPU this is the first look at the loss
                    raise NonFiniteLossError(f"the loss is not finite at update {agent.updates - 1}") from error
            interval.add(result, replay.mean_age(batch.slot))
            self._samples_owed -= config.batch_size

    def epsilons(self) -> Float[np.ndarray, " n"]:
        """Returns every environment's epsilon: 1 until learning starts, decaying from there."""
        num_envs = self.environment.num_envs
        learning_steps = self.steps - self.config.learning_starts
        if learning_steps < 0:
            return np.ones(num_envs)
        return epsilons(self.config.exploration, step=learning_steps, num_envs=num_envs)

    @property
    def discount(self) -> float:
        """Gamma of the next update."""
        config, first = self.config, 1 - self._first_discount
        if config.final_discount is None:
            return self._first_discount
        growth_steps = max(self.steps - config.discount_growth_starts, 0)
        progress = min(growth_steps / config.discount_growth_steps, 1.0)
        left: float = first * ((1 - config.final_discount) / first) ** progress
        return 1 - left

    def _importance_exponent(self) -> float:
        """Returns beta, which reaches 1 at the last step (Schaul et al. 2016, section 3.4)."""
        first = self.config.importance_exponent
        return first + (1 - first) * min(self.steps / self.config.total_steps, 1.0)


def agent_stack(agent: DQN, environment: VectorEnvironment) -> int:
    """Returns how many of the environment's observations make one of the agent's: frames of its encoder, or features.

    Raises ValueError where no number of them does.
    """
    shape, encoder = environment.single_observation_space.shape, agent.network.encoder
    return 1 if tuple(shape) == (encoder.feature_dim,) else frames_per_observation(encoder, shape)


def train(training: Training) -> Iterator[Metrics]:
    """Trains until `total_steps`, yielding metrics every `log_every_steps` steps and at the end.

    Tags are explained in docs/training.md; those that depend on the clock begin with `time/`. Raises
    NonFiniteLossError with the weights from before the bad update (on a GPU: from within the last interval).
    """
    interval = Interval(training)
    while not training.finished:
        training.step(interval)
        if interval.is_over(training):
            yield interval.metrics(training)
            interval = Interval(training)


class Interval:
    """Sums up what happened between two yields; begins empty after each, so it needs no saving."""

    def __init__(self, training: Training) -> None:
        self.returns: list[float] = []
        self.lengths: list[int] = []
        self._first_step = training.steps
        self._started = time.perf_counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._updates = 0
        self._age = 0.0
        # Sums stay on the device: one read an interval, where one an update would wait for the GPU each time.
        self._sums = torch.zeros(2, device=training.agent.device)
        self._q_max = torch.full((), -torch.inf, device=training.agent.device)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Adds the time spent inside to the phase's share."""
        started = time.perf_counter()
        yield
        self._seconds[phase] += time.perf_counter() - started

    def add(self, result: UpdateResult, age: float) -> None:
        """Takes in what one update saw, and the mean age of its batch."""
        self._updates += 1
        self._age += age
        self._sums += torch.stack([result.loss, result.q_mean])
        self._q_max = torch.maximum(self._q_max, result.q_max)

    def is_over(self, training: Training) -> bool:
        """Returns whether a multiple of `log_every_steps` has gone by, or the run is finished."""
        every = training.config.log_every_steps
        return training.finished or training.steps // every > self._first_step // every

    def metrics(self, training: Training) -> Metrics:
        """Returns the metrics of docs/training.md; raises NonFiniteLossError where the loss went wrong on a GPU."""
        metrics = {"exploration/epsilon": float(training.epsilons().mean())}
        if self.returns:
            metrics["episode/return"] = float(np.mean(self.returns))
            metrics["episode/length"] = float(np.mean(self.lengths))
        if self._updates:
            loss, q_mean = (self._sums / self._updates).tolist()
            if not np.isfinite(loss):
                raise NonFiniteLossError(
                    f"the loss became {loss} between steps {self._first_step} and {training.steps}"
                )
            metrics |= {
                "learning/loss": loss,
                "learning/q_mean": q_mean,
                "learning/q_max": float(self._q_max),
                "learning/updates": float(training.agent.updates),
                "learning/discount": training.discount,
                "learning/learning_rate": training.agent.learning_rate,
                "replay/age_steps": self._age / self._updates,
            }
        if training._held_out is not None:
            held_out_values = training.agent.action_values(training._held_out)
            metrics["learning/held_out_q"] = float(held_out_values.amax(dim=1).mean())
        elapsed = time.perf_counter() - self._started
        metrics["time/steps_per_second"] = (training.steps - self._first_step) / elapsed
        for phase, seconds in self._seconds.items():
            metrics[f"time/{phase}_fraction"] = seconds / elapsed
        return metrics
