"""Evaluates an agent now and then while it trains, and confirms the scores it reaches on new games."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agents import Evaluation, evaluate
from agents.evaluation import ActingAgent
from agents.human_normalised import human_normalised_score

from .dqn_assembly import build_games
from .dqn_config import DQNRunConfig
from .seeding import integer_seed
from .whole_file import write_json

CONFIRMATION_GAMES = 30
FILE_NAME = "evaluations.json"


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord:
    """One evaluation of a run, as it stands in `evaluations.json`."""

    step: int
    seconds: float  # the run's wall time when the evaluation was over, evaluations included
    mean: float
    returns: list[float]
    lengths: list[int]
    epsilon: float
    seed: int
    confirmation: bool  # played because the evaluation before it reached one of the scores to confirm


class PeriodicEvaluation:
    """Plays full games every so many steps, with seeds that depend on the run's seed and the step alone."""

    def __init__(self, config: DQNRunConfig) -> None:
        self._config = config
        self._games = build_games(config, num_envs=config.evaluation.num_games, purpose="evaluation")
        self.records: list[EvaluationRecord] = []
        self.confirmed: dict[float, EvaluationRecord] = {}
        self._evaluated_at = 0

    def is_due(self, step: int) -> bool:
        """Returns whether a multiple of `evaluate_every_steps` has gone by since the last evaluation."""
        every = self._config.evaluation.evaluate_every_steps
        return step // every > self._evaluated_at // every

    @property
    def is_satisfied(self) -> bool:
        """Whether the run may stop: every score to confirm is confirmed, and stopping was asked for."""
        wanted = self._config.evaluation
        return wanted.stop_when_confirmed and bool(wanted.confirm_scores) and not self._open_scores(float("inf"))

    def run(self, agent: ActingAgent, *, step: int, clock: Callable[[], float]) -> dict[str, float]:
        """Evaluates, confirms what was reached for the first time, and returns the metrics of the evaluation."""
        self._evaluated_at = step
        evaluation = self._play(agent, self._config.evaluation.num_games, step=step, confirmation=False)
        self._note(evaluation, step=step, seconds=clock(), confirmation=False)
        if self._open_scores(evaluation.mean):
            again = self._play(agent, CONFIRMATION_GAMES, step=step, confirmation=True)
            record = self._note(again, step=step, seconds=clock(), confirmation=True)
            for score in self._open_scores(min(evaluation.mean, again.mean)):
                self.confirmed[score] = record
        metrics = {
            "evaluation/return_mean": evaluation.mean,
            "evaluation/return_median": evaluation.median,
            "evaluation/return_interquartile_mean": evaluation.interquartile_mean,
            "evaluation/length_mean": sum(evaluation.lengths) / evaluation.num_games,
        }
        human_normalised = human_normalised_score(self._config.game_name, evaluation.mean)
        if human_normalised is not None:
            metrics["evaluation/human_normalised"] = human_normalised
        return metrics

    def write(self, folder: Path) -> Path:
        """Writes all evaluations so far to `evaluations.json`, as a whole or not at all."""
        return write_json(folder / FILE_NAME, [asdict(record) for record in self.records])

    def state_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        return {
            "evaluated_at": self._evaluated_at,
            "records": [asdict(record) for record in self.records],
            "confirmed": {score: asdict(record) for score, record in self.confirmed.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self._evaluated_at = state["evaluated_at"]
        self.records = [EvaluationRecord(**record) for record in state["records"]]
        self.confirmed = {score: EvaluationRecord(**record) for score, record in state["confirmed"].items()}

    def close(self) -> None:
        """Ends the games' threads."""
        self._games.close()

    def _open_scores(self, reached: float) -> list[float]:
        return [s for s in self._config.evaluation.confirm_scores if s <= reached and s not in self.confirmed]

    def _play(self, agent: ActingAgent, num_games: int, *, step: int, confirmation: bool) -> Evaluation:
        purpose = "confirmation" if confirmation else "evaluation"
        games = build_games(self._config, num_envs=num_games, purpose=purpose) if confirmation else self._games
        try:
            return evaluate(
                agent,
                games,
                num_games=num_games,
                stack=self._config.stack,
                seed=integer_seed(self._config.seed, f"{purpose} at step {step}"),
                epsilon=self._config.evaluation.evaluation_epsilon,
            )
        finally:
            if confirmation:
                games.close()

    def _note(self, evaluation: Evaluation, *, step: int, seconds: float, confirmation: bool) -> EvaluationRecord:
        record = EvaluationRecord(
            step=step,
            seconds=seconds,
            mean=evaluation.mean,
            returns=list(evaluation.returns),
            lengths=list(evaluation.lengths),
            epsilon=evaluation.epsilon,
            seed=evaluation.seed,
            confirmation=confirmation,
        )
        self.records.append(record)
        return record
