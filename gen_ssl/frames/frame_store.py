"""Reads played frames from a folder of shards that may be larger than memory."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import lz4.block
import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from torch import Tensor

from .shard_files import ShardFiles
from .shard_layout import RAM_BYTES, SUFFIX, TERMINATED, TRUNCATED, decompress_ram
from .shard_reader import ShardContents, read_shard


class Episodes(NamedTuple):
    """Where the episodes of a store lie: episode e is the frames starts[e] .. ends[e] - 1, in order of play."""

    starts: Int64[np.ndarray, " e"]
    ends: Int64[np.ndarray, " e"]
    games: Int64[np.ndarray, " e"]  # indices into FrameStore.games


class FrameStore:
    """The frames of a store, numbered 0 .. len - 1 game by game, and what was done and earned at each.

    Frames stay compressed on disk and are decoded when they are asked for, unless they were preloaded; the system keeps
    in memory what was read and fits. What was done and earned takes about 50 bytes of memory a frame.

    Attributes:
        frame_shape: (C, H, W) of one frame.
        games: names of the games, in alphabetical order.
        num_actions_of: number of actions of each game.
        episodes: where each episode begins and ends.
        actions, rewards: what was done at each frame and what came of it, as it was recorded.
        terminated: the game was over after this frame's action.
        truncated: the record of the episode ends here although the game went on.
        game_ids, episode_ids: the game (index into `games`) and the episode (into `episodes`) of each frame.
        has_ram: whether the console's memory stands beside every frame.
    """

    def __init__(self, shards: Sequence[ShardContents]) -> None:
        _check_alike(shards)
        self.frame_shape = shards[0].header.frame_shape
        self.games = tuple(sorted({shard.header.game for shard in shards}))
        self.has_ram = all(shard.header.has_ram for shard in shards)
        # Game by game; within a game as the names of the files are sorted, which is the order of writing.
        self._shards = sorted(shards, key=lambda shard: (shard.header.game, shard.path.name))
        most: dict[str, int] = {}
        for shard in self._shards:
            most[shard.header.game] = max(shard.header.num_actions, most.get(shard.header.game, 0))
        self.num_actions_of = tuple(most[game] for game in self.games)

        self._shard_starts = np.cumsum([0, *(len(shard.actions) for shard in self._shards)])
        self._frame_at = np.concatenate([shard.frame_at for shard in self._shards])
        self._frame_lengths = np.concatenate([shard.frame_lengths.astype(np.uint32) for shard in self._shards])
        self.actions: UInt8[np.ndarray, " n"] = np.concatenate([shard.actions for shard in self._shards])
        self.rewards: Float32[np.ndarray, " n"] = np.concatenate([shard.rewards for shard in self._shards])
        flags = np.concatenate([shard.flags for shard in self._shards])
        self.terminated: Bool[np.ndarray, " n"] = flags & TERMINATED > 0
        self.truncated: Bool[np.ndarray, " n"] = flags & TRUNCATED > 0

        ends = np.flatnonzero(flags) + 1
        starts = np.concatenate([[0], ends[:-1]])
        game_of_shard = np.array([self.games.index(shard.header.game) for shard in self._shards])
        self.game_ids: Int64[np.ndarray, " n"] = np.repeat(game_of_shard, np.diff(self._shard_starts))
        self.episode_ids: Int64[np.ndarray, " n"] = np.repeat(np.arange(len(starts)), ends - starts)
        self.episodes = Episodes(starts=starts, ends=ends, games=self.game_ids[starts])
        self._files = ShardFiles()
        self._decoded: UInt8[Tensor, "n c h w"] | None = None

    @classmethod
    def open(cls, path: str | Path, *, preload: bool = False) -> "FrameStore":
        """Opens a folder written by `FrameStoreWriter` or `ShardWriter`, and compares every checksum in it.

        With `preload` every frame is decoded into memory now. What of a damaged shard cannot be read is left out, and
        one warning says how much.

        Raises:
            FileNotFoundError: there is no such folder.
            ValueError: it holds no frames, none of them is whole, or they are of several shapes.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no frame store at {folder}")
        files = sorted(folder.glob(f"*{SUFFIX}"))
        if not files:
            raise ValueError(f"the frame store {folder} is empty: it holds no file *{SUFFIX}")
        shards: list[ShardContents] = []
        unreadable: list[str] = []
        for file in files:
            try:
                shards.append(read_shard(file))
            except ValueError as error:
                unreadable.append(str(error))
        if not shards:
            raise ValueError(f"nothing in the frame store {folder} can be read: {unreadable[0]}")
        _warn_of_damage(folder, shards, unreadable)
        store = cls(shards)
        if preload:
            store.preload()
        return store

    def preload(self) -> None:
        """Decodes every frame into memory: from then on only the console's RAM is read from disk."""
        self._decoded = self.frames(np.arange(len(self)))

    def __len__(self) -> int:
        """Returns the number of frames."""
        return len(self.actions)

    @property
    def num_actions(self) -> int:
        """The largest number of actions of any of its games."""
        return max(self.num_actions_of)

    def frames(self, indices: Int64[np.ndarray, " b"]) -> UInt8[Tensor, "b c h w"]:
        """Returns single frames in a new tensor; one that is asked for twice is decoded once.

        Raises IndexError for an index outside 0 .. len - 1.
        """
        self._check_indices(indices)
        if self._decoded is not None:
            return self._decoded.index_select(0, torch.from_numpy(indices))
        result = torch.empty((len(indices), *self.frame_shape), dtype=torch.uint8)
        order = np.argsort(indices, kind="stable")
        ordered = indices[order]
        shard_of = np.searchsorted(self._shard_starts, ordered, side="right") - 1
        for shard in np.unique(shard_of).tolist():
            here = slice(*np.searchsorted(shard_of, [shard, shard + 1]).tolist())
            self._decode(self._shards[shard], ordered[here], order[here], result)
        return result

    def _decode(
        self,
        shard: ShardContents,
        indices: Int64[np.ndarray, " b"],
        places: Int64[np.ndarray, " b"],
        result: UInt8[Tensor, "n c h w"],
    ) -> None:
        """Writes frames of one shard (sorted) to their places in the result."""
        mapped = memoryview(self._files.map(shard.path, shard.file_bytes))
        size, references, decompress = shard.header.frame_bytes, shard.references, lz4.block.decompress
        target = result.numpy().reshape(-1).data
        begins = self._frame_at[indices]
        ends = begins + self._frame_lengths[indices]
        last = -1
        # Frame by frame: a decoded one is copied while it is in the cache, and its memory serves the next one.
        for place, begin, end in zip(places.tolist(), begins.tolist(), ends.tolist(), strict=True):
            if begin != last:
                frame, last = decompress(mapped[begin:end], size, dict=references), begin
            target[place * size : (place + 1) * size] = frame

    def stacks(
        self, indices: Int64[np.ndarray, " b"], *, stack: int = 4, offset: int = 0
    ) -> UInt8[Tensor, "b stack_c h w"]:
        """Returns the stacks that end `offset` frames after these, oldest frame first, in a new tensor.

        At an episode's start its first frame is repeated, as the agent sees it. Raises as `windows` does.
        """
        return self.windows(indices, time_offsets=(offset,), stack=stack)[0]

    def windows(
        self, indices: Int64[np.ndarray, " b"], *, time_offsets: Sequence[int], stack: int = 4
    ) -> UInt8[Tensor, "k b stack_c h w"]:
        """Returns the stacks that end at each of these offsets from each of these frames, in a new tensor.

        Raises:
            ValueError: some offset leads out of the episode, see `valid_indices`; or `stack` is less than 1.
            IndexError: an index is outside 0 .. len - 1.
        """
        if stack < 1:
            raise ValueError(f"stack must be at least 1, got {stack}")
        self._check_indices(indices)
        episode = self.episode_ids[indices]
        newest = indices + np.array(time_offsets, dtype=np.int64)[:, None]  # (k, b)
        if ((newest < self.episodes.starts[episode]) | (newest >= self.episodes.ends[episode])).any():
            raise ValueError(f"the offsets {tuple(time_offsets)} lead out of the episode of some of these frames")
        steps_back = np.arange(stack)[::-1]
        wanted = np.maximum(newest[..., None] - steps_back, self.episodes.starts[episode][:, None])  # (k, b, stack)
        channels, *rest = self.frame_shape
        return self.frames(wanted.reshape(-1)).view(len(time_offsets), len(indices), stack * channels, *rest)

    def ram(self, indices: Int64[np.ndarray, " b"]) -> UInt8[np.ndarray, "b 128"]:
        """Returns the console's memory at these frames; cheapest for many at once.

        Raises ValueError when the store was written without it, and IndexError for an index outside 0 .. len - 1.
        """
        if not self.has_ram:
            without = sorted({shard.header.game for shard in self._shards if not shard.header.has_ram})
            raise ValueError(f"the frames of {', '.join(without)} were stored without the console's memory")
        self._check_indices(indices)
        result = np.empty((len(indices), RAM_BYTES), dtype=np.uint8)
        order = np.argsort(indices, kind="stable")
        ordered = indices[order]
        for shard, start in zip(self._shards, self._shard_starts.tolist(), strict=False):
            for block in shard.ram_blocks:
                first = start + block.first_frame
                low, high = np.searchsorted(ordered, [first, first + block.num_frames]).tolist()
                if low < high:
                    mapped = self._files.map(shard.path, shard.file_bytes)
                    memory = decompress_ram(mapped[block.at : block.at + block.num_bytes], block.num_frames)
                    result[order[low:high]] = memory[ordered[low:high] - first]
        return result

    def valid_indices(
        self, offsets: Sequence[int] = (0,), *, episodes: Int64[np.ndarray, " e"] | None = None
    ) -> Int64[np.ndarray, " n"]:
        """Returns the frames of these episodes (None: of all) from which every offset leads into the same episode."""
        chosen = np.ones(len(self.episodes.starts), dtype=np.bool_)
        if episodes is not None:
            chosen[:] = False
            chosen[episodes] = True
        index = np.arange(len(self))
        start, end = self.episodes.starts[self.episode_ids], self.episodes.ends[self.episode_ids]
        inside = (index + min(offsets) >= start) & (index + max(offsets) < end)
        return np.flatnonzero(inside & chosen[self.episode_ids])

    def _check_indices(self, indices: Int64[np.ndarray, " b"]) -> None:
        if len(indices) and not 0 <= indices.min() <= indices.max() < len(self):
            raise IndexError(f"indices must lie in 0..{len(self) - 1}, got {indices.min()}..{indices.max()}")


def _check_alike(shards: Sequence[ShardContents]) -> None:
    """Raises ValueError for shards whose frames differ in shape."""
    first = shards[0]
    for shard in shards:
        if shard.header.frame_shape != first.header.frame_shape:
            raise ValueError(
                f"the frames of a store must have one shape, got {first.header.frame_shape} in {first.path.name} "
                f"and {shard.header.frame_shape} in {shard.path.name}"
            )


def _warn_of_damage(folder: Path, shards: Sequence[ShardContents], unreadable: Sequence[str]) -> None:
    """Says in one warning what of a store cannot be read, if anything."""
    cut = [f"{shard.num_lost} of {shard.header.num_frames} frames of {shard.path.name}" for shard in shards]
    damage = [sentence for sentence, shard in zip(cut, shards, strict=True) if shard.num_lost] + list(unreadable)
    if damage:
        readable = sum(len(shard.actions) for shard in shards)
        warnings.warn(
            f"the frame store {folder} is damaged and is read without what is lost ({'; '.join(damage)}): "
            f"{readable} frames are whole",
            RuntimeWarning,
            stacklevel=3,
        )
