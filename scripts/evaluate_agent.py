"""Evaluates trained agents: full games, raw scores, human-normalised scores.

    python -m scripts.evaluate_agent runs/NAME                        30 games with the run's last checkpoint
    python -m scripts.evaluate_agent runs/NAME --epsilon 0.05         as Mnih et al. 2015 did
    python -m scripts.evaluate_agent runs/pong-* runs/qbert-* --output table.json

Plays by the rules the agent was trained with (sticky actions, no-ops; see docs/evaluation.md), each game to its end.
Several runs, of several games and seeds, are also summarised over all: mean, median and interquartile mean of their
human-normalised scores, with 95% intervals. Prints a table and writes JSON. Thirty games of Pong take about a minute.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

from agents.evaluation import Evaluation, PlayedGame, play_games
from agents.human_normalised import human_normalised_score
from agents.score_statistics import Interval, ScoreSummary, summarise_scores
from scripts.run.command_line import run_command
from scripts.run.config_file import config_to_json
from scripts.run.devices import DeviceName, choose_device, set_num_threads
from scripts.run.dqn_assembly import build_games
from scripts.run.progress import Progress
from scripts.run.run_directory import command_line, versions
from scripts.run.run_names import distinct_names
from scripts.run.saved_agent import SavedAgent, load_agent
from scripts.run.seeding import integer_seed
from scripts.run.whole_file import write_json

PARALLEL_GAMES = 32


@dataclass(frozen=True, kw_only=True)
class EvaluateAgent:
    """Which agents to evaluate, and how."""

    runs: tyro.conf.Positional[tuple[Path, ...]]  # run directories, or checkpoints in them
    games: int = 30  # full games of each run
    epsilon: float = 0.01  # the share of random actions
    seed: int = 0  # of the games and the random actions; never the seeds of the training
    device: DeviceName = "auto"
    threads: int = 0  # CPU threads; 0: all cores
    output: Path | None = None  # default: a file in the run directory, named after step, games, epsilon and seed

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError("name at least one run directory or checkpoint")
        if self.games < 1:
            raise ValueError(f"games must be at least 1, got {self.games}")
        if not 0.0 <= self.epsilon <= 1.0:
            raise ValueError(f"epsilon must fall within [0, 1], got {self.epsilon}")
        if len(self.runs) > 1 and self.output is None:
            raise ValueError("say with --output where the table of several runs goes")


@dataclass(frozen=True, kw_only=True)
class RunScore:
    """The evaluation of one run."""

    run: str
    game: str
    step: int  # at which the checkpoint was saved
    evaluation: Evaluation
    mean: float
    mean_interval: Interval | None  # 95%, over the games
    median: float
    interquartile_mean: float
    human_normalised: float | None  # of the mean; None for a game without human scores
    rules: Any  # the environment's configuration


def main(command: EvaluateAgent) -> None:
    """Evaluates every run, writes those so far after each, and prints the table."""
    set_num_threads(command.threads)
    device = choose_device(command.device)
    # All agents are loaded before the first one plays: a wrong path shows at once.
    agents = [load_agent(path, device=device) for path in command.runs]
    output = command.output or default_output(agents[0], command)
    scores: list[RunScore] = []
    for saved in agents:
        scores.append(evaluate_run(saved, command))
        summary = summarise(scores)
        records = {
            "command": command_line(),
            "versions": versions(),
            "runs": [asdict(score) for score in scores],
            "human_normalised": None if summary is None else asdict(summary),
        }
        write_json(output, records)  # a kill loses the games of one run only
    print(table(scores, summarise(scores)))
    print(output)


def summarise(scores: Sequence[RunScore]) -> ScoreSummary | None:
    """Returns the summary of several runs' human-normalised scores, None where there is nothing to summarise."""
    normalised: defaultdict[str, list[float]] = defaultdict(list)
    for score in scores:
        if score.human_normalised is not None:
            normalised[score.game].append(score.human_normalised)
    return summarise_scores(normalised) if len(scores) > 1 and normalised else None


def evaluate_run(saved: SavedAgent, command: EvaluateAgent) -> RunScore:
    """Plays the games of one run."""
    config = saved.config
    num_envs = min(command.games, PARALLEL_GAMES)
    envs = build_games(config, num_envs=num_envs, purpose="evaluation")
    seed = integer_seed(command.seed, "evaluate_agent")
    played: list[PlayedGame] = []
    with Progress(command.games, unit="games") as progress:
        for game in play_games(
            saved.agent, envs, num_games=command.games, stack=config.stack, seed=seed, epsilon=command.epsilon
        ):
            played.append(game)
            progress.update(len(played), score=sum(one.score for one in played) / len(played))
    envs.close()
    evaluation = Evaluation.of(played, epsilon=command.epsilon, seed=command.seed)
    return RunScore(
        run=str(saved.directory.path),
        game=config.game_name,
        step=saved.step,
        evaluation=evaluation,
        mean=evaluation.mean,
        mean_interval=evaluation.mean_interval(),
        median=evaluation.median,
        interquartile_mean=evaluation.interquartile_mean,
        human_normalised=human_normalised_score(config.game_name, evaluation.mean),
        rules=None if config.catch else config_to_json(config.atari),
    )


def default_output(saved: SavedAgent, command: EvaluateAgent) -> Path:
    """Returns a name that says how the games were played: the same evaluation again takes the same name."""
    name = f"evaluation-step-{saved.step}-games-{command.games}-epsilon-{command.epsilon:g}-seed-{command.seed}.json"
    return saved.directory.path / name


def table(scores: Sequence[RunScore], summary: ScoreSummary | None) -> str:
    """Returns the table that is printed."""
    header = ["run", "game", "step", "games", "mean", "95% interval", "median", "IQM", "human-normalised"]
    rows = [
        [
            name,
            score.game,
            f"{score.step:,}",
            str(score.evaluation.num_games),
            f"{score.mean:.2f}",
            _interval(score.mean_interval),
            f"{score.median:.2f}",
            f"{score.interquartile_mean:.2f}",
            "-" if score.human_normalised is None else f"{score.human_normalised:.3f}",
        ]
        for name, score in zip(distinct_names([Path(score.run) for score in scores]), scores, strict=True)
    ]
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [header, *rows]]
    if summary is not None:
        normalised = sum(score.human_normalised is not None for score in scores)
        lines += ["", f"human-normalised, over {normalised} of {len(scores)} runs"]
        for name, estimate in vars(summary).items():
            lines.append(f"{name.replace('_', ' '):20}{estimate.value:8.3f}  {_interval(estimate.interval)}")
    return "\n".join(line.rstrip() for line in lines)


def _interval(interval: Interval | None) -> str:
    return "-" if interval is None else f"[{interval.low:.2f}, {interval.high:.2f}]"


def command() -> None:
    """Runs as a console command."""
    run_command(EvaluateAgent, main, documentation=__doc__)


if __name__ == "__main__":
    command()
