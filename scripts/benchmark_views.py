"""Measures views of frames: how fast they are made, beside kornia, and whether Pong's ball survives them.

    python -m scripts.benchmark_views                a minute on two cores

Speed: 256 stacks of 4x84x84 of real play, all implementations in turn, on one thread, by the time it computes. kornia's
RandomCrop, in its default mode, works on float32: once the conversion of the stored uint8 is counted, once it is not.
Expect our shift to be 5 to 10 times faster.

Visibility: Pong at random; where the ball is, the console's memory says. A pair counts when the pixel at the ball's
centre is inside of both views. Expect 99% with a shift of 2, 98% with a shift of 4, 43% with the photographic recipe.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

from envs import AtariConfig, make_atari
from envs.ram import console_ram, pong_ball
from gen_ssl.views import RandomShift, Views, make_views
from scripts.run.benchmark_records import BenchmarkRecord, records_table, summarise, write_records
from scripts.run.command_line import run_command
from scripts.run.devices import DeviceName, choose_device, device_description, keep_freed_memory

SHIFTS = (2, 4)
SIDE = 84
NEAR_A_SIDE = 6  # pixels


@dataclass(frozen=True, kw_only=True)
class BenchmarkViews:
    """What to measure."""

    steps: int = 10_000  # of Pong
    stacks: int = 256  # a batch
    repeats: int = 40  # timings a figure
    pairs: int = 10  # of views of every stack in which the ball is in play
    seed: int = 0
    device: DeviceName = "auto"
    threads: int = 1  # with which PyTorch computes
    output: Path | None = None  # JSON file for the records

    def __post_init__(self) -> None:
        for name in ("steps", "stacks", "repeats", "pairs", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


class PongPlay(NamedTuple):
    """Stacks of random play, and the pixel at the ball's centre."""

    stacks: UInt8[Tensor, "n 4 84 84"]
    ball: Int64[Tensor, "n 2"]  # row and column
    in_play: Bool[Tensor, " n"]


def main(config: BenchmarkViews) -> None:
    """Measures speed, then visibility; prints and writes the records."""
    torch.set_num_threads(config.threads)
    keep_freed_memory()  # as commands that pretrain do
    device = choose_device(config.device)
    print(f"views are made on {device_description(device)}")
    play = play_pong(config.steps, config.seed)
    records = measure_speed(config, play.stacks, device) + measure_visibility(config, play)
    print(records_table(records))
    if config.output is not None:
        write_records(config.output, records)
        print(f"wrote {config.output}")


def play_pong(steps: int, seed: int) -> PongPlay:
    """Returns so many stacks of uniformly random play."""
    environment = make_atari(AtariConfig(game="Pong"))
    assert isinstance(environment.action_space, gym.spaces.Discrete)
    generator = np.random.default_rng(seed)
    observation, _ = environment.reset(seed=seed)
    stacks, memory = [], []
    for _ in range(steps):
        action = generator.integers(environment.action_space.n)
        observation, _, terminated, truncated, _ = environment.step(action)
        stacks.append(np.asarray(observation))
        memory.append(console_ram(environment))
        if terminated or truncated:
            observation, _ = environment.reset()
    environment.close()
    ball = pong_ball(np.stack(memory), frame_size=SIDE)
    pixels = torch.from_numpy(np.stack([ball.row, ball.column], axis=1)).long().clamp_(0, SIDE - 1)
    return PongPlay(torch.from_numpy(np.stack(stacks)), pixels, torch.from_numpy(ball.in_play))


def measure_speed(
    config: BenchmarkViews, stacks: UInt8[Tensor, "n 4 84 84"], device: torch.device
) -> list[BenchmarkRecord]:
    """Returns milliseconds a batch of every view, and by how much our shifts are faster than kornia's crops."""
    generator = torch.Generator(device).manual_seed(config.seed)
    chosen = torch.from_numpy(np.random.default_rng(config.seed).integers(len(stacks), size=config.stacks))
    frames = stacks[chosen].to(device)
    subjects = kornia_crops(frames)
    subjects |= {("cartridge", name): partial(views, frames, generator) for name, views in our_views().items()}
    timings: dict[tuple[str, str], list[float]] = {subject: [] for subject in subjects}
    for repeat in range(config.repeats + 2):
        for subject, action in subjects.items():
            spent = seconds(action, device, config.threads)
            if repeat >= 2:  # the first ones take memory
                timings[subject].append(1e3 * spent)
    records = [
        summarise(
            repeats, benchmark="view speed", implementation=by, setting=f"{what}, {config.stacks} stacks", unit="ms"
        )
        for (by, what), repeats in timings.items()
    ]
    for shift in SHIFTS:
        for what in ("of float32", "of uint8"):
            peers, ours = timings["kornia", f"RandomCrop {shift} {what}"], timings["cartridge", f"shift {shift}"]
            setting = f"shift {shift} against kornia's RandomCrop {what}, {config.stacks} stacks"
            # Ratios of neighbours in time: what slows the machine down slows both.
            ratios = [peer / our for peer, our in zip(peers, ours, strict=True)]
            records.append(
                summarise(ratios, benchmark="view speed", implementation="cartridge", setting=setting, unit="x")
            )
    return records


def our_views() -> dict[str, Views]:
    """Returns our views by the names in the records; the warning of the photographic ones is known here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        photographic = make_views("photographic")
    shifts: dict[str, Views] = {f"shift {shift}": RandomShift(shift) for shift in SHIFTS}
    return shifts | {"default views": make_views("default"), "photographic views": photographic}


def kornia_crops(frames: UInt8[Tensor, "b 4 84 84"]) -> dict[tuple[str, str], Callable[[], Any]]:
    """Returns kornia's shifts, by padding and cropping, of frames in float32 and in uint8."""
    from kornia.augmentation import RandomCrop

    in_float = frames.float() / 255
    subjects: dict[tuple[str, str], Callable[[], Any]] = {}
    for shift in SHIFTS:
        crop = RandomCrop((SIDE, SIDE), padding=shift, padding_mode="replicate")
        subjects["kornia", f"RandomCrop {shift} of float32"] = partial(crop, in_float)
        subjects["kornia", f"RandomCrop {shift} of uint8"] = partial(_convert_and_crop, crop, frames)
    return subjects


def measure_visibility(config: BenchmarkViews, play: PongPlay) -> list[BenchmarkRecord]:
    """Returns how often the ball is where the memory says, and how often it is seen in both views of a stack."""
    stacks, ball = play.stacks[play.in_play], play.ball[play.in_play]
    if len(ball) == 0:
        raise ValueError(f"the ball was not in play during any of {config.steps} steps: take more")
    near = (ball[:, 1] < NEAR_A_SIDE) | (ball[:, 1] >= SIDE - NEAR_A_SIDE)
    records = [_share("ball found within a pixel of its place in memory", [ball_is_there(stacks, ball)])]
    generator = torch.Generator().manual_seed(config.seed)
    for name, views in our_views().items():
        seen = [seen_by(views, ball, generator) & seen_by(views, ball, generator) for _ in range(config.pairs)]
        records.append(_share(f"ball in both views, {name}", seen))
        if near.any():
            records.append(_share(f"ball in both views, {name}, ball near a side", [both[near] for both in seen]))
    return records


def ball_is_there(stacks: UInt8[Tensor, "n 4 84 84"], ball: Int64[Tensor, "n 2"]) -> Bool[Tensor, " n"]:
    """Returns whether the newest frame differs from the field's grey within a pixel of the ball's place."""
    field = stacks[0, -1, SIDE // 2, 2].int()
    rows = (ball[:, :1] + torch.tensor([-1, -1, -1, 0, 0, 0, 1, 1, 1])).clamp_(0, SIDE - 1)
    columns = (ball[:, 1:] + torch.tensor([-1, 0, 1] * 3)).clamp_(0, SIDE - 1)
    around = stacks[torch.arange(len(ball)).unsqueeze(1), -1, rows, columns].int()
    return ((around - field).abs() > 20).any(dim=1)


def seen_by(views: Views, ball: Int64[Tensor, "n 2"], generator: torch.Generator) -> Bool[Tensor, " n"]:
    """Returns whether a view shows the ball's centre, told by views of frames that are black but for that pixel."""
    seen = []
    for places in ball.split(512):
        marked = torch.zeros((len(places), 1, SIDE, SIDE), dtype=torch.uint8)
        marked[torch.arange(len(places)), 0, places[:, 0], places[:, 1]] = 255
        seen.append((views(marked, generator) != 0).flatten(1).any(dim=1))
    return torch.cat(seen)


def seconds(action: Callable[[], Any], device: torch.device, threads: int) -> float:
    """Returns how long an action takes until its work on the device is done.

    On one thread of the CPU it is the time computed, so that other programs do not count.
    """
    clock = time.process_time if device.type == "cpu" and threads == 1 else time.perf_counter
    start = clock()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start


def _convert_and_crop(crop: Callable[[Tensor], Any], frames: UInt8[Tensor, "b 4 84 84"]) -> None:
    crop(frames.float() / 255)


def _share(setting: str, seen: list[Bool[Tensor, " n"]]) -> BenchmarkRecord:
    """Returns the record of a share of all pairs, in percent."""
    shares = [100 * float(part.float().mean()) for part in seen]
    return summarise(shares, benchmark="view visibility", implementation="cartridge", setting=setting, unit="%")


if __name__ == "__main__":
    run_command(BenchmarkViews, main, documentation=__doc__)
