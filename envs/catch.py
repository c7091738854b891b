"""Catch: a fruit falls, a paddle at the bottom catches it. A pixel game of a few steps that needs no ROM."""

from typing import Any

import gymnasium as gym
import numpy as np
from jaxtyping import Int, UInt8

from .seeded_episodes import SeededEpisodes

_CELLS = 12  # the court is this many cells wide and high
_PADDLE_CELLS = 3

# Of court, paddle and ball: grey for the agent, RGB for people.
_GREYS = np.array([32, 160, 255], dtype=np.uint8)
_COLOURS = np.array([[24, 28, 44], [86, 156, 255], [255, 206, 84]], dtype=np.uint8)


class Catch(gym.Env[UInt8[np.ndarray, "1 h w"], np.int64]):
    """Catch `num_balls` balls, one after another; each is +1 when caught and -1 when missed.

    Observations are uint8 (1, frame_size, frame_size): a bright ball and a paddle over a dark court. Actions: 0 stays,
    1 moves the paddle one cell left, 2 right. A ball falls one cell per step and drifts sideways, bouncing off the
    walls; every ball can be caught. The game ends with the last ball.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 12}

    def __init__(self, *, num_balls: int = 1, frame_size: int = 84, render_mode: str | None = None) -> None:
        if num_balls < 1:
            raise ValueError(f"num_balls must be at least 1, got {num_balls}")
        if frame_size < _CELLS or frame_size % _CELLS:
            raise ValueError(f"frame_size must be a multiple of {_CELLS}, got {frame_size}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")
        self.observation_space = gym.spaces.Box(0, 255, (1, frame_size, frame_size), np.uint8)
        self.action_space = gym.spaces.Discrete(3)
        self.render_mode = render_mode
        self._num_balls = num_balls
        self._pixels = frame_size // _CELLS
        self._balls_left = 0
        self._paddle = self._row = self._column = self._drift = 0  # in cells; set by reset

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[UInt8[np.ndarray, "1 h w"], dict[str, Any]]:
        """Puts the paddle somewhere and drops the first ball."""
        super().reset(seed=seed)
        self._balls_left = self._num_balls
        self._paddle = int(self.np_random.integers(_CELLS - _PADDLE_CELLS + 1))  # its leftmost cell
        self._drop_ball()
        return self._frame(), {}

    def step(self, action: Any) -> tuple[UInt8[np.ndarray, "1 h w"], float, bool, bool, dict[str, Any]]:
        """Moves the paddle, then the ball; the reward comes when the ball reaches the paddle's row."""
        self._paddle = int(np.clip(self._paddle + (0, -1, 1)[action], 0, _CELLS - _PADDLE_CELLS))
        if not 0 <= self._column + self._drift < _CELLS:
            self._drift = -self._drift
        self._column += self._drift
        self._row += 1
        if self._row < _CELLS - 1:
            return self._frame(), 0.0, False, False, {}
        frame = self._frame()  # shows the ball caught, or beside the paddle
        caught = 0 <= self._column - self._paddle < _PADDLE_CELLS
        self._balls_left -= 1
        if self._balls_left:
            self._drop_ball()
        return frame, 1.0 if caught else -1.0, self._balls_left == 0, False, {}

    def render(self) -> UInt8[np.ndarray, "h w 3"] | None:
        """Returns the frame in colour, with render_mode="rgb_array"."""
        return self._enlarged(_COLOURS[self._court()]) if self.render_mode == "rgb_array" else None

    def _drop_ball(self) -> None:
        self._row = 0
        self._column = int(self.np_random.integers(_CELLS))
        self._drift = int(self.np_random.integers(-1, 2))

    def _frame(self) -> UInt8[np.ndarray, "1 h w"]:
        return self._enlarged(_GREYS[self._court()])[None]

    def _court(self) -> Int[np.ndarray, "h w"]:
        court = np.zeros((_CELLS, _CELLS), dtype=np.int64)
        court[-1, self._paddle : self._paddle + _PADDLE_CELLS] = 1
        court[self._row, self._column] = 2
        return court

    def _enlarged(self, cells: UInt8[np.ndarray, "h w ..."]) -> UInt8[np.ndarray, "H W ..."]:
        return cells.repeat(self._pixels, axis=0).repeat(self._pixels, axis=1)


def make_catch_vector(
    *, num_envs: int, seed: int = 0, num_balls: int = 1, frame_size: int = 84, reseed_every_steps: int = 20_000
) -> SeededEpisodes:
    """Returns `num_envs` games of Catch with frames uint8 (num_envs, 1, H, W), stepped as `make_atari_vector`'s are."""
    if num_envs < 1:
        raise ValueError(f"num_envs must be at least 1, got {num_envs}")
    env = gym.vector.SyncVectorEnv(
        [lambda: Catch(num_balls=num_balls, frame_size=frame_size)] * num_envs,
        autoreset_mode=gym.vector.AutoresetMode.SAME_STEP,
    )
    return SeededEpisodes(env, seed=seed, reseed_every_steps=reseed_every_steps)
