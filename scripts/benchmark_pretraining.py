"""Measures pretraining speed: ours, and the usual pipeline that augments each sample in data-loader workers.

    python -m scripts.benchmark_pretraining                       a few minutes on two cores
    python -m scripts.benchmark_pretraining --output speed.json

Both train the same network (SimCLR's head on a NatureCNN) by the same loss and optimiser on the same frames of random
play, and shift and dim both views alike. Both have them decoded in memory, ours as `pretrain_encoder` does while they
fit into its --memory-gigabytes. The workers of the usual pipeline make two views of each sample, one sample at a time,
as float32, and a batch travels to the training process; ours makes the views of a whole batch at once, on the device.
They train in turn, `--rounds` times, in one process: slow minutes of the machine meet both. What the workers have made
ahead is used up before the clock starts.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from gen_ssl.encoders import NatureCNN
from gen_ssl.frames import FrameStore
from gen_ssl.methods import make_method
from gen_ssl.optimization import OptimizerConfig
from gen_ssl.pretraining import PretrainingConfig, pretrain
from gen_ssl.simclr import SimCLR, nt_xent_logits
from gen_ssl.views import make_views
from scripts.run.benchmark_records import BenchmarkRecord, records_table, summarise, write_records
from scripts.run.command_line import run_command
from scripts.run.devices import (
    DeviceName,
    available_cores,
    choose_device,
    computes_in_bfloat16,
    device_description,
    keep_freed_memory,
    set_num_threads,
)
from scripts.run.pretrain_assembly import build_fabric, build_parts
from scripts.run.pretrain_config import FramesConfig, PretrainRunConfig
from scripts.run.pretrain_frames import collect_random_frames
from scripts.run.progress import in_turns

UNTIL_THE_END = 10**9  # steps: more than a benchmark ever takes
STACK = 4
MAX_SHIFT = 2  # pixels, as in our default views
INTENSITY = 0.05
LEARNING_RATE = 1e-3
FILLING_SECONDS = 1.0  # in which the workers fill their queues: none of it is to fall into the time of another

Runner = Callable[[], float]  # trains for `steps_per_round` steps, returns the seconds that they took


@dataclass(frozen=True, kw_only=True)
class BenchmarkPretraining:
    """What to measure, and how long."""

    game: str = "Pong"
    num_frames: int = 5_000
    batch_size: int = 256
    rounds: int = 5
    steps_per_round: int = 8
    workers: int = 0  # of the usual pipeline; 0: one per core
    seed: int = 0
    device: DeviceName = "auto"
    threads: int = 0  # CPU threads; 0: all cores
    output: Path | None = None  # JSON file for the records

    def __post_init__(self) -> None:
        for name in ("num_frames", "batch_size", "rounds", "steps_per_round"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


def main(config: BenchmarkPretraining) -> None:
    """Measures all in turn and prints the table."""
    set_num_threads(config.threads)
    keep_freed_memory()  # for the peer too: it is one process
    device = choose_device(config.device)
    workers = config.workers or available_cores()
    conditions = f"SimCLR, NatureCNN, batch {config.batch_size}, {config.game}, {device_description(device)}"
    print(conditions)
    with tempfile.TemporaryDirectory() as folder:
        frames = Path(folder) / "frames"
        collect_random_frames(frames, game=config.game, num_frames=config.num_frames, seed=config.seed)
        runners = {
            ("cartridge", "auto precision"): our_runner(config, frames, device, precision="auto"),
            ("cartridge", "float32"): our_runner(config, frames, device, precision="float32"),
            ("torch DataLoader", f"{workers} workers, float32"): peer_runner(config, frames, device, workers=workers),
        }
        if computes_in_bfloat16(device):
            setting = f"{workers} workers, bfloat16 autocast"
            runners["torch DataLoader", setting] = peer_runner(config, frames, device, workers=workers, bfloat16=True)
        records = measure_speed(config, runners)
        records += ratios(records)
        records.append(measure_views(config, frames, device, ours=records[0]))
    print(records_table(records))
    if config.output is not None:
        write_records(config.output, records, conditions=conditions)
        print(config.output)


def measure_speed(config: BenchmarkPretraining, runners: dict[tuple[str, str], Runner]) -> list[BenchmarkRecord]:
    """Returns samples per second of each, taking turns."""
    speeds: dict[tuple[str, str], list[float]] = {name: [] for name in runners}
    for run in runners.values():  # not measured: fills caches
        run()
    for name, run in in_turns(runners.items(), config.rounds):
        speeds[name].append(config.steps_per_round * config.batch_size / run())
    return [
        summarise(values, benchmark="pretraining", implementation=implementation, setting=setting, unit="samples/s")
        for (implementation, setting), values in speeds.items()
    ]


def ratios(records: list[BenchmarkRecord]) -> list[BenchmarkRecord]:
    """Returns our speeds over those of the usual pipeline.

    Each of our settings over the usual pipeline as it is usually run, in float32, and where that was measured in
    bfloat16 too, our automatic precision, bfloat16 there, over it.
    """
    ours = [record for record in records if record.implementation == "cartridge"]
    usual, *in_bfloat16 = (record for record in records if record.implementation != "cartridge")
    pairs = [(record, usual) for record in ours] + [(ours[0], peer) for peer in in_bfloat16]
    return [
        replace(
            record,
            benchmark="pretraining, ratio",
            setting=f"{record.setting}, over {peer.implementation} with {peer.setting}",
            value=record.value / peer.value,
            unit="x",
            repeats=1,
            spread=0.0,
        )
        for record, peer in pairs
    ]


def our_runner(config: BenchmarkPretraining, frames: Path, device: torch.device, *, precision: Any) -> Runner:
    """Returns a runner of our loop, as `pretrain_encoder` builds it."""
    run_config = PretrainRunConfig(
        method="simclr",
        encoder="NatureCNN",
        seed=config.seed,
        stack=STACK,
        precision=precision,
        frames=FramesConfig(frames=frames),
        pretraining=PretrainingConfig(
            steps=UNTIL_THE_END,
            batch_size=config.batch_size,
            log_every_steps=config.steps_per_round,
            optimizer=OptimizerConfig(learning_rate=LEARNING_RATE, warmup_steps=0),
        ),
    )
    pretraining = build_parts(run_config, frames, build_fabric(run_config, device), watched=False).pretraining

    metrics = pretrain(pretraining)

    def run() -> float:
        started = time.perf_counter()
        next(metrics)
        _wait_for(device)
        return time.perf_counter() - started

    return run


class TwoViews(Dataset[tuple[Tensor, Tensor]]):
    """Stacks of frames in memory; an item is two views of one, each augmented by itself, as torchvision does it."""

    def __init__(self, frames: UInt8[Tensor, "n c h w"], starts: Int64[np.ndarray, " n"]) -> None:
        """Takes all frames, and for each of them the first one of its episode."""
        self._frames = frames
        self._starts = starts

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "c h w"], Float[Tensor, "c h w"]]:
        first = int(self._starts[index])
        stack = torch.cat([self._frames[max(index - back, first)] for back in reversed(range(STACK))])
        return self._view(stack), self._view(stack)

    def _view(self, stack: UInt8[Tensor, "c h w"]) -> Float[Tensor, "c h w"]:
        pixels = stack.float() / 255
        padded = nn.functional.pad(pixels, (MAX_SHIFT,) * 4, mode="replicate")
        y, x = torch.randint(0, 2 * MAX_SHIFT + 1, (2,)).tolist()
        height, width = stack.shape[1:]
        factor = 1 + INTENSITY * torch.randn(()).clamp(-2, 2)
        return (padded[:, y : y + height, x : x + width] * factor).clamp(0, 1)


def peer_runner(
    config: BenchmarkPretraining, frames: Path, device: torch.device, *, workers: int, bfloat16: bool = False
) -> Runner:
    """Returns a runner of the usual loop, written as in PyTorch's tutorials."""
    store = FrameStore.open(frames)
    dataset = TwoViews(store.frames(np.arange(len(store))), store.episodes.starts[store.episode_ids])
    loader = DataLoader(
        dataset, config.batch_size, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=True
    )
    torch.manual_seed(config.seed)
    encoder = NatureCNN(frame_shape=(STACK * store.frame_shape[0], *store.frame_shape[1:])).to(device)
    method = make_method("simclr", encoder)
    assert isinstance(method, SimCLR)
    head, temperature = method.head.to(device), method.config.temperature
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=LEARNING_RATE)

    def update(first: Tensor, second: Tensor) -> None:
        both = torch.cat([first, second]).to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
            projections = head(encoder.from_pixels(both))
        one, other = projections.float().chunk(2)
        logits, positives = nt_xent_logits(one, other, temperature=temperature)
        loss = nn.functional.cross_entropy(logits, positives)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from loader

    waiting = batches()
    # What the workers made while others were measured is used up before the clock starts: it would seem to be free.
    made_ahead = (loader.prefetch_factor or 0) * workers

    def run() -> float:
        for _ in range(made_ahead):
            update(*next(waiting))
        started = time.perf_counter()
        for _ in range(config.steps_per_round):
            update(*next(waiting))
        _wait_for(device)
        seconds = time.perf_counter() - started
        time.sleep(FILLING_SECONDS)
        return seconds

    return run


def measure_views(
    config: BenchmarkPretraining, frames: Path, device: torch.device, *, ours: BenchmarkRecord
) -> BenchmarkRecord:
    """Returns which share of our step the making of both views takes."""
    store = FrameStore.open(frames)
    stacks = store.stacks(np.arange(config.batch_size), stack=STACK).to(device)
    views, generator = make_views("default"), torch.Generator(device).manual_seed(config.seed)
    shares = []
    for _ in range(1 + config.rounds):
        _wait_for(device)
        started = time.perf_counter()
        views(stacks, generator), views(stacks, generator)
        _wait_for(device)
        shares.append((time.perf_counter() - started) * ours.value / config.batch_size)
    setting = f"both views, of a step with {ours.setting}"
    return summarise(
        shares[1:], benchmark="augmentation", implementation=ours.implementation, setting=setting, unit="share"
    )


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    run_command(BenchmarkPretraining, main, documentation=__doc__)
