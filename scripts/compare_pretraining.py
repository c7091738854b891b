"""Compares what methods of pretraining teach an encoder about a game: the table of probes.

    python -m scripts.compare_pretraining                                  ten methods, four games: hours
    python -m scripts.compare_pretraining --games Pong --methods st-dim simclr --minutes 2

Every method pretrains for the same minutes on the same frames of random play, and its encoder is probed twice, with
features standardised and as they are (docs/probing.md). Beside the methods stand the ends of the scale, probed
likewise: the same architecture at random initialisation, and trained end to end on the labels for those minutes. Above
them stands what no encoder scores: always answering the most frequent value.

Every method with every game and seed is a cell in OUTPUT/GAME/METHOD/seedN: finished ones are skipped when the command
is given again, and the one that was stopped goes on where it was. One whose loss became infinite or not a number has
failed.json: it is not trained again until its folder is removed, the others go on, and the tables name it below them.
At the end writes scores.json and scores.md, and prints the tables. A cell takes its minutes and about two more for the
probes on two cores.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import tyro

from gen_ssl.encoders import ENCODER_NAMES, Encoder, load_encoder, make_encoder
from gen_ssl.methods import METHODS
from gen_ssl.pretraining import PretrainingConfig
from gen_ssl.probing import EncoderProbe, LinearConfig, ProbeConfig
from scripts.pretrain_encoder import PretrainEncoder
from scripts.pretrain_encoder import main as pretrain_encoder
from scripts.run.command_line import run_command
from scripts.run.config_file import config_to_json
from scripts.run.devices import DeviceName, choose_device, keep_freed_memory, set_num_threads
from scripts.run.pretrain_assembly import open_frames
from scripts.run.pretrain_config import FramesConfig, PretrainRunConfig
from scripts.run.pretrain_frames import collect_random_frames
from scripts.run.pretrain_run import DivergedRunError
from scripts.run.probe_assembly import (
    RANDOM,
    SUPERVISED,
    ProbeRecord,
    most_frequent_record,
    probe_labels,
    probe_record,
    scores_table,
    train_on_labels,
    write_scores,
)
from scripts.run.run_directory import command_line
from scripts.run.seeding import integer_seed
from scripts.run.whole_file import write_json, write_text

FEATURES = {"standardised": LinearConfig(), "as they are": LinearConfig(standardise=False)}
"""What the linear probe is given, each a table of its own."""


@dataclass(frozen=True, kw_only=True)
class ComparePretraining:
    """What to compare, on how large a budget."""

    methods: tuple[str, ...] = tuple(METHODS)
    games: tuple[str, ...] = ("Pong", "Boxing", "Seaquest", "SpaceInvaders")
    seeds: tuple[int, ...] = (0,)
    num_frames: int = 20_000  # of random play, a game
    pretraining: Annotated[PretrainingConfig, tyro.conf.OmitArgPrefixes] = field(
        default_factory=lambda: PretrainingConfig(minutes=5.0)
    )
    encoder: str = "NatureCNN"  # of all methods but mae
    transformer: str = "ViT-tiny"  # of mae
    device: DeviceName = "auto"
    threads: int = 0  # CPU threads; 0: all cores
    output: Path = Path("runs/compare-pretraining")

    def __post_init__(self) -> None:
        for name in ("methods", "games", "seeds"):
            if not getattr(self, name):
                raise ValueError(f"{name} must name at least one")
        unknown = [method for method in self.methods if method not in METHODS]
        if unknown:
            raise ValueError(f"methods are {', '.join(METHODS)}, got {', '.join(unknown)}")
        if self.pretraining.steps:
            raise ValueError(f"the budget is --minutes, the same for every method, got {self.pretraining.steps} steps")
        for name in ("encoder", "transformer"):
            if getattr(self, name) not in ENCODER_NAMES:  # the ends of the scale are new ones
                raise ValueError(f"{name} must be one of {', '.join(ENCODER_NAMES)}, got {getattr(self, name)!r}")
        for game in self.games:
            for row in rows_of(self):
                if row.name in METHODS:
                    run_config(self, row, game, seed=0)  # what is refused is said before hours of training


class Row(NamedTuple):
    """A method, or an end of the scale, with an architecture."""

    name: str
    architecture: str

    @property
    def label(self) -> str:
        """What it is called in tables and folders."""
        return f"{self.name} ({self.architecture})"


class Failure(NamedTuple):
    """A cell without scores, because its pretraining diverged."""

    game: str
    row: str
    seed: int
    reason: str


def rows_of(config: ComparePretraining) -> list[Row]:
    """Returns the rows of the table: methods by architecture, each architecture once between the ends of its scale."""
    architectures = {method: config.transformer if method == "mae" else config.encoder for method in config.methods}
    rows = []
    for architecture in dict.fromkeys((config.encoder, config.transformer)):
        methods = [method for method, its in architectures.items() if its == architecture]
        if methods:
            rows += [Row(name, architecture) for name in (RANDOM, *methods, SUPERVISED)]
    return rows


def run_config(config: ComparePretraining, row: Row, game: str, seed: int) -> PretrainRunConfig:
    """Returns the settings of a method's run: the defaults, on the comparison's frames and budget."""
    return PretrainRunConfig(
        method=row.name,
        encoder=row.architecture,
        seed=seed,
        frames=FramesConfig(frames=frames_folder(config, game)),
        pretraining=config.pretraining,
    )


def cell_settings(config: ComparePretraining) -> dict[str, Any]:
    """Returns what every cell of a table has to have in common besides its place in the folder."""
    return {"num_frames": config.num_frames, "pretraining": config_to_json(config.pretraining)}


def frames_folder(config: ComparePretraining, game: str) -> Path:
    """Returns where a game's frames are: all methods and seeds learn from the same."""
    return FramesConfig(game=game, num_frames=config.num_frames).folder(seed=0)


def encoder_of(
    config: ComparePretraining, row: Row, game: str, seed: int, directory: Path, probe: EncoderProbe
) -> Encoder | None:
    """Returns a row's encoder for a game, trained now as far as it is not yet; None when it was stopped."""
    if row.name in METHODS:
        resume = directory if (directory / "config.json").exists() else None
        command = PretrainEncoder(
            run=run_config(config, row, game, seed),
            run_directory=None if resume else directory,
            resume=resume,
            device=config.device,
            threads=config.threads,
        )
        finished = pretrain_encoder(command, probe=lambda _: {})
        return load_encoder(directory / "encoder") if finished else None
    torch.manual_seed(integer_seed(seed, "weights"))  # as `pretrain_encoder` does: the weights it starts from
    height, width = probe.store.frame_shape[1:]
    encoder = make_encoder(row.architecture, frame_shape=(probe.config.stack, height, width))
    if row.name == SUPERVISED:
        encoder = train_on_labels(
            probe, encoder, minutes=config.pretraining.minutes, seed=seed, device=choose_device(config.device)
        )
        encoder.save_pretrained(directory / "encoder")
    return encoder


def score_cell(
    config: ComparePretraining, row: Row, game: str, seed: int, probe: Callable[[], EncoderProbe]
) -> dict[str, ProbeRecord] | Failure | None:
    """Returns a cell's scores by what the linear probe was given, or its failure, found or made; None when stopped."""
    directory = config.output / game / row.label.replace(" ", "-") / f"seed{seed}"
    written, failed = directory / "scores.json", directory / "failed.json"
    if not written.exists() and not failed.exists():
        print(f"{game}, {row.label}, seed {seed}", file=sys.stderr)
        try:
            encoder = encoder_of(config, row, game, seed, directory, probe())
        except DivergedRunError as error:
            print(error, file=sys.stderr)
            write_failure(failed, str(error), settings=cell_settings(config))
        else:
            if encoder is None:
                return None
            features = probe().features(encoder)
            probes = (probe().with_linear(linear) for linear in FEATURES.values())
            records = [probe_record(of_kind, row.label, features, seed=seed) for of_kind in probes]
            write_scores(written, records, settings=cell_settings(config))
    content = json.loads((written if written.exists() else failed).read_text(encoding="utf-8"))
    if content["settings"] != cell_settings(config):
        raise ValueError(f"{directory} was made with other settings: name another --output, or remove it")
    if "failure" in content:
        return Failure(game, row.label, seed, content["failure"])
    return dict(zip(FEATURES, (ProbeRecord(**record) for record in content["scores"]), strict=True))


def write_failure(path: Path, reason: str, *, settings: dict[str, Any]) -> None:
    """Writes why a cell has no scores."""
    write_json(path, {"settings": settings, "failure": reason})


def write(config: ComparePretraining, cells: dict[tuple[str, str], list[ProbeRecord]], failures: list[Failure]) -> Path:
    """Writes and prints tables of all games and of each, by kind of features, and what failed; returns the folder."""
    parts = [f"`{command_line()}`"]
    for features in FEATURES if len(config.games) > 1 else ():
        records = [record for (_, its), of_game in cells.items() if its == features for record in of_game]
        table = scores_table(without_failed(records, {failure.row for failure in failures}))
        parts.append(f"## All games, features {features}: mean, and deviation over games and seeds\n\n{table}")
    for (game, features), records in cells.items():
        table = scores_table(without_failed(records, {failure.row for failure in failures if failure.game == game}))
        parts.append(f"## {game}, features {features}\n\n{table}")
    if failures:
        lines = (f"- {failure.game}, {failure.row}, seed {failure.seed}: {failure.reason}" for failure in failures)
        parts.append("## Failed, in no table\n\n" + "\n".join(lines))
    text = "\n\n".join(parts) + "\n"
    write_text(config.output / "scores.md", text)
    records = [record for of_game in cells.values() for record in of_game]
    write_scores(config.output / "scores.json", records, settings=config_to_json(config))
    print(text)
    return config.output


def without_failed(records: list[ProbeRecord], rows: set[str]) -> list[ProbeRecord]:
    """Returns the records of all other rows: a mean over the cells that went well would flatter a method."""
    return [record for record in records if record.encoder not in rows]


def main(config: ComparePretraining) -> None:
    """Pretrains and probes what is missing, then compares; stopped by Ctrl-C it says how to go on."""
    set_num_threads(config.threads)
    keep_freed_memory()
    cells: dict[tuple[str, str], list[ProbeRecord]] = {(g, f): [] for g in config.games for f in FEATURES}
    failures: list[Failure] = []
    for game in config.games:
        collect_random_frames(frames_folder(config, game), game=game, num_frames=config.num_frames, seed=0)
    probes: dict[str, EncoderProbe] = {}

    def probe_of(game: str) -> EncoderProbe:
        if game not in probes:
            store = open_frames(frames_folder(config, game))
            probes[game] = EncoderProbe(store, probe_labels(store), ProbeConfig())
        return probes[game]

    for seed in config.seeds:  # a seed of everything first: what is there when it is stopped can be compared
        for game in config.games:
            for features, linear in FEATURES.items():
                probe = probe_of(game).with_linear(linear)
                cells[game, features].append(most_frequent_record(probe, seed=seed))
            for row in rows_of(config):
                scores = score_cell(config, row, game, seed, partial(probe_of, game))
                if scores is None:
                    print("saved; give the same command again to go on", file=sys.stderr)
                    return
                if isinstance(scores, Failure):
                    failures.append(scores)
                    continue
                for features, record in scores.items():
                    cells[game, features].append(record)
    print(write(config, cells, failures))


def command() -> None:
    """Runs as a console command."""
    run_command(ComparePretraining, main, documentation=__doc__)


if __name__ == "__main__":
    command()
