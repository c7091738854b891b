"""Plays vector environments at random, for the commands that examine a replay on real play."""

from collections.abc import Iterator
from typing import NamedTuple

import gymnasium as gym
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

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
