"""Plays full games with an agent and returns their raw scores."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from .exploration import epsilon_greedy
from .frame_stacker import FrameStacker
from .score_statistics import Interval, bootstrap_interval, interquartile_mean


@runtime_checkable
class ActingAgent(Protocol):
    """Chooses an action for each stack of frames, given on the CPU."""

    def act(self, observations: Shaped[Tensor, "n stacked *rest"]) -> Int[Tensor, " n"]:
        """Returns one action per stack of frames."""
        ...


class PlayedGame(NamedTuple):
    """One full game."""

    number: int  # from 0 to the number of games less one, whatever the order in which games end
    score: float  # raw
    length: int  # in agent steps
    truncated: bool  # cut off at the environment's time limit


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The games of one evaluation by their number: raw scores, lengths in agent steps, and how they were played."""

    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    truncated: tuple[bool, ...]  # games that were cut off at the environment's time limit
    epsilon: float
    seed: int

    @classmethod
    def of(cls, games: Iterable[PlayedGame], *, epsilon: float, seed: int) -> "Evaluation":
        """Returns the evaluation that consists of `games`, given in any order."""
        ordered = sorted(games)
        return cls(
            returns=tuple(game.score for game in ordered),
            lengths=tuple(game.length for game in ordered),
            truncated=tuple(game.truncated for game in ordered),
            epsilon=epsilon,
            seed=seed,
        )

    @property
    def num_games(self) -> int:
        """The number of games."""
        return len(self.returns)

    @property
    def mean(self) -> float:
        """The mean score."""
        return float(np.mean(self.returns))

    @property
    def median(self) -> float:
        """The median score."""
        return float(np.median(self.returns))

    @property
    def interquartile_mean(self) -> float:
        """The mean of the middle half of the scores."""
        return interquartile_mean(np.asarray(self.returns))

    def mean_interval(self, *, confidence: float = 0.95) -> Interval | None:
        """Returns the bootstrap interval of the mean over the games, or None for a single game."""
        games = [np.asarray(self.returns)]
        return bootstrap_interval(games, lambda samples: samples[0].mean(axis=-1), confidence=confidence)


def evaluate(
    agent: ActingAgent,
    envs: gym.vector.VectorEnv[Any, Any, Any],
    *,
    num_games: int,
    stack: int,
    seed: int,
    epsilon: float = 0.01,
) -> Evaluation:
    """Plays exactly `num_games` full games with `play_games` and returns their scores."""
    games = play_games(agent, envs, num_games=num_games, stack=stack, seed=seed, epsilon=epsilon)
    return Evaluation.of(games, epsilon=epsilon, seed=seed)


def play_games(
    agent: ActingAgent,
    envs: gym.vector.VectorEnv[Any, Any, Any],
    *,
    num_games: int,
    stack: int,
    seed: int,
    epsilon: float = 0.01,
) -> Iterator[PlayedGame]:
    """Plays exactly `num_games` full games, epsilon-greedily and in parallel, and yields each as it ends.

    Each environment plays a share of the games that is fixed beforehand, so that short games are not counted more
    often than long ones. An environment that has played its share is stepped on, but not looked at: `num_games` equal
    to `envs.num_envs`, or a multiple of it, wastes least. The same seed, number of environments and agent give the
    same games.

    `envs` returns its newest frames (n, c, h, w), raw rewards, and the next episode's first frame on the step that ends
    one (same-step autoreset), as `envs.SeededEpisodes` does.
    """
    num_actions = _num_actions(envs)
    if num_games < 1:
        raise ValueError(f"num_games must be at least 1, got {num_games}")
    if not 0.0 <= epsilon <= 1.0:
        raise ValueError(f"epsilon must fall within [0, 1], got {epsilon}")
    # Environment e plays the games e, e + n, e + 2n, ...
    shares = np.bincount(np.arange(num_games) % envs.num_envs, minlength=envs.num_envs)
    generator = np.random.default_rng(seed)
    frames, _ = envs.reset(seed=seed)
    stacker = FrameStacker(envs.num_envs, frames.shape[1:], stack, dtype=frames.dtype)
    stacks = stacker.reset(frames)
    scores, lengths = np.zeros(envs.num_envs), np.zeros(envs.num_envs, np.int64)
    played = np.zeros(envs.num_envs, np.int64)
    while (playing := played < shares).any():
        greedy = np.zeros(envs.num_envs, np.int64)
        # Only the games that count are looked at: the last long game should not cost as much as all of them.
        greedy[playing] = agent.act(torch.from_numpy(stacks[playing])).cpu().numpy()
        # Coins are drawn for every environment: how one game is explored does not depend on when another ends.
        everywhere = np.full(envs.num_envs, epsilon)
        actions = epsilon_greedy(greedy, epsilon=everywhere, num_actions=num_actions, generator=generator)
        frames, rewards, terminated, truncated, _ = envs.step(actions)
        scores += rewards
        lengths += 1
        ended = terminated | truncated
        for env in np.flatnonzero(ended & playing):
            number = int(env + played[env] * envs.num_envs)
            cut_off = bool(truncated[env] and not terminated[env])
            yield PlayedGame(number, float(scores[env]), int(lengths[env]), cut_off)
        played[ended] += 1
        scores[ended] = 0.0
        lengths[ended] = 0
        stacks = stacker.push(frames, ended)


def _num_actions(envs: gym.vector.VectorEnv[Any, Any, Any]) -> int:
    space = envs.single_action_space
    if not isinstance(space, gym.spaces.Discrete):
        raise ValueError(f"an evaluation needs discrete actions, got {space}")
    return int(space.n)
