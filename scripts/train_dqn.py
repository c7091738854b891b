"""Trains a DQN on an Atari game, from pixels.

    python -m scripts.train_dqn                                    Pong, on two CPU cores
    python -m scripts.train_dqn --preset catch                     a tiny game without a ROM, in a minute
    python -m scripts.train_dqn --preset nature-2015 --game Breakout
    python -m scripts.train_dqn --resume runs/NAME                 go on where a run was stopped

A preset sets every flag, and flags after it override single settings. Writes runs/NAME/: TensorBoard events
(`tensorboard --logdir runs`), evaluations.json, checkpoint.pt, a video. Ctrl-C saves and says how to go on.
docs/training.md explains every curve and what Pong should score after how long.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from agents import NonFiniteLossError, Training, train
from envs import SeededEpisodes
from scripts.run.checkpoint import load_checkpoint, save_checkpoint
from scripts.run.command_line import run_command
from scripts.run.config_file import config_to_json
from scripts.run.devices import DeviceName, choose_device, device_description, keep_freed_memory, set_num_threads
from scripts.run.dqn_assembly import build_training, check_encoder, keep_encoder, with_kept_encoder
from scripts.run.dqn_config import PRESETS, DQNRunConfig, PresetName
from scripts.run.film import film_game
from scripts.run.interruption import Interruption
from scripts.run.periodic_evaluation import PeriodicEvaluation
from scripts.run.progress import Progress
from scripts.run.run_directory import RunDirectory
from scripts.run.tensorboard import TensorBoardWriter, flatten_config
from scripts.run.video import write_video


@dataclass(frozen=True, kw_only=True)
class TrainDQN:
    """What to train, and where. Fields below `run` are saved with the run; the others may change when it is resumed."""

    run: DQNRunConfig
    preset: PresetName = "fast"  # the settings that all other flags start from
    run_directory: Path | None = None  # default: runs/dqn-GAME-seedSEED-DATE-TIME
    resume: Path | None = None  # a run directory to go on in, with its own settings
    device: DeviceName = "auto"
    threads: int = 0  # CPU threads; 0: all cores

    def __post_init__(self) -> None:
        check_encoder(self.run)


class DivergedRunError(ValueError):
    """A loss that is not finite ended the run; resumed from its checkpoint, it would end so again."""


class DQNRun:
    """A run and everything it writes, from its directory to its clock."""

    def __init__(self, command: TrainDQN) -> None:
        """Builds everything, and continues from the checkpoint when the command resumes a run."""
        self._started = time.monotonic()
        set_num_threads(command.threads)
        keep_freed_memory()
        device = choose_device(command.device)
        self.config = command.run
        _refuse_directory(command)
        config = self.config if command.resume is None else with_kept_encoder(self.config, command.resume)
        self.training: Training = build_training(config, device=device)
        self.evaluation = PeriodicEvaluation(self.config)
        self.finished = False  # but for the film
        # Made last: settings that were refused above leave no folder behind that looks like a run.
        self.directory = _open_directory(command)
        keep_encoder(self.config, self.directory.path)
        # A run killed before its first checkpoint begins again.
        if command.resume is not None and self.directory.checkpoint.exists():
            self._load(load_checkpoint(self.directory.checkpoint))
        self._saved_at = self.training.steps
        resume_step = None if command.resume is None else self.training.steps
        self.board = TensorBoardWriter(self.directory.path, resume_step=resume_step)
        print(f"{self.config.game_name} on {device_description(device)}, in {self.directory.path}", file=sys.stderr)

    def _load(self, saved: dict[str, Any]) -> None:
        step = saved["training"]["steps"]
        print(f"going on from step {step:,}: the games in progress are played again first", file=sys.stderr)
        steps_to_load = SeededEpisodes.steps_to_load(saved["training"]["environment"])
        with Progress(steps_to_load, unit="steps of each game") as progress:
            self.training.load_state_dict(saved["training"], on_step=progress.update)
        self.evaluation.load_state_dict(saved["evaluation"])
        self._started -= saved["seconds"]
        self.finished = saved.get("finished", False)  # checkpoints of earlier versions have none

    def seconds(self) -> float:
        """Returns the wall time spent on this run, evaluations and earlier sittings included."""
        return time.monotonic() - self._started

    def save(self) -> Path:
        """Writes the checkpoint, and before it everything that belongs to the steps it holds."""
        self.board.flush()
        self.evaluation.write(self.directory.path)
        state = {
            "training": self.training.state_dict(with_replay=self.config.save_replay),
            "evaluation": self.evaluation.state_dict(),
            "seconds": self.seconds(),
            "finished": self.finished,
        }
        self._saved_at = self.training.steps
        return save_checkpoint(self.directory.checkpoint, state)

    def save_is_due(self) -> bool:
        """Returns whether a multiple of `checkpoint_every_steps` has gone by since the last save."""
        every = self.config.checkpoint_every_steps
        return self.training.steps // every > self._saved_at // every

    def evaluate(self, progress: Progress) -> None:
        """Evaluates the agent as it is and logs the result."""
        metrics = self.evaluation.run(self.training.agent, step=self.training.steps, clock=self.seconds)
        self.board.scalars(metrics, step=self.training.steps)
        self.evaluation.write(self.directory.path)
        minutes = self.seconds() / 60
        progress.say(
            f"evaluation at step {self.training.steps:,}, minute {minutes:.1f}: "
            f"{metrics['evaluation/return_mean']:.2f} (mean of {self.config.evaluation.num_games} games)"
        )

    def finish(self, progress: Progress) -> None:
        """Makes what is still missing: a last evaluation, hyper-parameters with the final score, checkpoint, film."""
        if not self.finished:
            self._finish_training(progress)
        film = self.directory.videos / f"step-{self.training.steps}.mp4"
        if self.config.evaluation.film and not film.exists():
            self._film(film)
        self.board.close()
        for score, record in self.evaluation.confirmed.items():
            progress.say(f"score {score:g}: minute {record.seconds / 60:.1f}, step {record.step:,}, "
                         f"{record.mean:.2f} on {len(record.returns)} new games")  # fmt: skip

    def _finish_training(self, progress: Progress) -> None:
        if not self.evaluation.records or self.evaluation.records[-1].step < self.training.steps:
            self.evaluate(progress)
        score = self.evaluation.records[-1].mean
        self.board.hyper_parameters(
            flatten_config(config_to_json(self.config)), results={"final/score": score}, step=self.training.steps
        )
        self.finished = True
        self.save()  # before the film, which may fail

    def _film(self, path: Path) -> None:
        """Writes one game as a video, and the beginning of it into TensorBoard."""
        film = film_game(self.training.agent, self.config, seed=self.config.seed)
        rate = film.frames_per_second
        # Beside and renamed: half a film would count as one when the run is resumed.
        beside = write_video(path.with_name(f"writing-{path.name}"), film.frames, frames_per_second=rate)
        self.board.video("evaluation/game", film.frames[:300], frames_per_second=rate, step=self.training.steps)
        beside.replace(path)


def _refuse_directory(command: TrainDQN) -> None:
    """Raises, before anything is built, where `_open_directory` would fail or the run to resume has other settings."""
    if command.resume is not None:
        RunDirectory.open(command.resume).check_config(command.run)
    elif command.run_directory is not None:
        RunDirectory.check_free(command.run_directory)


def _open_directory(command: TrainDQN) -> RunDirectory:
    """Returns the run's directory: a new one, or that of the run to resume."""
    if command.resume is None:
        label = f"dqn-{command.run.game_name}-seed{command.run.seed}"
        return RunDirectory.create(command.run_directory, config=command.run, label=label)
    directory = RunDirectory.open(command.resume)
    directory.note_command()
    return directory


def main(command: TrainDQN) -> bool:
    """Trains until the last step or until the scores asked for are confirmed; returns False after a Ctrl-C.

    Where nothing is left to train, a Ctrl-C lets the run finish first.
    """
    run = DQNRun(command)
    steps = run.config.training.total_steps
    with Interruption() as interruption, Progress(steps, first_step=run.training.steps) as progress:
        try:
            for metrics in () if run.finished else train(run.training):
                run.board.scalars(metrics, step=run.training.steps)
                progress.update(run.training.steps, score=run.training.recent_score, loss=metrics.get("learning/loss"))
                if run.evaluation.is_due(run.training.steps):
                    run.evaluate(progress)
                if run.evaluation.is_satisfied:
                    break
                if interruption.requested:
                    run.save()
                    progress.say(f"saved; go on with: python -m scripts.train_dqn --resume {run.directory.path}")
                    return False
                if run.save_is_due():
                    run.save()
        except NonFiniteLossError as error:
            # Not a safe point of the loop: the agent is saved to be looked at, the run's checkpoint stays as it is.
            agent = save_checkpoint(run.directory.path / "non_finite.pt", run.training.agent.state_dict(), kind="agent")
            raise DivergedRunError(
                f"{error}, by step {run.training.steps:,}; the agent is saved as {agent}, and the last good "
                f"checkpoint stays: try a smaller --learning-rate or --max-gradient-norm"
            ) from error
        run.finish(progress)
    print(run.directory.path)
    return not interruption.requested


@dataclass(frozen=True)
class _First:
    """The flags that decide which configuration the others override."""

    preset: PresetName | None = None
    resume: Path | None = None


def starting_point(arguments: list[str]) -> TrainDQN:
    """Returns the command before the other flags: the run that is resumed, or the preset."""
    asks_for_help = ("-h", "--help")
    first, _ = tyro.cli(_First, args=[a for a in arguments if a not in asks_for_help], return_unknown_args=True)
    if first.resume is None:
        preset = first.preset or "fast"
        return TrainDQN(run=PRESETS[preset], preset=preset)
    if first.preset is not None:
        raise ValueError(f"a resumed run keeps its own settings: --preset {first.preset} has to be left out")
    return TrainDQN(run=RunDirectory.open(first.resume).read_config(DQNRunConfig), resume=first.resume)


def command() -> None:
    """Runs as a console command."""
    run_command(TrainDQN, main, documentation=__doc__, starting_point=starting_point, prefixes=False)


if __name__ == "__main__":
    command()
