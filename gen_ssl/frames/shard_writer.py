"""Writes one shard of a frame store."""

import os
from pathlib import Path

import lz4.block
import numpy as np
from jaxtyping import Bool, Float, Float32, Integer, UInt8

from .shard_layout import (
    BLOCK_FRAMES,
    MAGIC,
    RAM_BYTES,
    TERMINATED,
    TRUNCATED,
    ShardHeader,
    block_to_bytes,
    compress_frame,
    compress_ram,
    max_references,
    section,
)


class ShardWriter:
    """Collects consecutive steps of one game in memory, as they are seen, and writes them as one shard.

    The file appears whole or not at all: it is written beside its place, flushed to the disk and renamed.
    """

    def __init__(self, path: Path, *, game: str, num_actions: int, frame_shape: tuple[int, int, int]) -> None:
        if not 1 <= num_actions <= 256:
            raise ValueError(f"num_actions must be between 1 and 256, got {num_actions}")
        self._path = path
        self._game = game
        self._num_actions = num_actions
        self._frame_shape = frame_shape
        self._frames: list[UInt8[np.ndarray, "n c h w"]] = []
        self._actions: list[UInt8[np.ndarray, " n"]] = []
        self._flags: list[UInt8[np.ndarray, " n"]] = []
        self._rewards: list[Float32[np.ndarray, " n"]] = []
        self._ram: list[UInt8[np.ndarray, "n 128"]] = []
        self.num_frames = 0

    def append(
        self,
        *,
        frames: UInt8[np.ndarray, "n c h w"],
        actions: Integer[np.ndarray, " n"],
        rewards: Float[np.ndarray, " n"],
        terminated: Bool[np.ndarray, " n"],
        truncated: Bool[np.ndarray, " n"],
        ram: UInt8[np.ndarray, "n 128"] | None = None,
    ) -> None:
        """Takes n consecutive steps: the frame before each action, the action, and what came of it.

        Raises:
            ValueError: the frames are of another shape than the shard's, an action is none of the game's, or only some
                steps come with RAM.
        """
        if frames.shape[1:] != self._frame_shape:
            expected = ", ".join(map(str, self._frame_shape))
            raise ValueError(f"frames must have shape (N, {expected}), got {frames.shape}")
        if not len(frames):
            return
        if actions.min() < 0 or actions.max() >= self._num_actions:
            raise ValueError(
                f"actions must lie in 0..{self._num_actions - 1}, got {actions.min()}..{actions.max()} in {self._game}"
            )
        if self.num_frames and (ram is not None) != bool(self._ram):
            raise ValueError(f"either all steps of a shard come with RAM or none, got both for {self._path.name}")
        if ram is not None:
            self._ram.append(ram.copy())
        self._frames.append(frames.copy())
        self._actions.append(actions.astype(np.uint8))
        self._flags.append((TERMINATED * terminated | TRUNCATED * truncated).astype(np.uint8))
        self._rewards.append(rewards.astype(np.float32))
        self.num_frames += len(frames)

    @property
    def ends_an_episode(self) -> bool:
        """Whether the last step taken was the last of its episode."""
        return bool(self.num_frames) and bool(self._flags[-1][-1])

    def finish(self) -> Path:
        """Writes the shard and returns its path; an episode that is still running is cut here (truncated).

        Raises RuntimeError when there is nothing to write.
        """
        if not self.num_frames:
            raise RuntimeError(f"no steps were appended to {self._path}: a shard has at least one")
        temporary = self._path.with_name(f"{self._path.name}.writing")
        with temporary.open("wb") as file:
            for part in self._parts():
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        return self._path

    def _parts(self) -> list[bytes]:
        """Returns what the file consists of."""
        frames, actions = np.concatenate(self._frames), np.concatenate(self._actions)
        flags, rewards = np.concatenate(self._flags), np.concatenate(self._rewards)
        ram = np.concatenate(self._ram) if self._ram else np.empty((0, RAM_BYTES), dtype=np.uint8)
        if not flags[-1]:
            flags[-1] = TRUNCATED
        num_references = max(0, min(max_references(frames[0].size), len(frames)))
        # From all over the shard: a game's screens differ from level to level.
        chosen = np.linspace(0, len(frames) - 1, num_references).astype(np.int64)
        references = frames[chosen].tobytes()
        header = ShardHeader(
            game=self._game,
            num_actions=self._num_actions,
            frame_shape=self._frame_shape,
            has_ram=bool(self._ram),
            num_frames=self.num_frames,
            num_references=num_references,
        )
        parts = [MAGIC, section(header.to_bytes()), section(lz4.block.compress(references, store_size=False))]
        for start in range(0, len(frames), BLOCK_FRAMES):
            steps = slice(start, start + BLOCK_FRAMES)
            compressed = [compress_frame(frame.tobytes(), references) for frame in frames[steps]]
            memory = compress_ram(ram[steps]) if header.has_ram else b""
            parts.append(section(block_to_bytes(actions[steps], flags[steps], rewards[steps], memory, compressed)))
        return parts
