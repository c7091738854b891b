"""Starting every episode after a random number of idle frames, so that the starts differ (Mnih et al. 2015)."""

from typing import Any, TypeVar

import ale_py
import gymnasium as gym

Observation = TypeVar("Observation")
Action = TypeVar("Action")


class NoopStart(gym.Wrapper[Observation, Action, Observation, Action], gym.utils.RecordConstructorArgs):
    """Lets an `ale_py.AtariEnv` idle for a random number of emulator frames after every reset.

    The number is uniform over 0..max_frames, as in ale-py's vector environment; Gymnasium's AtariPreprocessing draws
    from 1..max_frames. `frames_taken` is how many of these the environment has already used up by itself at its reset.
    """

    def __init__(self, env: gym.Env[Observation, Action], *, max_frames: int, frames_taken: int = 0) -> None:
        if max_frames < 0:
            raise ValueError(f"max_frames must be at least 0, got {max_frames}")
        gym.utils.RecordConstructorArgs.__init__(self, max_frames=max_frames, frames_taken=frames_taken)
        gym.Wrapper.__init__(self, env)
        if not isinstance(env.unwrapped, ale_py.AtariEnv):
            raise ValueError(f"NoopStart needs an ale_py.AtariEnv, got {type(env.unwrapped).__name__}")
        self._max_frames = max_frames
        self._frames_taken = frames_taken

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Resets and returns the observation after the idle frames; a game that ends in them is started again."""
        observation, info = self.env.reset(seed=seed, options=options)
        num_frames = int(self.np_random.integers(self._max_frames + 1)) - self._frames_taken
        if num_frames <= 0:
            return observation, info
        atari: Any = self.unwrapped
        for _ in range(num_frames):
            # Not a step: Backgammon and VideoCheckers are played without the action NOOP.
            atari.ale.act(ale_py.Action.NOOP)
            if atari.ale.game_over():
                atari.ale.reset_game()
        return atari._get_obs(), {**info, **atari._get_info()}
