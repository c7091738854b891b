"""Measures what a replay costs: memory for a million transitions of real play, time to store and to sample.

    python -m scripts.benchmark_replay                                             a few minutes on two cores
    python -m scripts.benchmark_replay --transitions 1000000 --insertions 1500000  the published memory: an hour

Memory: a process of its own for each figure plays a game at random and stores every step; what its resident memory has
grown by since the replay was constructed is the figure. Speed: all replays hold the same play and take turns; a batch
counts once its tensors are on `--device`. The peers are Stable-Baselines3's buffers, with stacks of 4 frames. Expect,
for a million transitions, about 7.1 GB raw and 0.3 (Pong) to 2 GB (Qbert) in lz4; the peers take 28 or 56.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer

from agents.replay import DeviceStorage, FrameStorage, Lz4Storage, Priorities, RawStorage, Replay
from envs import AtariConfig, SeededEpisodes, make_atari_vector
from scripts.run.benchmark_records import BenchmarkRecord, records_table, summarise, write_records
from scripts.run.command_line import run_command
from scripts.run.devices import DeviceName, choose_device, device_description, set_num_threads
from scripts.run.progress import Progress
from scripts.run.random_play import PlayedStep, StackedSteps, play_at_random

FRAME_SHAPE = (1, 84, 84)
STACK = 4
N_STEP = 3
DISCOUNT = 0.99
OURS = ("raw", "raw, prioritised", "lz4", "device")
PEERS = ("ReplayBuffer", "ReplayBuffer, optimize_memory_usage", "NStepReplayBuffer")


@dataclass(frozen=True, kw_only=True)
class BenchmarkReplay:
    """What to measure."""

    games: tuple[str, ...] = ("Pong", "Breakout", "Qbert")  # to measure memory on; speed on the first
    memory_of: tuple[str, ...] = ("raw", "lz4", "ReplayBuffer", "ReplayBuffer, optimize_memory_usage")
    transitions: int = 20_000  # capacity of the replays whose memory is measured
    insertions: int = 30_000  # steps stored in each: the later ones overwrite the first
    peer_transitions: int = 20_000  # at most, for the peers: a million of theirs may not fit
    speed_transitions: int = 10_000  # capacity of the replays whose speed is measured
    batch_sizes: tuple[int, ...] = (32, 256)
    repeats: int = 50  # timings a figure
    num_envs: int = 64
    seed: int = 0
    device: DeviceName = "auto"  # where a batch has to arrive
    threads: int = 1  # with which PyTorch gathers frames; 0: all cores
    output: Path | None = None  # JSON file for the records

    def __post_init__(self) -> None:
        for name in self.memory_of:
            if name not in OURS + PEERS:
                raise ValueError(f"memory_of must name replays among {', '.join(OURS + PEERS)}, got {name!r}")
        for name in ("repeats", "num_envs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.games:
            raise ValueError("games must name at least one")
        for name in ("transitions", "peer_transitions", "speed_transitions"):
            if getattr(self, name) < self.num_envs * (STACK + N_STEP):
                least = self.num_envs * (STACK + N_STEP)
                raise ValueError(f"{name} must be at least {least} for {self.num_envs} envs, got {getattr(self, name)}")


class Ours:
    """Our replay of n-step transitions, on one storage."""

    implementation = "cartridge"

    def __init__(self, storage: FrameStorage, *, num_envs: int, device: torch.device, prioritised: bool) -> None:
        self._device = device
        self._generator = np.random.default_rng(0)
        self._replay = Replay(
            storage,
            num_envs=num_envs,
            stack=STACK,
            n_step=N_STEP,
            discount=DISCOUNT,
            reward_clip=True,
            priorities=Priorities(storage.capacity) if prioritised else None,
        )

    def storing(self, step: PlayedStep) -> Callable[[], None]:
        """Returns what stores one step of every environment."""
        fields = step._asdict()
        del fields["next_frames"]
        return partial(self._replay.append, **fields)

    def sample(self, batch_size: int) -> None:
        """Brings one batch to the device, and updates its priorities where there are any."""
        batch = self._replay.sample(batch_size, self._generator)
        for part in batch[:-1]:
            part.to(self._device)
        self._replay.set_priorities(batch.slot, batch.reward)


class Peer:
    """One of Stable-Baselines3's buffers. Its stacks come ready from the environment: making them is not timed."""

    implementation = "stable_baselines3"

    def __init__(
        self, buffer_type: type[ReplayBuffer], capacity: int, *, num_envs: int, device: torch.device, **options: Any
    ) -> None:
        space = gym.spaces.Box(0, 255, (STACK * FRAME_SHAPE[0], *FRAME_SHAPE[1:]), np.uint8)
        self._buffer = buffer_type(capacity, space, gym.spaces.Discrete(18), device, num_envs, **options)
        self._steps = StackedSteps(num_envs, FRAME_SHAPE, STACK)

    def storing(self, step: PlayedStep) -> Callable[[], None]:
        """Returns what stores one step of every environment."""
        observation, next_observation, done, infos = self._steps.next(step)
        return partial(
            self._buffer.add, observation, next_observation, step.actions, np.sign(step.rewards), done, infos
        )

    def sample(self, batch_size: int) -> None:
        """Brings one batch to the device."""
        self._buffer.sample(batch_size)


Subject = Ours | Peer


def build_subject(name: str, capacity: int, *, num_envs: int, device: torch.device) -> Subject:
    """Returns the replay of that name from OURS or PEERS."""
    if name in OURS:
        storage: FrameStorage
        if name == "lz4":
            storage = Lz4Storage(capacity, FRAME_SHAPE)
        elif name == "device":
            storage = DeviceStorage(capacity, FRAME_SHAPE, device=device)
        else:
            storage = RawStorage(capacity, FRAME_SHAPE)
        return Ours(storage, num_envs=num_envs, device=device, prioritised="prioritised" in name)
    if name == "NStepReplayBuffer":
        return Peer(NStepReplayBuffer, capacity, num_envs=num_envs, device=device, n_steps=N_STEP, gamma=DISCOUNT)
    # Its constructor refuses to save memory and to bootstrap at truncations at once.
    optimised = "optimize" in name
    return Peer(
        ReplayBuffer,
        capacity,
        num_envs=num_envs,
        device=device,
        optimize_memory_usage=optimised,
        handle_timeout_termination=not optimised,
    )


def main(config: BenchmarkReplay) -> None:
    """Measures memory, then speed; prints and writes the records."""
    set_num_threads(config.threads)
    device = choose_device(config.device)
    conditions = f"speed on {config.games[0]}, batches arrive on {device_description(device)}"
    print(conditions)
    records = measure_memory(config) + measure_speed(config, device)
    print(records_table(records))
    if config.output is not None:
        write_records(config.output, records, conditions=conditions)
        print(f"wrote {config.output}")


class MemoryCell(NamedTuple):
    """One measurement of memory."""

    subject: str
    game: str
    transitions: int
    insertions: int
    num_envs: int
    seed: int


def measure_memory(config: BenchmarkReplay) -> list[BenchmarkRecord]:
    """Returns gigabytes of resident memory per million transitions."""
    records = []
    for game in config.games:
        for name in config.memory_of:
            ours = name in OURS
            transitions = config.transitions if ours else min(config.transitions, config.peer_transitions)
            insertions = config.insertions if ours else min(config.insertions, transitions)
            cell = MemoryCell(name, game, transitions, insertions, config.num_envs, config.seed)
            # A fresh process: one that has measured before would take memory again that it still holds.
            with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as process:
                grown = process.submit(grown_memory, cell).result()
            records.append(
                BenchmarkRecord(
                    benchmark="replay memory",
                    implementation=Ours.implementation if ours else Peer.implementation,
                    setting=f"{game}, {name}, {transitions:,} transitions, {insertions:,} insertions",
                    value=grown / transitions / 1e3,
                    unit="GB per million transitions",
                )
            )
            print(f"{game}, {name}: {grown / transitions:,.0f} bytes a transition", flush=True)
    return records


def grown_memory(cell: MemoryCell) -> int:
    """Returns the bytes that this process's resident memory grows by while a replay is filled with real play."""
    environment = build_environment(cell.game, cell.num_envs, cell.seed)
    steps = play_at_random(environment, seed=cell.seed)
    next(steps)  # the emulators take their own memory first
    subject = build_subject(cell.subject, cell.transitions, num_envs=cell.num_envs, device=torch.device("cpu"))
    before = resident_memory()
    with Progress(cell.insertions, unit="insertions") as progress:
        for inserted in range(cell.num_envs, cell.insertions + 1, cell.num_envs):
            subject.storing(next(steps))()
            progress.update(inserted)
    grown = resident_memory() - before
    environment.close()
    return grown


def resident_memory() -> int:
    """Returns the bytes of physical memory that this process holds."""
    statistics = Path("/proc/self/statm")
    if not statistics.exists():
        raise OSError("memory is measured on Linux only: it is read from /proc/self/statm")
    return int(statistics.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure_speed(config: BenchmarkReplay, device: torch.device) -> list[BenchmarkRecord]:
    """Returns transitions stored a second and milliseconds a batch, of full replays taking turns."""
    names = ("raw", "raw, prioritised", "lz4", "device", "ReplayBuffer", "NStepReplayBuffer")
    subjects = {
        name: build_subject(name, config.speed_transitions, num_envs=config.num_envs, device=device) for name in names
    }
    environment = build_environment(config.games[0], config.num_envs, config.seed)
    steps = play_at_random(environment, seed=config.seed)
    for step in islice(steps, config.speed_transitions // config.num_envs):
        for subject in subjects.values():
            subject.storing(step)()

    storing: dict[str, list[float]] = {name: [] for name in names}
    sampling: dict[tuple[str, int], list[float]] = {(name, size): [] for name in names for size in config.batch_sizes}
    for step in islice(steps, config.repeats):
        for name, subject in subjects.items():
            storing[name].append(config.num_envs / seconds(subject.storing(step), device))
            for size in config.batch_sizes:
                sampling[name, size].append(1e3 * seconds(partial(subject.sample, size), device))
    environment.close()

    records = []
    for name, subject in subjects.items():
        described = f"{name}, {'n-step 1' if name == 'ReplayBuffer' else f'n-step {N_STEP}'}"
        common = {"benchmark": "replay speed", "implementation": subject.implementation}
        setting = f"store, {described}, {config.num_envs} envs"
        records.append(summarise(storing[name], **common, setting=setting, unit="transitions/s"))
        for size in config.batch_sizes:
            setting = f"sample {size}, {described}"
            records.append(summarise(sampling[name, size], **common, setting=setting, unit="ms"))
    return records


def seconds(action: Callable[[], None], device: torch.device) -> float:
    """Returns how long an action takes until its work on the device is done."""
    start = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def build_environment(game: str, num_envs: int, seed: int) -> SeededEpisodes:
    """Returns the game in `num_envs` emulators on one thread, with the default sticky actions."""
    return make_atari_vector(AtariConfig(game=game), num_envs=num_envs, num_threads=1, seed=seed)


if __name__ == "__main__":
    run_command(BenchmarkReplay, main, documentation=__doc__)
