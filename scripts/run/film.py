"""Films an agent at play."""

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import UInt8

from agents.evaluation import ActingAgent
from agents.exploration import epsilon_greedy
from envs import Catch, make_atari

from .dqn_config import DQNRunConfig
from .seeding import integer_seed, numpy_generator


class Film(NamedTuple):
    """What a spectator saw of one game, and its score."""

    frames: UInt8[np.ndarray, "t h w 3"]
    frames_per_second: float
    score: float


def film_game(
    agent: ActingAgent, config: DQNRunConfig, *, seed: int, epsilon: float = 0.01, max_steps: int = 3_000
) -> Film:
    """Plays one full game (at most `max_steps` steps of it) and returns the pictures the emulator rendered."""
    game: Any = _build_rendered_game(config)
    generator = numpy_generator(seed, "film")
    everywhere = np.array([epsilon])
    observation, _ = game.reset(seed=integer_seed(seed, "film"))
    pictures, score, over = [game.render()], 0.0, False
    while not over and len(pictures) <= max_steps:
        greedy = agent.act(torch.from_numpy(np.asarray(observation)[None])).numpy()
        action = epsilon_greedy(greedy, epsilon=everywhere, num_actions=int(game.action_space.n), generator=generator)
        observation, reward, terminated, truncated, _ = game.step(action[0])
        pictures.append(game.render())
        score += float(reward)
        over = terminated or truncated
    frames_per_second = float(game.metadata["render_fps"])
    game.close()
    return Film(np.stack(pictures), frames_per_second, score)


def _build_rendered_game(config: DQNRunConfig) -> gym.Env[Any, Any]:
    if not config.catch:
        return make_atari(config.atari, stack=config.stack, render_mode="rgb_array")
    stacked = gym.wrappers.FrameStackObservation(Catch(render_mode="rgb_array"), config.stack, padding_type="reset")
    stack, channels, height, width = stacked.observation_space.shape or ()
    return gym.wrappers.ReshapeObservation(stacked, (stack * channels, height, width))
