"""Writes played frames to a folder, shard by shard."""

from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8

from .shard_layout import SUFFIX
from .shard_writer import ShardWriter


def shard_path(folder: str | Path, game: str, number: int) -> Path:
    """Returns where a game's shard of that number lies in a store."""
    return Path(folder) / f"{game}-{number:05d}{SUFFIX}"


class FrameStoreWriter:
    """Appends play of any games to a store: a new one, or one that is there already.

    A shard is written at the first end of an episode after `shard_frames` frames; an episode that goes on for as many
    frames more is cut there, so that at most twice as many frames of each game wait in memory, as they are seen. A
    context manager: leaving it writes the rest, also after an error.
    """

    def __init__(self, path: str | Path, *, frame_shape: tuple[int, int, int], shard_frames: int = 5_000) -> None:
        if shard_frames < 1:
            raise ValueError(f"shard_frames must be at least 1, got {shard_frames}")
        self._path = Path(path)
        self._path.mkdir(parents=True, exist_ok=True)
        self._frame_shape = frame_shape
        self._shard_frames = shard_frames
        self._shards: dict[str, ShardWriter] = {}
        self._next_number: dict[str, int] = {}

    def append(
        self,
        *,
        game: str,
        num_actions: int,
        frames: UInt8[np.ndarray, "n c h w"],
        actions: Integer[np.ndarray, " n"],
        rewards: Float[np.ndarray, " n"],
        terminated: Bool[np.ndarray, " n"],
        truncated: Bool[np.ndarray, " n"],
        ram: UInt8[np.ndarray, "n 128"] | None = None,
    ) -> None:
        """Stores n consecutive steps of one game: the frame before each action, the action, and what came of it.

        An episode may come in as many pieces as is convenient. Raises ValueError as `ShardWriter.append` does.
        """
        at = 0
        while at < len(frames):
            shard = self._shards.get(game)
            if shard is None:
                shard = self._shards[game] = ShardWriter(
                    self._next_path(game), game=game, num_actions=num_actions, frame_shape=self._frame_shape
                )
            end = self._end_of_piece(shard, at, terminated | truncated)
            steps = slice(at, end)
            shard.append(
                frames=frames[steps],
                actions=actions[steps],
                rewards=rewards[steps],
                terminated=terminated[steps],
                truncated=truncated[steps],
                ram=None if ram is None else ram[steps],
            )
            at = end
            full = shard.num_frames >= self._shard_frames and shard.ends_an_episode
            if full or shard.num_frames >= 2 * self._shard_frames:
                self._shards.pop(game).finish()

    def _end_of_piece(self, shard: ShardWriter, at: int, ended: Bool[np.ndarray, " n"]) -> int:
        """Returns up to where the steps from `at` on go into this shard."""
        last_needed = at + max(self._shard_frames - shard.num_frames, 1) - 1
        ends = np.flatnonzero(ended[last_needed:])
        whole = last_needed + int(ends[0]) + 1 if len(ends) else len(ended)
        return min(whole, at + 2 * self._shard_frames - shard.num_frames)

    def _next_path(self, game: str) -> Path:
        number = self._next_number.get(game, 0)
        while shard_path(self._path, game, number).exists():
            number += 1
        self._next_number[game] = number + 1
        return shard_path(self._path, game, number)

    def close(self) -> None:
        """Writes what was not written yet; an episode that is still running is cut here (truncated)."""
        for game in list(self._shards):
            self._shards.pop(game).finish()

    def __enter__(self) -> "FrameStoreWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
