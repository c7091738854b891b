"""Stacks the newest frames of every environment while acting."""

import numpy as np
from jaxtyping import Bool, UInt8

Frames = UInt8[np.ndarray, "n c h w"]
Stacks = UInt8[np.ndarray, "n stacked h w"]


class FrameStacker:
    """Keeps the last `stack` frames of each of `num_envs` environments, oldest first along the channel axis.

    The stack at an episode's start repeats its first frame, as the replay and `make_atari` do.
    """

    def __init__(self, num_envs: int, frame_shape: tuple[int, int, int], stack: int) -> None:
        channels, height, width = frame_shape
        self._channels = channels
        self.stacks: Stacks = np.zeros((num_envs, stack * channels, height, width), np.uint8)

    def reset(self, frames: Frames, mask: Bool[np.ndarray, " n"] | None = None) -> Stacks:
        """Begins an episode with `frames` where `mask` is true (everywhere without one); returns all stacks."""
        rows = slice(None) if mask is None else mask
        repeats = self.stacks.shape[1] // self._channels
        self.stacks[rows] = np.tile(frames[rows], (1, repeats, 1, 1))
        return self.stacks

    def push(self, frames: Frames, started: Bool[np.ndarray, " n"]) -> Stacks:
        """Appends a frame to each stack; where `started` is true the frame begins an episode. Returns all stacks."""
        self.stacks[:, : -self._channels] = self.stacks[:, self._channels :]
        self.stacks[:, -self._channels :] = frames
        if started.any():
            self.reset(frames, started)
        return self.stacks
