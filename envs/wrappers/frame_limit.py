"""Ending an episode after a number of emulator frames, without mistaking a real end for it."""

from typing import Any, SupportsFloat, TypeVar

import gymnasium as gym

Observation = TypeVar("Observation")
Action = TypeVar("Action")


class FrameLimit(gym.Wrapper[Observation, Action, Observation, Action], gym.utils.RecordConstructorArgs):
    """Truncates an episode at its `max_frames`-th step; an episode that truly ends there is terminated, not truncated.

    Wraps an environment whose step is one frame. Steps that wrappers inside take at a reset do not count. Gymnasium's
    TimeLimit reports such an end as both, and a learner that looks at `truncated` first would bootstrap from it.
    """

    def __init__(self, env: gym.Env[Observation, Action], *, max_frames: int) -> None:
        if max_frames < 1:
            raise ValueError(f"max_frames must be at least 1, got {max_frames}")
        gym.utils.RecordConstructorArgs.__init__(self, max_frames=max_frames)
        gym.Wrapper.__init__(self, env)
        self._max_frames = max_frames
        self._frames = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Resets the environment and the count."""
        self._frames = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Action) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Steps one frame and truncates at the limit."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._frames += 1
        truncated = truncated or (self._frames >= self._max_frames and not terminated)
        return observation, reward, terminated, truncated, info
