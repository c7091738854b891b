"""Plays vector environments at random, for the commands that examine replay buffers on real play."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from agents import FrameStacker
from envs import SeededEpisodes


class PlayedStep(NamedTuple):
    """One step of N environments, as `Replay.append` takes it, and the frames that the next step starts from."""

    frames: Shaped[np.ndarray, "n c h w"]  # before the action
    actions: Int[np.ndarray, " n"]
    rewards: Float[np.ndarray, " n"]
    terminal: Bool[np.ndarray, " n"]  # a true end or a life lost
    ended: Bool[np.ndarray, " n"]  # truly or by truncation
    final_frames: Shaped[np.ndarray, "n c h w"]  # after the action, where ended
    next_frames: Shaped[np.ndarray, "n c h w"]  # after the action; of the next episode, where ended


def play_at_random(environment: SeededEpisodes, *, seed: int) -> Iterator[PlayedStep]:
    """Yields the steps of uniformly random play, without end, from the environment's next episodes on."""
    space = environment.single_action_space
    assert isinstance(space, gym.spaces.Discrete)
    generator = np.random.default_rng(seed)
    frames, _ = environment.reset()
    while True:
        actions = generator.integers(space.n, size=environment.num_envs)
        next_frames, rewards, terminated, truncated, info = environment.step(actions)
        yield PlayedStep(
            frames=frames,
            actions=actions,
            rewards=rewards,
            terminal=terminated | info["life_lost"],
            ended=terminated | truncated,
            final_frames=info["final_obs"],
            next_frames=next_frames,
        )
        frames = next_frames


class StackedStep(NamedTuple):
    """One step of N environments as Stable-Baselines3's collecting loop hands it to its replay buffer."""

    observation: Shaped[np.ndarray, "n stack_c h w"]
    next_observation: Shaped[np.ndarray, "n stack_c h w"]  # ends with the final frame, where ended
    done: Bool[np.ndarray, " n"]
    infos: list[dict[str, Any]]


class StackedSteps:
    """Turns the steps of play into the stacks that Stable-Baselines3's buffers store, in the order of play."""

    def __init__(self, num_envs: int, frame_shape: tuple[int, int, int], stack: int) -> None:
        self._channels = frame_shape[0]
        self._stacker = FrameStacker(num_envs, frame_shape, stack)
        self._started = False

    def next(self, step: PlayedStep) -> StackedStep:
        """Returns the next step; a lost life is done, a truncation is done and named in the infos."""
        if not self._started:
            self._stacker.reset(step.frames)
            self._started = True
        observation = self._stacker.stacks.copy()
        next_observation = self._stacker.push(step.next_frames, step.ended).copy()
        older = observation[step.ended, self._channels :]
        next_observation[step.ended] = np.concatenate([older, step.final_frames[step.ended]], axis=1)
        truncated = step.ended & ~step.terminal
        return StackedStep(
            observation=observation,
            next_observation=next_observation,
            done=step.ended | step.terminal,
            infos=[{"TimeLimit.truncated": bool(flag)} for flag in truncated],
        )
