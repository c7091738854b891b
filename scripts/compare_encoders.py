"""Compares what pretrained encoders are worth to a DQN: each arm is trained on each game with each seed.

    python -m scripts.compare_encoders --arms scratch frozen:encoders/{game}/simclr finetune:encoders/{game}/st-dim
    python -m scripts.compare_encoders --arms scratch "frozen:runs/probed/{game}/atc-(NatureCNN)/seed0/encoder"

An arm is `scratch` (the architecture of --encoder, from random weights), `frozen:PATH` (a saved encoder that stays as
it is, whose features are replayed in place of frames) or `finetune:PATH` (one that learns on, at
--encoder-learning-rate). {game} in a path stands for the game's name. All else is the same in every arm, but for what
the curves do not count: `frozen` and `finetune` rest on the frames and minutes of their encoder's pretraining.

Every run of train_dqn is a cell in OUTPUT/GAME/ARM/seedN: finished ones are skipped when the command is given again,
and the one that was stopped goes on where it was (killed: from the last fifth that it had done). One whose loss became
infinite or not a number has failed.json: it is not trained again until its folder is removed, the others go on, and its
arm has no mean. At the end writes scores.json, scores.md and scores.png: the score of each arm against steps, and the
interquartile mean of human-normalised scores over games and seeds with its 95% bootstrap interval. 50,000 steps take
about four minutes a cell on two cores.
"""

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import matplotlib
import numpy as np

matplotlib.use("Agg")  # before pyplot: a server has no screen

from matplotlib import pyplot as plt

from agents.human_normalised import human_normalised_score
from agents.score_statistics import ScoreSummary, summarise_scores
from gen_ssl.encoders import load_encoder
from scripts.compare_pretraining import write_failure
from scripts.run.command_line import run_command
from scripts.run.config_file import config_to_json
from scripts.run.devices import DeviceName
from scripts.run.dqn_config import PRESETS, DQNRunConfig
from scripts.run.run_directory import RunDirectory, command_line
from scripts.run.tensorboard import read_scalars
from scripts.run.whole_file import write_figure, write_json, write_text
from scripts.train_dqn import DivergedRunError, TrainDQN
from scripts.train_dqn import main as train_dqn

Mode = Literal["scratch", "frozen", "finetune"]

FAILED = "failed.json"  # of a cell that diverged: the reason

TARGET_SAMPLES = 32_000  # between two copies of the target network: 2,000 steps at 16 samples each

NOT_COUNTED = (
    "Frozen and fine-tuned arms rest on the frames and minutes of their encoder's pretraining as well, which neither "
    "these figures nor the curves count."
)


@dataclass(frozen=True, kw_only=True)
class CompareEncoders:
    """What to compare, on how large a budget."""

    arms: tuple[str, ...]  # scratch, frozen:PATH or finetune:PATH
    games: tuple[str, ...] = ("Pong", "Boxing")
    seeds: tuple[int, ...] = (0, 1, 2)
    encoder: str = "NatureCNN"  # the architecture that `scratch` begins with
    learning_rate: float = 2.5e-4  # Mnih et al. 2015's; the preset's is for an encoder with normalised layers
    encoder_learning_rate: float | None = None  # of fine-tuned encoders; default: as the rest of the network
    total_steps: int = 50_000
    samples_per_step: int = 16
    batch_size: int = 64  # a quarter of the preset's: four times the updates of a short run
    evaluate_every_steps: int = 10_000
    num_games: int = 10  # of each evaluation
    compile: Literal["auto", "on", "off"] = "auto"  # the update, as in train_dqn
    device: DeviceName = "auto"
    threads: int = 0  # CPU threads; 0: all cores
    output: Path = Path("runs/compare-encoders")

    def __post_init__(self) -> None:
        for name in ("arms", "games", "seeds"):
            if not getattr(self, name):
                raise ValueError(f"{name} must name at least one")
        arms = [Arm.of(text) for text in self.arms]
        names = [arm.name for arm in arms]
        if len(set(names)) < len(names):
            raise ValueError(f"arms must have different names, the last in their paths, got {', '.join(names)}")
        for game in self.games:
            normalised(game, 0.0)  # a game without a human's score is refused
        for arm in arms:
            for game in self.games if arm.mode != "scratch" else ():
                load_encoder(arm.saved(game))  # what is missing is said before hours of training


class Arm(NamedTuple):
    """One way to begin: a name for tables and folders, a mode, and a saved encoder's path, empty from scratch."""

    name: str
    mode: Mode
    encoder: str

    @classmethod
    def of(cls, text: str) -> "Arm":
        """Reads an arm as it is given on the command line."""
        mode, _, path = text.partition(":")
        if mode == "scratch" and not path:
            return cls("scratch", "scratch", "")
        # A folder called encoder or seed0 says nothing: that of the run, or of the method, does.
        silent = re.compile(r"encoder|seed\d+|\{game\}|" + re.escape(Path(path).anchor))
        names = [part for part in Path(path).parts if not silent.fullmatch(part)]
        if mode in ("frozen", "finetune") and names:
            name = names[-1].replace("-{game}", "").replace("{game}-", "")
            return cls(f"{mode} {name}", mode, path)  # type: ignore[arg-type]
        raise ValueError(
            "an arm must be scratch, frozen:PATH or finetune:PATH, with a name in PATH besides encoder, seedN and "
            f"{{game}}, got {text!r}"
        )

    def saved(self, game: str) -> str:
        """Returns the path of a game's encoder."""
        return self.encoder.replace("{game}", game)


class Cell(NamedTuple):
    """One finished run."""

    game: str
    arm: str
    seed: int
    steps: list[int]
    scores: list[float]  # mean of each evaluation
    steps_per_second: float  # median over the intervals in which it learned, evaluations left out


class Failure(NamedTuple):
    """A run without scores, because it diverged."""

    game: str
    arm: str
    seed: int
    reason: str


def run_config(config: CompareEncoders, game: str, arm: Arm, seed: int) -> DQNRunConfig:
    """Returns the settings of one cell: the preset `fast`, shortened."""
    fast = PRESETS["fast"]
    first_transitions = fast.num_envs * (fast.replay.n_step + 1)  # before which nothing can be drawn
    training = replace(
        fast.training,
        total_steps=config.total_steps,
        samples_per_step=config.samples_per_step,
        batch_size=config.batch_size,
        learning_starts=max(config.total_steps // 25, first_transitions),
        log_every_steps=max(config.total_steps // 25, 1),
        exploration=replace(fast.training.exploration, decay_steps=max(config.total_steps // 5, 1)),
    )
    return replace(
        fast,
        seed=seed,
        encoder=config.encoder if arm.mode == "scratch" else arm.saved(game),
        compile=config.compile,
        encoder_mode="frozen" if arm.mode == "frozen" else "finetune",
        atari=replace(fast.atari, game=game),
        dqn=replace(
            fast.dqn,
            learning_rate=config.learning_rate,
            encoder_learning_rate=config.encoder_learning_rate if arm.mode == "finetune" else None,
            final_learning_rate_share=1.0,
            target_update_every_updates=max(TARGET_SAMPLES // config.batch_size, 1),
        ),
        replay=replace(fast.replay, capacity=config.total_steps),
        training=training,
        evaluation=replace(
            fast.evaluation,
            evaluate_every_steps=config.evaluate_every_steps,
            num_games=config.num_games,
            confirm_scores=(),
            film=False,
        ),
        checkpoint_every_steps=max(config.total_steps // 5, 1),
    )


def train_cell(config: CompareEncoders, game: str, arm: Arm, seed: int) -> Cell | Failure | None:
    """Returns the result of a cell, found or trained; None when it was stopped."""
    directory = config.output / game / arm.name.replace(" ", "-") / f"seed{seed}"
    run = run_config(config, game, arm, seed)
    cell = read_cell(directory, game, arm, seed, run)
    if cell is None:
        print(f"{game}, {arm.name}, seed {seed}", file=sys.stderr)
        resume = directory if (directory / "config.json").exists() else None
        where = None if resume else directory
        command = TrainDQN(run=run, run_directory=where, resume=resume, device=config.device, threads=config.threads)
        try:
            if not train_dqn(command):
                return None
        except DivergedRunError as error:
            print(error, file=sys.stderr)
            write_failure(directory / FAILED, str(error), settings=config_to_json(run))
        cell = read_cell(directory, game, arm, seed, run)
    return cell


def read_cell(directory: Path, game: str, arm: Arm, seed: int, run: DQNRunConfig) -> Cell | Failure | None:
    """Returns a finished cell, or one that failed; None where there is none, or one that is not finished.

    Raises ValueError where what is there was trained by other settings, another encoder's path among them.
    """
    if not (directory / "config.json").exists():
        return None
    RunDirectory.open(directory).check_config(run)
    if (directory / FAILED).exists():
        return Failure(game, arm.name, seed, json.loads((directory / FAILED).read_text(encoding="utf-8"))["failure"])
    curves = read_scalars(directory)
    if "final/score" not in curves:
        return None
    evaluations = json.loads((directory / "evaluations.json").read_text())
    speeds = [
        speed
        for step, speed in curves["time/steps_per_second"]
        if step > run.training.learning_starts + run.training.log_every_steps
    ]
    return Cell(
        game,
        arm.name,
        seed,
        [record["step"] for record in evaluations],
        [record["mean"] for record in evaluations],
        float(np.median(speeds)),
    )


def normalised(game: str, score: float) -> float:
    """Returns the human-normalised score; raises ValueError for a game without a human's."""
    value = human_normalised_score(game, score)
    if value is None:
        raise ValueError(f"there is no human score of {game}: its scores cannot be put together with others'")
    return value


def summary_of(cells: list[Cell], arm: str) -> ScoreSummary:
    """Returns the statistics of an arm's last human-normalised scores over games and seeds."""
    scores: dict[str, list[float]] = {}
    for cell in cells:
        if cell.arm == arm:
            scores.setdefault(cell.game, []).append(normalised(cell.game, cell.scores[-1]))
    return summarise_scores(scores)


def table_of(results: Sequence[Cell | Failure]) -> str:
    """Returns a Markdown table with a row for each arm: one with a failure has no mean, which would flatter it."""
    games = list(dict.fromkeys(result.game for result in results))
    lines = [
        "| arm | " + " | ".join(f"{game}, each seed" for game in games) + " | IQM, human-normalised | 95% | steps/s |",
        "|---|" + "---|" * len(games) + "---:|---:|---:|",
    ]
    for arm in dict.fromkeys(result.arm for result in results):
        of_arm = [result for result in results if result.arm == arm]
        scores = [", ".join(map(score_text, (result for result in of_arm if result.game == game))) for game in games]
        cells = [result for result in of_arm if isinstance(result, Cell)]
        if len(cells) < len(of_arm):
            lines.append(f"| {arm} | {' | '.join(scores)} | failed | - | - |")
            continue
        estimate = summary_of(cells, arm).interquartile_mean
        interval = "-" if estimate.interval is None else f"{estimate.interval.low:.3f} to {estimate.interval.high:.3f}"
        speed = np.median([cell.steps_per_second for cell in cells])
        lines.append(f"| {arm} | {' | '.join(scores)} | {estimate.value:.3f} | {interval} | {speed:.0f} |")
    return "\n".join(lines)


def score_text(result: Cell | Failure) -> str:
    """Returns what stands in the table for one run: its last score, or that it failed."""
    return "failed" if isinstance(result, Failure) else f"{result.scores[-1]:.1f}"


def draw(results: Sequence[Cell | Failure], path: Path) -> None:
    """Draws each arm's mean score over seeds against steps, its seeds as thin lines, one panel a game.

    Where seeds failed, the others have their thin lines, but no mean.
    """
    games = list(dict.fromkeys(result.game for result in results))
    figure, panels = plt.subplots(1, len(games), figsize=(5.5 * len(games), 4), layout="constrained", squeeze=False)
    for panel, game in zip(panels[0], games, strict=True):
        for index, arm in enumerate(dict.fromkeys(result.arm for result in results)):
            of_arm = [result for result in results if (result.game, result.arm) == (game, arm)]
            cells = [result for result in of_arm if isinstance(result, Cell)]
            for cell in cells:
                panel.plot(cell.steps, cell.scores, color=f"C{index}", alpha=0.25, linewidth=1)
            whole = len(cells) == len(of_arm)
            steps, mean = (cells[0].steps, np.mean([cell.scores for cell in cells], axis=0)) if whole else ([], [])
            panel.plot(steps, mean, color=f"C{index}", marker=".", label=arm)  # empty, it stands in the legend alone
        panel.set(title=game, xlabel="environment steps (4 frames each)", ylabel="score")
        panel.grid(alpha=0.3)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    write_figure(path, figure)
    plt.close(figure)


def write(config: CompareEncoders, results: Sequence[Cell | Failure]) -> Path:
    """Writes table, failures, figures and plot, prints the table and the failures, and returns the folder."""
    parts = [table_of(results)]
    failures = [result for result in results if isinstance(result, Failure)]
    if failures:
        lines = (f"- {failure.game}, {failure.arm}, seed {failure.seed}: {failure.reason}" for failure in failures)
        parts.append("Failed:\n\n" + "\n".join(lines))
    text = "\n\n".join(parts)
    write_text(config.output / "scores.md", f"`{command_line()}`\n\n{text}\n\n{NOT_COUNTED}\n")
    records: list[dict[str, Any]] = [result._asdict() for result in results]
    write_json(config.output / "scores.json", records)
    draw(results, config.output / "scores.png")
    print(text)
    return config.output


def main(config: CompareEncoders) -> None:
    """Trains what is missing, then compares; stopped by Ctrl-C it says how to go on."""
    results = []
    for seed in config.seeds:  # a seed of everything first: what is there when it is stopped can be compared
        for game in config.games:
            for arm in map(Arm.of, config.arms):
                result = train_cell(config, game, arm, seed)
                if result is None:
                    print("saved; give the same command again to go on", file=sys.stderr)
                    return
                results.append(result)
    print(write(config, results))


def command() -> None:
    """Runs as a console command."""
    run_command(CompareEncoders, main, documentation=__doc__)


if __name__ == "__main__":
    command()
