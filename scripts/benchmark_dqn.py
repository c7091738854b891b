"""Measures training speed: our DQN and Stable-Baselines3's, the same network, game and samples per step.

    python -m scripts.benchmark_dqn                       a few minutes on two cores
    python -m scripts.benchmark_dqn --output speed.json

Every implementation first passes its start (random play, compilation) and then trains in turn, `--rounds` times for
`--steps-per-round` steps each, in one process: slow minutes of the machine meet all of them. 8 samples are drawn per
step, with the NatureCNN, uniform replay and one-step targets, so all do the same arithmetic per step; what differs is
the number of games side by side, the size of the batches, and the code. Expect 2.5 to 4 times the peer's speed. One row
is not the same arithmetic: a frozen encoder (untrained here, which costs the same), whose features are replayed.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import stable_baselines3
import torch
from stable_baselines3.common.vec_env import DummyVecEnv

from agents import ExplorationConfig, TrainingConfig, train
from envs import AtariConfig, make_atari
from scripts.run.benchmark_records import BenchmarkRecord, records_table, summarise, write_records
from scripts.run.command_line import run_command
from scripts.run.devices import DeviceName, choose_device, device_description, keep_freed_memory, set_num_threads
from scripts.run.dqn_assembly import build_training
from scripts.run.dqn_config import PRESETS, DQNRunConfig, ReplayConfig
from scripts.run.progress import in_turns

SAMPLES_PER_STEP = 8
UNTIL_THE_END = 10**9  # steps: more than a benchmark ever takes

Runner = Callable[[int], int]  # trains for about so many steps, returns how many it took


@dataclass(frozen=True, kw_only=True)
class BenchmarkDQN:
    """What to measure, and how long."""

    game: str = "Pong"
    rounds: int = 5
    steps_per_round: int = 1_024
    learning_starts: int = 2_048  # steps of random play, not measured
    num_envs: int = 32  # ours; the peer plays one game, as it does by default
    batch_size: int = 256  # ours, and the peer's second setting
    seed: int = 0
    device: DeviceName = "auto"
    threads: int = 0  # CPU threads; 0: all cores
    output: Path | None = None  # JSON file for the records

    def __post_init__(self) -> None:
        if self.batch_size % SAMPLES_PER_STEP:
            raise ValueError(f"batch_size must be a multiple of {SAMPLES_PER_STEP}, got {self.batch_size}")
        for name in ("rounds", "steps_per_round", "learning_starts", "num_envs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


def main(config: BenchmarkDQN) -> None:
    """Measures all implementations in turn and prints the table."""
    set_num_threads(config.threads)
    keep_freed_memory()  # for the peer too: it is one process
    device = choose_device(config.device)
    conditions = f"training on {config.game}, {device_description(device)}, {SAMPLES_PER_STEP} samples per step"
    print(conditions)
    own = f"batch {config.batch_size} every {config.batch_size // SAMPLES_PER_STEP} steps"
    ours = f"{own}, {config.num_envs} games"
    runners = {
        ("cartridge", ours): our_runner(config, device),
        ("cartridge", f"{ours}, raw storage"): our_runner(config, device, storage="raw"),
        ("cartridge", f"{ours}, eager float32"): our_runner(config, device, plain=True),
        ("cartridge", f"{ours}, frozen encoder, features replayed"): our_runner(config, device, frozen=True),
        ("stable-baselines3", "batch 32 every 4 steps, 1 game"): peer_runner(config, device, batch_size=32),
        ("stable-baselines3", f"{own}, 1 game"): peer_runner(config, device, batch_size=config.batch_size),
    }
    speeds: dict[tuple[str, str], list[float]] = {name: [] for name in runners}
    for run in runners.values():  # not measured: passes the start of learning, compiles
        run(config.learning_starts + config.steps_per_round)
    for name, run in in_turns(runners.items(), config.rounds):
        started = time.perf_counter()
        steps = run(config.steps_per_round)
        speeds[name].append(steps / (time.perf_counter() - started))
    records = [
        summarise(values, benchmark="training", implementation=implementation, setting=setting, unit="steps/s")
        for (implementation, setting), values in speeds.items()
    ]
    records += ratios(records)
    print(records_table(records))
    if config.output is not None:
        write_records(config.output, records, conditions=conditions)
        print(config.output)


def our_runner(
    config: BenchmarkDQN,
    device: torch.device,
    *,
    plain: bool = False,
    frozen: bool = False,
    storage: Literal["auto", "raw"] = "auto",
) -> Runner:
    """Returns a runner of our training; `plain` without compilation and bfloat16, `frozen` of the head alone."""
    run_config: DQNRunConfig = replace(
        PRESETS["nature-2015"],
        seed=config.seed,
        num_envs=config.num_envs,
        encoder_mode="frozen" if frozen else "finetune",
        precision="float32" if plain else "auto",
        compile="off" if plain else "auto",
        atari=AtariConfig(game=config.game),
        replay=ReplayConfig(capacity=50_000, storage=storage),
        training=TrainingConfig(
            total_steps=UNTIL_THE_END,
            learning_starts=config.learning_starts,
            batch_size=config.batch_size,
            samples_per_step=SAMPLES_PER_STEP,
            log_every_steps=config.num_envs,
            held_out_states=1,
            exploration=ExplorationConfig(initial_epsilon=0.1, final_epsilon=0.1, decay_steps=1),
        ),
    )
    training = build_training(run_config, device=device)
    metrics = train(training)

    def run(steps: int) -> int:
        first = training.steps
        while training.steps - first < steps:
            next(metrics)
        _wait_for(device)
        return training.steps - first

    return run


def peer_runner(config: BenchmarkDQN, device: torch.device, *, batch_size: int) -> Runner:
    """Returns a runner of Stable-Baselines3's DQN with its CnnPolicy, as its users build it."""
    games = DummyVecEnv([lambda: make_atari(AtariConfig(game=config.game))])
    model = stable_baselines3.DQN(
        "CnnPolicy",
        games,
        buffer_size=20_000,
        learning_starts=config.learning_starts,
        batch_size=batch_size,
        train_freq=batch_size // SAMPLES_PER_STEP,
        target_update_interval=10_000,
        exploration_initial_eps=0.1,
        exploration_final_eps=0.1,
        seed=config.seed,
        device=device,
    )

    def run(steps: int) -> int:
        first = model.num_timesteps
        model.learn(steps, reset_num_timesteps=False)
        _wait_for(device)
        return int(model.num_timesteps - first)

    return run


def ratios(records: list[BenchmarkRecord]) -> list[BenchmarkRecord]:
    """Returns the speed of each of our settings over that of the peer as its users run it."""
    peer = next(record for record in records if record.implementation == "stable-baselines3")
    return [
        replace(
            record,
            benchmark="training, ratio",
            setting=f"{record.setting}, over {peer.implementation} with {peer.setting}",
            value=record.value / peer.value,
            unit="x",
            repeats=1,
            spread=0.0,
        )
        for record in records
        if record.implementation == "cartridge"
    ]


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    run_command(BenchmarkDQN, main, documentation=__doc__)
