"""Reads played frames from a folder of shards that may be larger than memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8
from torch import Tensor


class Episodes(NamedTuple):
    """Where the episodes of a store lie: episode e is the frames starts[e] .. ends[e] - 1, in order of play."""

    starts: Int64[np.ndarray, " e"]
    ends: Int64[np.ndarray, " e"]
    games: Int64[np.ndarray, " e"]  # indices into FrameStore.games


class FrameStore:
    """The frames of a store, numbered 0 .. len - 1, with what was done, earned and remembered (RAM) at each.

    Attributes:
        frame_shape: (C, H, W) of one frame.
        games: names of the games, in alphabetical order.
        num_actions_of: number of actions of each game.
        episodes: where each episode begins and ends.
        actions, rewards, terminated, truncated, game_ids, episode_ids: one value per frame.
    """

    frame_shape: tuple[int, int, int]
    games: tuple[str, ...]
    num_actions_of: tuple[int, ...]
    episodes: Episodes
    actions: UInt8[np.ndarray, " n"]
    rewards: Float32[np.ndarray, " n"]
    terminated: Bool[np.ndarray, " n"]  # the game was over after this frame's action
    truncated: Bool[np.ndarray, " n"]  # the record of the episode ends here although the game went on
    game_ids: Int64[np.ndarray, " n"]
    episode_ids: Int64[np.ndarray, " n"]

    @classmethod
    def open(cls, path: str | Path, *, preload: bool = False) -> "FrameStore":
        """Opens a folder written by `FrameStoreWriter`; with `preload`, decodes every frame into memory now."""
        raise NotImplementedError

    def __len__(self) -> int:
        """Returns the number of frames."""
        raise NotImplementedError

    @property
    def num_actions(self) -> int:
        """The largest number of actions of any of its games."""
        raise NotImplementedError

    @property
    def has_ram(self) -> bool:
        """Whether every frame has the console's memory beside it."""
        raise NotImplementedError

    def frames(self, indices: Int64[np.ndarray, " b"]) -> UInt8[Tensor, "b c h w"]:
        """Returns single frames in a new tensor."""
        raise NotImplementedError

    def stacks(
        self, indices: Int64[np.ndarray, " b"], *, stack: int = 4, offset: int = 0
    ) -> UInt8[Tensor, "b stack_c h w"]:
        """Returns the stacks that end `offset` frames after these, oldest frame first, in a new tensor."""
        raise NotImplementedError

    def ram(self, indices: Int64[np.ndarray, " b"]) -> UInt8[np.ndarray, "b 128"]:
        """Returns the console's memory at these frames."""
        raise NotImplementedError

    def valid_indices(
        self, offsets: Sequence[int] = (0,), *, episodes: Int64[np.ndarray, " e"] | None = None
    ) -> Int64[np.ndarray, " n"]:
        """Returns the frames of these episodes (None: all) all of whose offsets lie in the same episode."""
        raise NotImplementedError
