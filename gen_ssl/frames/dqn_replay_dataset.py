"""Reads local copies of the DQN Replay Dataset: what Dopamine's DQN saw of 60 games (Agarwal et al. 2020).

Checkpoint N of a game's logged replay is a handful of gzipped `.npy` files, `$store$_observation_ckpt.N.gz` and its
siblings, each the ring buffer of a million steps as it stood in memory. Two things in it are no play, and are left out
or marked here: before every episode stand three steps of zeros, Dopamine's padding for stacks of four; and at the
ring's cursor (`add_count`) the newest step stands beside the oldest. Nothing is unpickled.

Rewards were clipped to -1, 0, 1 before they were logged, and a game stopped at its frame limit runs on into the next
one without a mark.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

# Dopamine's OutOfGraphReplayBuffer writes stack_size - 1 of them.
_PADDING_STEPS = 3


class LoggedSteps(NamedTuple):
    """Consecutive steps, as `FrameStoreWriter.append` takes them."""

    frames: UInt8[np.ndarray, "n 1 h w"]
    actions: Int64[np.ndarray, " n"]
    rewards: Float32[np.ndarray, " n"]
    terminated: Bool[np.ndarray, " n"]
    truncated: Bool[np.ndarray, " n"]


def logged_checkpoints(folder: str | Path) -> list[int]:
    """Returns the numbers of the checkpoints that lie in a folder, in order.

    Raises FileNotFoundError when there are none.
    """
    names = [path.name for path in Path(folder).glob("$store$_observation_ckpt.*.gz")]
    numbers = [int(found[1]) for name in names if (found := re.fullmatch(r".*_ckpt\.(\d+)\.gz", name))]
    if not numbers:
        raise FileNotFoundError(f"there is no file $store$_observation_ckpt.N.gz of the DQN Replay Dataset in {folder}")
    return sorted(numbers)


def read_logged_steps(folder: str | Path, checkpoint: int, *, chunk_steps: int = 1_000) -> Iterator[LoggedSteps]:
    """Yields the steps of one checkpoint in order, at most `chunk_steps` at a time: a million frames take 7 GB.

    Raises:
        FileNotFoundError: one of its files is missing.
        ValueError: a file is damaged, cut short or of another kind, or the files do not belong together.
    """
    paths = {name: Path(folder) / f"$store$_{name}_ckpt.{checkpoint}.gz" for name in _FIELDS}
    actions = _read_array(paths["action"]).astype(np.int64)
    rewards = _read_array(paths["reward"]).astype(np.float32)
    terminated = _read_array(paths["terminal"]) != 0
    with gzip.open(paths["observation"]) as file:
        num_steps, *frame_shape = _read_frames_shape(file, paths["observation"])
        for name, values in (("action", actions), ("reward", rewards), ("terminal", terminated)):
            if values.shape != (num_steps,):
                raise ValueError(
                    f"the files of checkpoint {checkpoint} in {folder} do not belong together: "
                    f"{num_steps} observations and {name}s of shape {values.shape}"
                )
        num_written, cursor = _ring_state(Path(folder), checkpoint, num_steps)
        truncated = np.zeros(num_steps, dtype=np.bool_)
        truncated[[cursor - 1, num_written - 1]] = True  # a cursor of 0 means the last step of a full ring
        truncated &= ~terminated
        blank = _may_be_padding(actions, rewards, terminated)
        for start in range(0, num_written, chunk_steps):
            steps = slice(start, min(start + chunk_steps, num_written))
            frames = _read_frames(file, steps.stop - start, frame_shape, paths["observation"])
            kept = ~(blank[steps] & ~frames.any(axis=(1, 2)))
            yield LoggedSteps(
                frames=frames[kept][:, None],
                actions=actions[steps][kept],
                rewards=rewards[steps][kept],
                terminated=terminated[steps][kept],
                truncated=truncated[steps][kept],
            )


_FIELDS = ("observation", "action", "reward", "terminal")
_READ_ERRORS = (EOFError, gzip.BadGzipFile, zlib.error)


def _read_array(path: Path) -> np.ndarray:
    """Returns a small array: a million numbers at most."""
    with gzip.open(path) as file:
        try:
            return np.asarray(np.load(file, allow_pickle=False))
        except (*_READ_ERRORS, ValueError) as error:
            raise ValueError(f"{path} is not a whole gzipped array of numbers: {error}") from error


def _read_frames_shape(file: gzip.GzipFile, path: Path) -> tuple[int, int, int]:
    """Reads the head of the observations and returns (steps, height, width)."""
    try:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read_header(file)
    except (*_READ_ERRORS, ValueError) as error:
        raise ValueError(f"{path} is not a whole gzipped array of numbers: {error}") from error
    if len(shape) != 3 or dtype != np.uint8 or fortran_order:
        raise ValueError(f"observations must be uint8 of shape (steps, height, width), got {dtype} {shape} in {path}")
    steps, height, width = shape
    return steps, height, width


def _read_frames(
    file: gzip.GzipFile, num_frames: int, frame_shape: list[int], path: Path
) -> UInt8[np.ndarray, "n h w"]:
    expected = num_frames * int(np.prod(frame_shape))
    try:
        pixels = file.read(expected)
    except _READ_ERRORS as error:
        raise ValueError(f"{path} is damaged or cut short: {error}") from error
    if len(pixels) < expected:
        raise ValueError(f"{path} is cut short: its frames end before the number that it announces")
    return np.frombuffer(pixels, dtype=np.uint8).reshape(num_frames, *frame_shape)


def _ring_state(folder: Path, checkpoint: int, capacity: int) -> tuple[int, int]:
    """Returns how many steps were ever written into the ring, at most all, and the cursor in it (0 where unknown)."""
    path = folder / f"add_count_ckpt.{checkpoint}.gz"
    if not path.exists():
        return capacity, 0
    count = int(_read_array(path))
    if count <= 0:
        raise ValueError(f"{path} says that {count} steps were logged: there is nothing to read")
    return min(count, capacity), count % capacity if count > capacity else 0


def _may_be_padding(
    actions: Int64[np.ndarray, " n"], rewards: Float32[np.ndarray, " n"], terminated: Bool[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Returns which steps are padding if their frames are black: zeros, within three steps of an episode's start."""
    index = np.arange(len(actions))
    # The newest end before each step; the file itself begins one.
    newest_end = np.maximum.accumulate(np.where(terminated, index, -1))
    newest_end = np.concatenate([[-1], newest_end[:-1]])
    nothing_done = (actions == 0) & (rewards == 0) & ~terminated
    possible: Bool[np.ndarray, " n"] = nothing_done & (index - newest_end <= _PADDING_STEPS)
    return possible
