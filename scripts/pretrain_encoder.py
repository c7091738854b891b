"""Pretrains an encoder on frames of Atari games, without labels.

    python -m scripts.pretrain_encoder                             Pong, on two CPU cores, under 10 minutes
    python -m scripts.pretrain_encoder --method mae --encoder ViT-tiny --game Breakout --minutes 5
    python -m scripts.pretrain_encoder --frames frames/pong --steps 20000 --devices 4
    python -m scripts.pretrain_encoder --resume runs/NAME          go on where a run was stopped

Without --frames it first collects random play of --game, once, into frames/. Writes runs/NAME/: the encoder, as a
folder that `train_dqn --encoder` and `load_encoder` take, TensorBoard events (`tensorboard --logdir runs`),
checkpoint.pt. Ctrl-C saves and says how to go on. docs/pretraining.md explains every curve.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tyro
from lightning_fabric import Fabric

from gen_ssl.encoders import load_encoder
from gen_ssl.pretraining import Metrics
from scripts.run.command_line import run_command
from scripts.run.devices import DeviceName, choose_device, device_description, keep_freed_memory, set_num_threads
from scripts.run.pretrain_assembly import build_fabric, build_parts, keep_initial_encoder, with_initial_encoder
from scripts.run.pretrain_config import PretrainRunConfig
from scripts.run.pretrain_frames import collect_random_frames
from scripts.run.pretrain_run import PretrainRun, pretrain_to_the_end
from scripts.run.probe_assembly import untrained_encoder
from scripts.run.run_directory import RunDirectory
from scripts.run.seeding import integer_seed
from scripts.run.starting_encoder import check_encoder_name


@dataclass(frozen=True, kw_only=True)
class PretrainEncoder:
    """What to pretrain, and where. Fields below `run` are saved with the run; others may change when it is resumed."""

    run: PretrainRunConfig
    run_directory: Path | None = None  # default: runs/METHOD-ENCODER-GAME-SEED-DATE-TIME
    resume: Path | None = None  # a run directory to go on in, with its own settings
    device: DeviceName = "auto"
    devices: int = 1  # of that kind on each machine: the samples of a batch are shared among them
    num_nodes: int = 1  # machines, on each of which this command is started
    threads: int = 0  # CPU threads of each process; 0: all cores

    def __post_init__(self) -> None:
        if self.resume is not None and self.run_directory is not None:
            raise ValueError("a resumed run goes on in its own folder: give --resume or --run-directory, not both")
        check_encoder_name(self.run_to_build.encoder)

    @property
    def run_to_build(self) -> PretrainRunConfig:
        """The run's settings, of a resumed one with its own copy of the encoder it began with."""
        return self.run if self.resume is None else with_initial_encoder(self.run, self.resume)


def main(command: PretrainEncoder, *, probe: Callable[[PretrainRun], Metrics] | None = None) -> bool:
    """Pretrains until the last step or minute, then probes the encoder; returns False when Ctrl-C stopped it."""
    set_num_threads(command.threads)
    keep_freed_memory()
    device = choose_device(command.device)
    fabric = build_fabric(command.run, device, devices=command.devices, num_nodes=command.num_nodes)
    _refuse_directory(command)
    folder = find_frames(command.run, fabric)
    parts = build_parts(command.run_to_build, folder, fabric)
    # Only now: what is refused above leaves no folder behind.
    directory = _open_directory(command, fabric)
    run = PretrainRun(command.run, directory, parts, fabric, resumes=command.resume is not None)
    if fabric.is_global_zero:
        keep_initial_encoder(command.run, directory.path)
        what = f"{command.run.method} with {command.run.encoder} on {folder}"
        print(f"{what}: {device_description(device)}, in {directory.path}", file=sys.stderr)
    scores = pretrain_to_the_end(run, probe or probe_beside_random)
    if scores is None:
        if fabric.is_global_zero:
            print(f"saved; go on with: python -m scripts.pretrain_encoder --resume {directory.path}", file=sys.stderr)
        return False
    if not fabric.is_global_zero:
        return True
    for name, value in scores.items():
        print(f"{name}: {value:.3f}", file=sys.stderr)
    print(run.encoder_folder)
    return True


def probe_beside_random(run: PretrainRun) -> Metrics:
    """Returns what can be read off the saved encoder, and off the same one at random initialisation, by name.

    Nothing where there is nothing to probe: frames of several games, for one.
    """
    if run.probe is None:
        return {}
    seed = run.config.seed
    encoders = {"": load_encoder(run.encoder_folder), "random_": untrained_encoder(run.encoder_folder, seed=seed)}
    return {
        f"{prefix}{name}": value
        for prefix, encoder in encoders.items()
        for name, value in run.probe.probe(encoder, seed=integer_seed(seed, "probing")).summary.items()
    }


def find_frames(config: PretrainRunConfig, fabric: Fabric) -> Path:
    """Returns the folder of frames; the first process collects it where it is not there and nothing is named."""
    folder = config.frames.folder(config.seed)
    if fabric.is_global_zero and config.frames.frames is None:
        collect_random_frames(folder, game=config.frames.game, num_frames=config.frames.num_frames, seed=config.seed)
    fabric.barrier()
    return folder


def _refuse_directory(command: PretrainEncoder) -> None:
    """Raises on every rank, before frames are played, what `_open_directory` would raise after on the first alone."""
    if command.resume is not None:
        RunDirectory.open(command.resume).check_config(command.run)
    elif command.run_directory is not None:
        RunDirectory.check_free(command.run_directory)


def _open_directory(command: PretrainEncoder, fabric: Fabric) -> RunDirectory:
    """Returns the run's directory: a new one, or that of the run to resume."""
    directory: RunDirectory | None = None
    if fabric.is_global_zero:
        if command.resume is None:
            run = command.run
            label = f"{run.method}-{Path(run.encoder).name}-{run.frames.label}-seed{run.seed}"
            directory = RunDirectory.create(command.run_directory, config=run, label=label)
        else:
            directory = RunDirectory.open(command.resume)
            directory.note_command()
    # The first process names the folder after the time: the others have to hear of it.
    opened = fabric.broadcast(directory)
    assert opened is not None
    return opened


@dataclass(frozen=True)
class _First:
    """The flag that decides which configuration the others override."""

    resume: Path | None = None


def starting_point(arguments: list[str]) -> PretrainEncoder:
    """Returns the command before the other flags: the run that is resumed, or the defaults."""
    asks_for_help = ("-h", "--help")
    first, _ = tyro.cli(_First, args=[a for a in arguments if a not in asks_for_help], return_unknown_args=True)
    if first.resume is None:
        return PretrainEncoder(run=PretrainRunConfig())
    return PretrainEncoder(run=RunDirectory.open(first.resume).read_config(PretrainRunConfig), resume=first.resume)


def command() -> None:
    """Runs as a console command."""
    run_command(PretrainEncoder, main, documentation=__doc__, starting_point=starting_point, prefixes=False)


if __name__ == "__main__":
    command()
