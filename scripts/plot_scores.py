"""Draws the scores of runs against steps and against wall time, and prints when each score was reached.

    python -m scripts.plot_scores runs/pong-seed0 runs/pong-seed1 --output docs/results/pong.png
    python -m scripts.plot_scores runs/pong-seed0 --peer docs/results/sb3_pong.csv --peer-name Stable-Baselines3

Reads each run's evaluations.json: the points are means over an evaluation's games. A peer is a CSV file with the
columns env_steps, wall_seconds and mean_return. Takes a few seconds.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import tyro

matplotlib.use("Agg")  # before pyplot: a server has no screen

from matplotlib import pyplot as plt

from scripts.run.command_line import run_command
from scripts.run.run_directory import RunDirectory
from scripts.run.run_names import distinct_names
from scripts.run.whole_file import write_figure

PEER_COLUMNS = ("env_steps", "wall_seconds", "mean_return")


@dataclass(frozen=True, kw_only=True)
class PlotScores:
    """Which runs to draw, and where to."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]  # run directories
    peer: Path | None = None  # a CSV file with another implementation's curve
    peer_name: str | None = None  # default: that of its file
    title: str | None = None  # default: the games of the runs
    output: Path = Path("scores.png")

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError("name at least one run directory")
        if self.output.suffix not in (".png", ".svg", ".pdf"):
            raise ValueError(f"a plot ends in .png, .svg or .pdf, got {self.output.name!r}")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The scores of one run."""

    name: str
    steps: list[float]
    minutes: list[float]
    scores: list[float]


def main(config: PlotScores) -> None:
    """Draws all curves twice and prints a table of what was confirmed."""
    names = distinct_names(config.runs)  # which repeat where the same run is given twice
    records = [(name, _read_evaluations(run)) for name, run in zip(names, config.runs, strict=True)]
    curves = [_curve(name, evaluations) for name, evaluations in records]
    peers = [] if config.peer is None else [_read_peer(config.peer, config.peer_name or config.peer.stem)]
    title = config.title or ", ".join(dict.fromkeys(_game(run) for run in config.runs))
    figure, (against_steps, against_time) = plt.subplots(1, 2, figsize=(11, 4), sharey=True, layout="constrained")
    for curve in curves + peers:
        style = "--" if curve in peers else "-"
        against_steps.plot(curve.steps, curve.scores, style, marker=".", label=curve.name)
        against_time.plot(curve.minutes, curve.scores, style, marker=".", label=curve.name)
    against_steps.set(xlabel="environment steps (4 frames each)", ylabel="score", title=title)
    against_time.set(xlabel="wall time in minutes, evaluations included", title=title)
    for axes in (against_steps, against_time):
        axes.grid(alpha=0.3)
    figure.legend(*against_steps.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    write_figure(config.output, figure)
    print("| run | step | minute | games | mean score | lowest | highest |\n|---|---:|---:|---:|---:|---:|---:|")
    for name, evaluations in records:
        for record in evaluations:
            returns = record["returns"]
            print(
                f"| {name}{', confirmation' if record['confirmation'] else ''} | {record['step']:,} "
                f"| {record['seconds'] / 60:.1f} | {len(returns)} | {record['mean']:.2f} "
                f"| {min(returns):g} | {max(returns):g} |"
            )
    print(config.output)


def _read_evaluations(run: Path) -> list[dict[str, Any]]:
    path = run / "evaluations.json"
    if not path.is_file():
        raise FileNotFoundError(f"{run} is not a run with evaluations: it has no evaluations.json")
    evaluations: list[dict[str, Any]] = json.loads(path.read_text())
    return evaluations


def _game(run: Path) -> str:
    """Returns the game of a run, of `train_dqn` or `train_sb3`."""
    values = RunDirectory.open(run).config_values()
    return "Catch" if values["catch"] else str(values["atari"]["game"])


def _curve(name: str, evaluations: list[dict[str, Any]]) -> Curve:
    points = [record for record in evaluations if not record["confirmation"]]
    return Curve(
        name=name,
        steps=[float(record["step"]) for record in points],
        minutes=[record["seconds"] / 60 for record in points],
        scores=[float(record["mean"]) for record in points],
    )


def _read_peer(path: Path, name: str) -> Curve:
    with path.open() as file:
        reader = csv.DictReader(line for line in file if not line.startswith("#"))
        rows = list(reader)
    missing = [column for column in PEER_COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise ValueError(f"{path} must have the columns {', '.join(PEER_COLUMNS)}, it lacks {', '.join(missing)}")
    return Curve(
        name=name,
        steps=[float(row["env_steps"]) for row in rows],
        minutes=[float(row["wall_seconds"]) / 60 for row in rows],
        scores=[float(row["mean_return"]) for row in rows],
    )


def command() -> None:
    """Reads the flags and runs the command."""
    run_command(PlotScores, main, documentation=__doc__)


if __name__ == "__main__":
    command()
