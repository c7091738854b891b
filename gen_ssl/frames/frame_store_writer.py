"""Writes played frames to a folder, shard by shard."""

from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8


class FrameStoreWriter:
    """Appends play to a store: a new one, or one that is there already. A context manager; `close` writes the rest."""

    def __init__(self, path: str | Path, *, frame_shape: tuple[int, int, int], shard_frames: int = 5_000) -> None:
        raise NotImplementedError

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
        """Stores n consecutive steps of one game: the frame before each action, the action, and what came of it."""
        raise NotImplementedError

    def close(self) -> None:
        """Writes what was not written yet; an episode that is still running is cut here (truncated)."""
        raise NotImplementedError

    def __enter__(self) -> "FrameStoreWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
