"""Starting every episode after a random number of idle steps, so that the starts differ (Mnih et al. 2015)."""

from typing import Any, TypeVar

import gymnasium as gym

Observation = TypeVar("Observation")
Action = TypeVar("Action")


class NoopStart(gym.Wrapper[Observation, Action, Observation, Action], gym.utils.RecordConstructorArgs):
    """Takes the first action, which must be NOOP, a random number of times after every reset.

    The number is uniform over 0..max_steps, as in ale-py's vector environment; Gymnasium's AtariPreprocessing draws
    from 1..max_steps. `steps_taken` is how many of these the environment has already used up by itself at its reset.
    """

    def __init__(self, env: gym.Env[Observation, Action], *, max_steps: int, steps_taken: int = 0) -> None:
        if max_steps < 0:
            raise ValueError(f"max_steps must be at least 0, got {max_steps}")
        gym.utils.RecordConstructorArgs.__init__(self, max_steps=max_steps, steps_taken=steps_taken)
        gym.Wrapper.__init__(self, env)
        meanings = self.get_wrapper_attr("get_action_meanings")()
        if meanings[0] != "NOOP":
            raise ValueError(f"NoopStart needs an environment whose first action is NOOP, got {meanings[0]}")
        self._max_steps = max_steps
        self._steps_taken = steps_taken

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Resets and returns the observation after the idle steps; a game that ends in them is started again."""
        observation, info = self.env.reset(seed=seed, options=options)
        num_steps = int(self.np_random.integers(self._max_steps + 1)) - self._steps_taken
        for _ in range(num_steps):
            observation, _, terminated, truncated, step_info = self.env.step(0)  # type: ignore[arg-type]
            info = {**info, **step_info}
            if terminated or truncated:
                observation, info = self.env.reset(options=options)
        return observation, info
