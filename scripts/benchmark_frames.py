"""Measures what stored frames cost: bytes on disk, frames collected a second, stacks read a second.

    python -m scripts.benchmark_frames                                a few minutes on two cores
    python -m scripts.benchmark_frames --games Pong --frames 20000    one game, more play

Plays each game at random by the code of collect_frames, in one process, into a temporary folder, and reads stacks of
four at random positions on one thread. Beside it, of the same frames: the bytes when each is compressed by itself with
LZ4, as the agents' replay does, and the stacks a second from a raw memory-mapped array. Expect about 90 to 140 bytes a
frame, the console's memory included, where a raw one takes 7,056.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import lz4.block
import numpy as np
import torch
from jaxtyping import Int64, UInt8

from envs import AtariConfig
from gen_ssl.frames import FrameStore
from scripts.run.benchmark_records import BenchmarkRecord, records_table, summarise, write_records
from scripts.run.command_line import run_command
from scripts.run.recorded_play import record_shard, shard_jobs

STACK = 4
STEPS_BACK = np.arange(STACK)[::-1]


@dataclass(frozen=True, kw_only=True)
class BenchmarkFrames:
    """What to measure."""

    games: tuple[str, ...] = ("Pong", "Breakout", "Qbert")
    frames: int = 10_000  # of each game
    shard_frames: int = 5_000
    batch_size: int = 256  # stacks read at once
    repeats: int = 30  # timings a figure
    seed: int = 0
    output: Path | None = None  # JSON file for the records

    def __post_init__(self) -> None:
        for name in ("shard_frames", "batch_size", "repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.frames < self.batch_size + STACK:
            raise ValueError(f"frames must be at least {self.batch_size + STACK}, got {self.frames}")


def main(config: BenchmarkFrames) -> None:
    """Measures game by game; prints and writes the records."""
    torch.set_num_threads(1)
    records = []
    for game in config.games:
        with TemporaryDirectory() as folder:
            records += measure_game(game, config, Path(folder))
    print(records_table(records))
    if config.output is not None:
        write_records(config.output, records)
        print(f"wrote {config.output}")


def measure_game(game: str, config: BenchmarkFrames, folder: Path) -> list[BenchmarkRecord]:
    """Collects frames of one game and returns what they cost."""
    seconds = collect(game, config, folder)
    store = FrameStore.open(folder)
    size = sum(path.stat().st_size for path in folder.iterdir())
    frames = store.frames(np.arange(len(store))).numpy()
    singly = sum(len(lz4.block.compress(frame, store_size=False)) for frame in frames)
    raw = folder / "raw.npy"
    np.save(raw, frames)
    return [
        BenchmarkRecord(
            benchmark="collecting",
            implementation="cartridge",
            setting=f"{game}, random play, 1 process",
            value=len(store) / seconds,
            unit="frames/s",
        ),
        BenchmarkRecord(
            benchmark="size",
            implementation="cartridge",
            setting=game,
            value=size / len(store),
            unit="bytes/frame",
        ),
        BenchmarkRecord(
            benchmark="size",
            implementation="lz4",
            setting=f"{game}, each frame by itself",
            value=singly / len(store),
            unit="bytes/frame",
        ),
        *reading_speed(game, config, folder, raw),
    ]


def collect(game: str, config: BenchmarkFrames, folder: Path) -> float:
    """Plays and writes the frames; returns how many seconds it took."""
    start = time.perf_counter()
    for job in shard_jobs(
        folder,
        [AtariConfig(game=game)],
        num_frames=config.frames,
        shard_frames=config.shard_frames,
        seed=config.seed,
    ):
        record_shard(job)
    return time.perf_counter() - start


def reading_speed(game: str, config: BenchmarkFrames, folder: Path, raw: Path) -> list[BenchmarkRecord]:
    """Returns stacks a second of the store, decoded when asked for and beforehand, and of a raw array, taking turns."""
    array: UInt8[np.ndarray, "n 1 84 84"] = np.load(raw, mmap_mode="r")
    readers: dict[tuple[str, str], Callable[[Int64[np.ndarray, " b"]], object]] = {
        ("cartridge", "decoded when read"): FrameStore.open(folder).stacks,
        ("cartridge", "preloaded"): FrameStore.open(folder, preload=True).stacks,
        ("numpy", "raw array, memory-mapped"): partial(raw_stacks, array),
    }
    generator = np.random.default_rng(config.seed)
    rates: dict[tuple[str, str], list[float]] = {reader: [] for reader in readers}
    for repeat in range(-2, config.repeats):  # the first two touch the files
        indices = generator.choice(np.arange(STACK, config.frames), config.batch_size, replace=False)
        for reader, read in readers.items():
            start = time.perf_counter()
            read(indices)
            if repeat >= 0:
                rates[reader].append(config.batch_size / (time.perf_counter() - start))
    return [
        summarise(
            values,
            benchmark="reading",
            implementation=implementation,
            setting=f"{game}, {how}, batch {config.batch_size}, 1 thread",
            unit="stacks/s",
        )
        for (implementation, how), values in rates.items()
    ]


def raw_stacks(array: UInt8[np.ndarray, "n 1 84 84"], indices: Int64[np.ndarray, " b"]) -> torch.Tensor:
    """Returns stacks of consecutive frames, whatever episodes they are from."""
    return torch.from_numpy(array[indices[:, None] - STEPS_BACK][:, :, 0])


if __name__ == "__main__":
    run_command(BenchmarkFrames, main, documentation=__doc__)
