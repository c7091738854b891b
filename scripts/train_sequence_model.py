"""Trains one sequence model on one task.

    python -m scripts.train_sequence_model                                  Mamba on selective copying, on two CPU cores
    python -m scripts.train_sequence_model --task mqar --model attention-rotary --seed 1
    python -m scripts.train_sequence_model --task listops --model s4 --preset paper --precision bfloat16
    python -m scripts.train_sequence_model --resume runs/NAME               go on where a run was stopped

Task and preset set every flag, and flags after them override single settings. Writes runs/NAME/: TensorBoard events
(`tensorboard --logdir runs`), result.json, checkpoint.pt. Ctrl-C saves and says how to go on. Minutes with the preset
`laptop`. docs/sequences.md explains every curve, docs/results/sequences.md says what each task should reach.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from scripts.run.command_line import run_command
from scripts.run.devices import DeviceName, choose_device, device_description, keep_freed_memory, set_num_threads
from scripts.run.run_directory import RunDirectory
from scripts.run.sequence_assembly import build_fabric, build_parts, look_at_data
from scripts.run.sequence_config import PresetName, SequenceRunConfig, preset_for
from scripts.run.sequence_run import SequenceRun, train_to_the_end
from seqmodels.training import NonFiniteLossError


@dataclass(frozen=True, kw_only=True)
class TrainSequenceModel:
    """What to train, and where. Fields below `run` are saved with the run; the others may change when it is resumed."""

    run: SequenceRunConfig
    run_directory: Path | None = None  # default: runs/TASK-MODEL-SEED-DATE-TIME
    resume: Path | None = None  # a run directory to go on in, with its own settings
    device: DeviceName = "auto"
    num_processes: int = 1  # each with a device of its own; the batch is shared among them
    threads: int = 0  # CPU threads of each process; 0: all cores

    def __post_init__(self) -> None:
        if self.num_processes < 1:
            raise ValueError(f"num_processes must be at least 1, got {self.num_processes}")
        if self.resume is not None and self.run_directory is not None:
            raise ValueError("a resumed run goes on in its own folder: give --resume or --run-directory, not both")


def main(command: TrainSequenceModel) -> None:
    """Trains until the last step, an early stop, or Ctrl-C; then tests."""
    set_num_threads(command.threads)
    keep_freed_memory()
    device = choose_device(command.device)
    fabric = build_fabric(command.run, device, num_processes=command.num_processes)
    _refuse_directory(command, writes=fabric.is_global_zero)
    parts = build_parts(command.run, fabric)  # what cannot be built leaves no folder
    look_at_data(parts.trainings[0].task)
    directory = _open_directory(command, writes=fabric.is_global_zero)
    run = SequenceRun(command.run, directory, parts, fabric, resumes=command.resume is not None)
    if fabric.is_global_zero:
        what = f"{command.run.label} on {command.run.task}, {device_description(device)}"
        print(f"{what}, in {directory.path}", file=sys.stderr)
    try:
        result = train_to_the_end(run)
    except NonFiniteLossError as error:
        advice = "try a smaller --learning-rate"
        raise ValueError(f"{error}; the last good checkpoint stays in {directory.path}: {advice}") from error
    if not fabric.is_global_zero:
        return
    if result is None:
        again = f"python -m scripts.train_sequence_model --resume {directory.path}"
        print(f"saved; go on with: {again}", file=sys.stderr)
        return
    tested = ", ".join(f"{name} {value:.4g}" for name, value in result.test.items())
    print(f"test: {tested}, after {result.seconds / 60:.1f} minutes", file=sys.stderr)
    print(directory.path)


def _refuse_directory(command: TrainSequenceModel, *, writes: bool) -> None:
    """Raises, before anything is built, where `_open_directory` would fail or the run to resume has other settings."""
    if command.resume is not None:
        RunDirectory.open(command.resume).check_config(command.run)
    elif command.run_directory is not None and writes:
        RunDirectory.check_free(command.run_directory)


def _open_directory(command: TrainSequenceModel, *, writes: bool) -> RunDirectory:
    """Returns the run's directory: a new one, or that of the run to resume."""
    if command.resume is not None:
        directory = RunDirectory.open(command.resume)
        if writes:
            directory.note_command()
        return directory
    if not writes:
        return RunDirectory(path=Path())  # of the process that writes; this one only computes
    label = f"{command.run.task}-{command.run.label}-seed{command.run.seed}"
    return RunDirectory.create(command.run_directory, config=command.run, label=label)


@dataclass(frozen=True)
class _First:
    """The flags that decide which configuration the others override."""

    task: str = "selective-copying"
    preset: PresetName = "laptop"
    resume: Path | None = None


def starting_point(arguments: list[str]) -> TrainSequenceModel:
    """Returns the command before the other flags: the run that is resumed, or the task's preset."""
    asks_for_help = ("-h", "--help")
    first, _ = tyro.cli(_First, args=[a for a in arguments if a not in asks_for_help], return_unknown_args=True)
    if first.resume is not None:
        saved = RunDirectory.open(first.resume).read_config(SequenceRunConfig)
        return TrainSequenceModel(run=saved, resume=first.resume)
    return TrainSequenceModel(run=preset_for(first.task, first.preset).run)


def command() -> None:
    """Runs as a console command."""
    run_command(TrainSequenceModel, main, documentation=__doc__, starting_point=starting_point, prefixes=False)


if __name__ == "__main__":
    command()
