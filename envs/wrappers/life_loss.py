"""Telling the learner that a life was lost, without ending the episode."""

from typing import Any, SupportsFloat, TypeVar

import gymnasium as gym

Observation = TypeVar("Observation")
Action = TypeVar("Action")


class LifeLossSignal(gym.Wrapper[Observation, Action, Observation, Action], gym.utils.RecordConstructorArgs):
    """Adds info["life_lost"]: whether info["lives"] fell in this step. False at a reset and where the episode ends.

    The count alone says nothing: some games (BankHeist) are played on with zero lives left.
    """

    def __init__(self, env: gym.Env[Observation, Action]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self._lives = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Resets the environment and takes note of its lives."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._lives = info["lives"]
        return observation, {**info, "life_lost": False}

    def step(self, action: Action) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Steps the environment and compares its lives with those before."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        life_lost = info["lives"] < self._lives and not (terminated or truncated)
        self._lives = info["lives"]
        return observation, reward, terminated, truncated, {**info, "life_lost": life_lost}
