"""Pressing FIRE once at the start of every episode."""

from typing import Any, TypeVar

import gymnasium as gym

Observation = TypeVar("Observation")
Action = TypeVar("Action")


class FireAtReset(gym.Wrapper[Observation, Action, Observation, Action], gym.utils.RecordConstructorArgs):
    """Takes the action FIRE once after every reset: some games wait for it before anything moves."""

    def __init__(self, env: gym.Env[Observation, Action]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        meanings = self.get_wrapper_attr("get_action_meanings")()
        if "FIRE" not in meanings:
            raise ValueError(f"FireAtReset needs an environment with the action FIRE, got the actions {meanings}")
        self._fire = meanings.index("FIRE")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Resets and returns the observation after FIRE."""
        _, reset_info = self.env.reset(seed=seed, options=options)
        observation, _, _, _, info = self.env.step(self._fire)
        return observation, {**reset_info, **info}
