"""Reading the DQN Replay Dataset, from files as Dopamine's replay buffer writes them."""

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gen_ssl.frames import LoggedSteps, logged_checkpoints, read_logged_steps

SHAPE = (5, 7)


def save(path: Path, array: Any) -> None:
    """Writes a gzipped array as Dopamine does."""
    with gzip.open(path, "wb") as file:
        np.save(file, np.asarray(array), allow_pickle=False)


class LoggedReplay:
    """Dopamine's ring buffer (OutOfGraphReplayBuffer, stacks of four), step by step and file by file."""

    def __init__(self, capacity: int) -> None:
        self.store: dict[str, np.ndarray] = {
            "observation": np.zeros((capacity, *SHAPE), dtype=np.uint8),
            "action": np.zeros(capacity, dtype=np.int32),
            "reward": np.zeros(capacity, dtype=np.float32),
            "terminal": np.zeros(capacity, dtype=np.uint8),
        }
        self.add_count = 0

    def add(self, frame: np.ndarray, action: int, reward: float, terminal: bool) -> None:
        capacity = len(self.store["action"])
        if self.add_count == 0 or self.store["terminal"][(self.add_count - 1) % capacity]:
            for _ in range(3):
                self._write(np.zeros(SHAPE), 0, 0.0, False)
        self._write(frame, action, reward, terminal)

    def _write(self, *step: Any) -> None:
        slot = self.add_count % len(self.store["action"])
        for name, value in zip(self.store, step, strict=True):
            self.store[name][slot] = value
        self.add_count += 1

    def save(self, folder: Path, checkpoint: int) -> None:
        for name, array in self.store.items():
            save(folder / f"$store$_{name}_ckpt.{checkpoint}.gz", array)
        save(folder / f"add_count_ckpt.{checkpoint}.gz", self.add_count)
        save(folder / f"invalid_range_ckpt.{checkpoint}.gz", np.arange(5))


def played(num_steps: int, *, episode_length: int) -> list[tuple[np.ndarray, int, float, bool]]:
    """Returns steps of play whose first frames and a later one are black, like padding."""
    generator = np.random.default_rng(0)
    steps = []
    for step in range(num_steps):
        frame = generator.integers(1, 256, SHAPE, dtype=np.uint8)
        if step % episode_length == 9:
            frame[:] = 0
        steps.append((frame, int(generator.integers(1, 4)), float(step), step % episode_length == episode_length - 1))
    return steps


def read(folder: Path, checkpoint: int = 0, **options: int) -> LoggedSteps:
    pieces = list(read_logged_steps(folder, checkpoint, **options))
    return LoggedSteps(*(np.concatenate(parts) for parts in zip(*pieces, strict=True)))


@pytest.mark.parametrize("chunk_steps", [1, 4, 1_000])
def test_a_ring_that_is_not_full_gives_what_was_played_without_the_padding(tmp_path: Path, chunk_steps: int) -> None:
    steps = played(31, episode_length=13)
    replay = LoggedReplay(101)
    for step in steps:
        replay.add(*step)
    replay.save(tmp_path, 0)
    logged = read(tmp_path, chunk_steps=chunk_steps)
    assert logged.frames.shape == (31, 1, *SHAPE)
    np.testing.assert_array_equal(logged.frames[:, 0], np.stack([frame for frame, *_ in steps]))
    assert logged.actions.tolist() == [action for _, action, _, _ in steps]
    assert logged.rewards.tolist() == [reward for _, _, reward, _ in steps]
    assert np.flatnonzero(logged.terminated).tolist() == [12, 25]
    assert np.flatnonzero(logged.truncated).tolist() == [30]


def test_a_ring_that_was_written_over_has_an_edge_at_its_cursor(tmp_path: Path) -> None:
    replay = LoggedReplay(37)
    steps = played(61, episode_length=61)
    for step in steps:
        replay.add(*step)
    replay.save(tmp_path, 3)  # 64 steps with the padding: the cursor stands at 27
    logged = read(tmp_path, 3)
    # The newest steps come first: rewards count them.
    assert logged.rewards.tolist() == [*map(float, range(34, 61)), *map(float, range(24, 34))]
    assert logged.terminated.tolist() == [step == 26 for step in range(37)]
    assert np.flatnonzero(logged.truncated).tolist() == [36]

    replay.add(*steps[0])
    replay.save(tmp_path, 4)  # three steps of padding and one of play: the cursor stands at 31
    logged = read(tmp_path, 4)
    assert logged.rewards[26:28].tolist() == [60.0, 0.0]
    assert np.flatnonzero(logged.truncated).tolist() == [27, 33]


def test_without_the_count_all_steps_are_read(tmp_path: Path) -> None:
    replay = LoggedReplay(14)
    for step in played(11, episode_length=13):
        replay.add(*step)
    replay.save(tmp_path, 0)
    (tmp_path / "add_count_ckpt.0.gz").unlink()
    assert len(read(tmp_path).actions) == 11


def test_checkpoints_are_found_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file \$store\$_observation_ckpt\.N\.gz"):
        logged_checkpoints(tmp_path)
    for number in (10, 2, 0):
        LoggedReplay(5).save(tmp_path, number)
    assert logged_checkpoints(tmp_path) == [0, 2, 10]


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    replay = LoggedReplay(14)
    replay.add(*played(1, episode_length=2)[0])
    replay.save(tmp_path, 0)
    for name in ("observation", "action"):
        buffer = io.BytesIO()
        np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        with gzip.open(tmp_path / f"$store$_{name}_ckpt.0.gz", "wb") as file:
            file.write(buffer.getvalue())
        with pytest.raises(ValueError, match="is not a whole gzipped array|observations must be uint8"):
            read(tmp_path)
        replay.save(tmp_path, 0)


def test_damaged_and_unfitting_files_are_told_in_one_sentence(tmp_path: Path) -> None:
    replay = LoggedReplay(101)
    for step in played(53, episode_length=13):
        replay.add(*step)
    replay.save(tmp_path, 0)
    observations = tmp_path / "$store$_observation_ckpt.0.gz"
    content = observations.read_bytes()
    observations.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="observation_ckpt.0.gz is damaged or cut short"):
        read(tmp_path)
    save(observations, np.zeros((101, 5, 7, 1), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"observations must be uint8 of shape .* got uint8 \(101, 5, 7, 1\)"):
        read(tmp_path)
    observations.write_bytes(content)
    save(tmp_path / "$store$_action_ckpt.0.gz", np.zeros(100, dtype=np.int32))
    with pytest.raises(ValueError, match=r"do not belong together: 101 observations and actions of shape \(100,\)"):
        read(tmp_path)
    (tmp_path / "$store$_action_ckpt.0.gz").write_bytes(b"not gzip")
    with pytest.raises(ValueError, match="action_ckpt.0.gz is not a whole gzipped array of numbers"):
        read(tmp_path)
    LoggedReplay(5).save(tmp_path, 1)
    with pytest.raises(ValueError, match="says that 0 steps were logged"):
        read(tmp_path, 1)
