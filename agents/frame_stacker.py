"""Stacks the newest frames of every environment while acting."""

import numpy as np
from jaxtyping import Bool, Shaped
from numpy.typing import DTypeLike

Frames = Shaped[np.ndarray, "n c *rest"]
Stacks = Shaped[np.ndarray, "n stacked *rest"]


class FrameStacker:
    """Keeps the last `stack` frames of each of `num_envs` environments, oldest first along the channel axis.

    The stack at an episode's start repeats its first frame, as the replay and `make_atari` do. A frame is uint8
    (c, h, w), or anything else with at least one axis.
    """

    def __init__(self, num_envs: int, frame_shape: tuple[int, ...], stack: int, *, dtype: DTypeLike = np.uint8) -> None:
        self._channels, *rest = frame_shape
        self.stacks: Stacks = np.zeros((num_envs, stack * self._channels, *rest), dtype)

    def reset(self, frames: Frames, mask: Bool[np.ndarray, " n"] | None = None) -> Stacks:
        """Begins an episode with `frames` where `mask` is true (everywhere without one); returns all stacks."""
        rows = slice(None) if mask is None else mask
        repeats = self.stacks.shape[1] // self._channels
        self.stacks[rows] = np.concatenate([frames[rows]] * repeats, axis=1)
        return self.stacks

    def push(self, frames: Frames, started: Bool[np.ndarray, " n"]) -> Stacks:
        """Appends a frame to each stack; where `started` is true the frame begins an episode. Returns all stacks."""
        self.stacks[:, : -self._channels] = self.stacks[:, self._channels :]
        self.stacks[:, -self._channels :] = frames
        if started.any():
            self.reset(frames, started)
        return self.stacks

    def after(self, frames: Frames) -> Stacks:
        """Returns what the stacks would be with these frames appended, and leaves them as they are."""
        return np.concatenate([self.stacks[:, self._channels :], frames], axis=1)
