"""Trains Stable-Baselines3's DQN or PPO as the reference for ours: same game, encoder, curves and evaluation.

    python -m scripts.train_sb3                         DQN on Pong, two hours on two CPU cores
    python -m scripts.train_sb3 --algorithm ppo
    python -m scripts.train_sb3 --catch --total-steps 20000 --dqn.learning-starts 1000

Writes runs/NAME/: TensorBoard events under the names that train_dqn uses where they mean the same, evaluations.json, a
video, and model.zip in Stable-Baselines3's format: evaluations and model after every evaluation. Ctrl-C stops and
saves; the library cannot resume a run exactly, so this command does not offer it.
"""

import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from agents.stable_baselines3_bridge import StableBaselines3Agent
from scripts.run.command_line import run_command
from scripts.run.config_file import config_to_json
from scripts.run.devices import DeviceName, choose_device, device_description, set_num_threads
from scripts.run.film import film_game
from scripts.run.interruption import Interruption
from scripts.run.periodic_evaluation import PeriodicEvaluation
from scripts.run.progress import Progress
from scripts.run.run_directory import RunDirectory
from scripts.run.sb3_assembly import SB3RunConfig, build_model
from scripts.run.sb3_recorder import SB3Recorder
from scripts.run.tensorboard import TensorBoardWriter, flatten_config
from scripts.run.video import write_video


@dataclass(frozen=True, kw_only=True)
class TrainSB3:
    """What to train, and where."""

    run: Annotated[SB3RunConfig, tyro.conf.arg(name="")] = field(default_factory=SB3RunConfig)
    run_directory: Path | None = None  # default: runs/sb3-ALGORITHM-GAME-seedSEED-DATE-TIME
    device: DeviceName = "auto"
    threads: int = 0  # CPU threads; 0: all cores


def main(settings: TrainSB3) -> None:
    """Trains until the last step, until the scores asked for are confirmed, or until Ctrl-C."""
    started = time.monotonic()
    config = settings.run
    set_num_threads(settings.threads)
    device = choose_device(settings.device)
    model = build_model(config, device=device)
    label = f"sb3-{config.algorithm}-{config.games.game_name}-seed{config.seed}"
    directory = RunDirectory.create(settings.run_directory, config=config, label=label, can_resume=False)
    print(f"{config.games.game_name} on {device_description(device)}, in {directory.path}", file=sys.stderr)
    with (
        TensorBoardWriter(directory.path) as board,
        closing(PeriodicEvaluation(config.games)) as evaluation,
        Interruption() as interruption,
        Progress(config.total_steps) as progress,
    ):
        recorder = SB3Recorder(
            board=board,
            evaluation=evaluation,
            progress=progress,
            interruption=interruption,
            log_every_steps=config.log_every_steps,
            seconds=lambda: time.monotonic() - started,
            folder=directory.path,
        )
        # Without an interval the library writes nothing, and leaves its values to the recorder.
        model.learn(config.total_steps, callback=recorder, log_interval=None)  # type: ignore[arg-type]
        recorder.save()
        if not interruption.requested:
            score = recorder.final_score()
            columns = flatten_config(config_to_json(config))
            board.hyper_parameters(columns, results={"final/score": score}, step=model.num_timesteps)
            if config.evaluation.film:
                film = film_game(StableBaselines3Agent(model), config.games, seed=config.seed)
                video = directory.videos / f"step-{model.num_timesteps}.mp4"
                write_video(video, film.frames, frames_per_second=film.frames_per_second)
    print(directory.path)


def command() -> None:
    """Runs as a console command."""
    run_command(TrainSB3, main, documentation=__doc__)


if __name__ == "__main__":
    command()
