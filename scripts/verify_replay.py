"""Counts the wrong transitions that replay buffers return after being fed the same real play.

    python -m scripts.verify_replay --game Breakout --steps 200000

Plays a game at random with a short limit on episodes (so that many are truncated), and feeds every step to plain lists
of episodes, to every storage of our replay, and to Stable-Baselines3's buffers. Every transition that a buffer then
samples is compared with what the lists say it must be: all pixels, action, n-step reward, discount. About ten minutes
a game on one core; expect 0 wrong transitions in every row of `cartridge`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.utils import set_random_seed

from agents.replay import DeviceStorage, FrameStorage, Lz4Storage, RawStorage, Replay
from envs import AtariConfig, make_atari_vector
from scripts.run.benchmark_records import BenchmarkRecord, write_records
from scripts.run.command_line import run_command
from scripts.run.progress import Progress
from scripts.run.random_play import PlayedStep, StackedSteps, play_at_random

STACK = 4
DISCOUNT = 0.99
SAMPLE_EVERY = 8  # steps of all environments


@dataclass(frozen=True, kw_only=True)
class VerifyReplay:
    """What to play, and how much of it to check."""

    game: str = "Breakout"  # in a game with lives, their ends are checked too
    steps: int = 200_000  # over all environments
    num_envs: int = 7
    capacity: int = 5_003  # slots of every buffer: few, so that the rings wrap around many times
    max_episode_steps: int = 151  # then an episode is truncated
    samples_per_step: int = 1  # transitions compared for each step played, in every buffer
    seed: int = 0
    output: Path | None = None  # JSON file for the counts


class PlainTransition(NamedTuple):
    """What a transition must be."""

    observation: NDArray[Any]
    action: int
    reward: float
    discount: float
    next_observation: NDArray[Any]


@dataclass
class PlainEpisode:
    """One episode as it happened: one frame more than steps."""

    frames: list[NDArray[Any]]
    actions: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    terminal: list[bool] = field(default_factory=list)
    ended: bool = False

    def stack(self, t: int, stack: int) -> NDArray[Any]:
        """Returns the newest `stack` frames at time t, the first one repeated."""
        return np.concatenate([self.frames[max(t - back, 0)] for back in reversed(range(stack))])


class PlainEpisodes:
    """All episodes of one environment in a plain list: the slow twin of the replay.

    Observations are numbered in the order in which they came, final ones of episodes included.
    """

    def __init__(self) -> None:
        self.episodes: list[PlainEpisode] = []
        self.observations: list[tuple[PlainEpisode, int]] = []

    def append(self, step: PlayedStep, env: int) -> None:
        """Adds one environment's part of a step."""
        if not self.episodes or self.episodes[-1].ended:
            self.episodes.append(PlainEpisode([step.frames[env].copy()]))
        episode = self.episodes[-1]
        self.observations.append((episode, len(episode.actions)))
        episode.actions.append(int(step.actions[env]))
        episode.rewards.append(float(step.rewards[env]))
        episode.terminal.append(bool(step.terminal[env]))
        episode.ended = bool(step.ended[env])
        after = step.final_frames if episode.ended else step.next_frames
        episode.frames.append(after[env].copy())  # the environment may use its memory again
        if episode.ended:
            self.observations.append((episode, len(episode.actions)))

    def num_steps(self, number: int, n_step: int) -> int:
        """Returns the steps of the transition that starts at an observation, 0 where there is none (yet)."""
        episode, start = self.observations[number]
        for t in range(start, min(start + n_step, len(episode.actions))):
            last = episode.ended and t == len(episode.actions) - 1
            if t == start + n_step - 1 or episode.terminal[t] or last:
                return t + 1 - start
        return 0

    def transition(
        self, number: int, *, stack: int, n_step: int, discount: float, reward_clip: bool
    ) -> PlainTransition | None:
        """Returns the transition that starts at an observation, None where there is none (yet)."""
        num_steps = self.num_steps(number, n_step)
        if num_steps == 0:
            return None
        episode, start = self.observations[number]
        rewards = episode.rewards[start : start + num_steps]
        if reward_clip:
            rewards = [float(np.sign(reward)) for reward in rewards]
        return PlainTransition(
            observation=episode.stack(start, stack),
            action=episode.actions[start],
            reward=sum(discount**k * reward for k, reward in enumerate(rewards)),
            discount=0.0 if episode.terminal[start + num_steps - 1] else discount**num_steps,
            next_observation=episode.stack(start + num_steps, stack),
        )


@dataclass
class Mistakes:
    """Transitions compared so far, and in how many of them each part was wrong."""

    samples: int = 0
    wrong: int = 0
    parts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PlainTransition._fields, 0))
    unused_next_observation: int = 0  # wrong, but multiplied by a discount that is rightly 0

    def compare(self, sample: PlainTransition, truth: PlainTransition, *, tolerance: float) -> None:
        """Compares one sampled transition with what it must be."""
        self.samples += 1
        wrong: dict[str, bool] = {
            "observation": not np.array_equal(sample.observation, truth.observation),
            "action": sample.action != truth.action,
            "reward": bool(abs(np.float32(sample.reward) - np.float32(truth.reward)) > tolerance),
            "discount": bool(abs(np.float32(sample.discount) - np.float32(truth.discount)) > tolerance),
            "next_observation": not np.array_equal(sample.next_observation, truth.next_observation),
        }
        if wrong["next_observation"] and truth.discount == sample.discount == 0:
            self.unused_next_observation += 1
            wrong["next_observation"] = False
        self.wrong += any(wrong.values())
        for part, is_wrong in wrong.items():
            self.parts[part] += is_wrong


class Numbered(NamedTuple):
    """A sampled transition, and which observation of which environment it claims to start at."""

    env: int
    number: int
    transition: PlainTransition


class Cartridge:
    """Our replay. Its sums are rounded once, so that they must equal the lists' to the last bit."""

    implementation = "cartridge"
    tolerance = 0.0

    def __init__(self, storage: FrameStorage, name: str, *, num_envs: int, n_step: int, seed: int) -> None:
        self.setting = f"{name}, n-step {n_step}"
        # A window that reaches the newest step holds all n steps here; in the peer, as few as one.
        self.n_step = self.shortest_window = n_step
        self._slots_per_env = storage.capacity // num_envs
        self._observations = np.zeros(num_envs, dtype=np.int64)
        self._generator = np.random.default_rng(seed)
        self._replay = Replay(
            storage, num_envs=num_envs, stack=STACK, n_step=n_step, discount=DISCOUNT, reward_clip=True
        )

    def append(self, step: PlayedStep) -> None:
        """Stores one step of every environment."""
        fields = step._asdict()
        del fields["next_frames"]
        self._replay.append(**fields)
        self._observations += 1 + step.ended

    def sample(self, batch_size: int) -> list[Numbered]:
        """Returns transitions; none when it holds none yet."""
        if len(self._replay) == 0:
            return []
        batch = self._replay.sample(batch_size, self._generator)
        position, env = np.divmod(batch.slot.numpy(), len(self._observations))
        newest = self._observations[env] - 1
        number = newest - (newest - position) % self._slots_per_env
        columns = (batch.observation, batch.action, batch.reward, batch.discount, batch.next_observation)
        rows = zip(*(column.cpu().numpy() for column in columns), strict=True)
        return [Numbered(int(e), int(i), PlainTransition(*row)) for e, i, row in zip(env, number, rows, strict=True)]


class StableBaselines3:
    """One of Stable-Baselines3's buffers, with stacks and clipped rewards as its Atari wrappers make them."""

    implementation = "stable_baselines3"
    shortest_window = 1
    tolerance = 1e-6  # it adds in float32

    def __init__(self, buffer: ReplayBuffer, setting: str, *, frame_shape: tuple[int, int, int], n_step: int) -> None:
        self.setting = setting
        self.n_step = n_step
        self._buffer = buffer
        self._steps = StackedSteps(buffer.n_envs, frame_shape, STACK)
        self._numbers = np.zeros(buffer.n_envs, dtype=np.int64)
        self._actions: dict[int, int] = {}

    def append(self, step: PlayedStep) -> None:
        """Stores one step of every environment; the action tells which step it is, so that samples can be found."""
        observation, next_observation, done, infos = self._steps.next(step)
        key = self._numbers * self._buffer.n_envs + np.arange(self._buffer.n_envs)
        self._actions |= dict(zip(key.tolist(), step.actions.tolist(), strict=True))
        self._buffer.add(observation, next_observation, key, np.sign(step.rewards), done, infos)
        self._numbers += 1 + step.ended

    def sample(self, batch_size: int) -> list[Numbered]:
        """Returns transitions, by the buffer's public method."""
        batch = self._buffer.sample(batch_size)
        key = batch.actions[:, 0].numpy()
        factor = DISCOUNT if batch.discounts is None else batch.discounts[:, 0].numpy()
        discount = factor * (1 - batch.dones[:, 0].numpy())
        action = [self._actions[k] for k in key.tolist()]
        columns = (batch.observations.numpy(), action, batch.rewards[:, 0].numpy(), discount)
        rows = zip(*columns, batch.next_observations.numpy(), strict=True)
        number, env = np.divmod(key, self._buffer.n_envs)
        return [Numbered(int(e), int(i), PlainTransition(*row)) for e, i, row in zip(env, number, rows, strict=True)]


Buffer = Cartridge | StableBaselines3


def main(config: VerifyReplay) -> None:
    """Plays, compares, prints the table and writes the counts."""
    # Stable-Baselines3's buffers draw from NumPy's global generator.
    set_random_seed(config.seed)
    atari = AtariConfig(game=config.game, max_frames_per_episode=4 * config.max_episode_steps)
    environment = make_atari_vector(atari, num_envs=config.num_envs, num_threads=1, seed=config.seed)
    buffers = build_buffers(config, frame_shape=(1, atari.frame_size, atari.frame_size))
    mistakes = [Mistakes() for _ in buffers]
    with Progress(config.steps) as progress:
        for done in verify(play_at_random(environment, seed=config.seed), buffers, mistakes, config):
            progress.update(done)
    environment.close()
    print(table(buffers, mistakes))
    if config.output is not None:
        write_records(config.output, records(buffers, mistakes, config))
        print(f"wrote {config.output}")


def build_buffers(config: VerifyReplay, frame_shape: tuple[int, int, int]) -> list[Buffer]:
    """Returns every buffer to examine, each in every setting that its constructor allows."""
    buffers: list[Buffer] = []
    for n_step in (1, 3):
        storages: dict[str, FrameStorage] = {
            "raw": RawStorage(config.capacity, frame_shape),
            "lz4": Lz4Storage(config.capacity, frame_shape),
            "device (cpu)": DeviceStorage(config.capacity, frame_shape, device=torch.device("cpu")),
        }
        buffers += [
            Cartridge(storage, name, num_envs=config.num_envs, n_step=n_step, seed=config.seed)
            for name, storage in storages.items()
        ]
    space = gym.spaces.Box(0, 255, (STACK * frame_shape[0], *frame_shape[1:]), np.uint8)
    numbers = gym.spaces.Discrete(2**62)
    capacity, num_envs = config.capacity, config.num_envs
    for setting, options in {
        "ReplayBuffer": {},
        "ReplayBuffer, optimize_memory_usage": {"optimize_memory_usage": True, "handle_timeout_termination": False},
    }.items():
        peer = ReplayBuffer(capacity, space, numbers, "cpu", num_envs, **options)
        buffers.append(StableBaselines3(peer, setting, frame_shape=frame_shape, n_step=1))
    peer = NStepReplayBuffer(capacity, space, numbers, "cpu", num_envs, n_steps=3, gamma=DISCOUNT)
    buffers.append(StableBaselines3(peer, "NStepReplayBuffer, n-step 3", frame_shape=frame_shape, n_step=3))
    return buffers


def verify(
    steps: Iterator[PlayedStep], buffers: list[Buffer], mistakes: list[Mistakes], config: VerifyReplay
) -> Iterator[int]:
    """Feeds the steps to lists and buffers, and compares; yields the number of steps so far."""
    lists = [PlainEpisodes() for _ in range(config.num_envs)]
    for count, step in enumerate(islice(steps, math.ceil(config.steps / config.num_envs)), start=1):
        for env, episodes in enumerate(lists):
            episodes.append(step, env)
        for buffer in buffers:
            buffer.append(step)
        if count % SAMPLE_EVERY == 0:
            for buffer, tally in zip(buffers, mistakes, strict=True):
                for env, number, sample in buffer.sample(config.samples_per_step * config.num_envs * SAMPLE_EVERY):
                    tally.compare(sample, truth(lists[env], number, buffer), tolerance=buffer.tolerance)
            yield count * config.num_envs


def truth(episodes: PlainEpisodes, number: int, buffer: Buffer) -> PlainTransition:
    """Returns what the lists say of the longest window that the buffer may use."""
    for n_step in range(buffer.n_step, buffer.shortest_window - 1, -1):
        transition = episodes.transition(number, stack=STACK, n_step=n_step, discount=DISCOUNT, reward_clip=True)
        if transition is not None:
            return transition
    raise RuntimeError(f"a buffer returned a transition from observation {number}, where none starts")


def table(buffers: list[Buffer], mistakes: list[Mistakes]) -> str:
    """Returns a Markdown table of the counts."""
    parts = list(mistakes[0].parts)
    lines = [
        f"| implementation | setting | compared | wrong | {' | '.join(parts)} | unused next_observation |",
        f"|---|---|{'---:|' * (len(parts) + 3)}",
    ]
    for buffer, tally in zip(buffers, mistakes, strict=True):
        counts = [tally.samples, tally.wrong, *tally.parts.values(), tally.unused_next_observation]
        numbers = " | ".join(f"{count:,}" for count in counts)
        lines.append(f"| {buffer.implementation} | {buffer.setting} | {numbers} |")
    return "\n".join(lines)


def records(buffers: list[Buffer], mistakes: list[Mistakes], config: VerifyReplay) -> list[BenchmarkRecord]:
    """Returns one record of wrong transitions for every buffer."""
    return [
        BenchmarkRecord(
            benchmark="verify_replay",
            implementation=buffer.implementation,
            setting=f"{config.game}, {buffer.setting}",
            value=float(tally.wrong),
            unit=f"wrong of {tally.samples} transitions",
        )
        for buffer, tally in zip(buffers, mistakes, strict=True)
    ]


if __name__ == "__main__":
    run_command(VerifyReplay, main, documentation=__doc__)
