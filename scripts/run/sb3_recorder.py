"""Follows Stable-Baselines3 while it learns: curves, evaluations and progress as `train_dqn` has them."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback

from agents.stable_baselines3_bridge import StableBaselines3Agent

from .interruption import Interruption
from .periodic_evaluation import PeriodicEvaluation
from .progress import Progress
from .tensorboard import TensorBoardWriter
from .whole_file import whole_file

# What Stable-Baselines3 logs under its own names, by ours. DQN's loss is the same Huber loss as our agent's.
TAGS = {
    "train/loss": "learning/loss",
    "train/value_loss": "learning/value_loss",
    "train/policy_gradient_loss": "learning/policy_gradient_loss",
    "train/entropy_loss": "learning/entropy_loss",
    "rollout/exploration_rate": "exploration/epsilon",
}
MODEL_FILE_NAME = "model.zip"
HELD_OUT_STATES = 512  # as in `agents.TrainingConfig`


class SB3Recorder(BaseCallback):
    """Logs every `log_every_steps` steps, evaluates and saves when it is due, and stops the learning after a Ctrl-C."""

    def __init__(
        self,
        *,
        board: TensorBoardWriter,
        evaluation: PeriodicEvaluation,
        progress: Progress,
        interruption: Interruption,
        log_every_steps: int,
        seconds: Callable[[], float],
        folder: Path,
    ) -> None:
        super().__init__()
        self._board = board
        self._evaluation = evaluation
        self._progress = progress
        self._interruption = interruption
        self._log_every_steps = log_every_steps
        self._seconds = seconds
        self._folder = folder
        self._held_out: torch.Tensor | None = None
        self._begin_interval()

    def evaluate(self) -> float:
        """Evaluates the model as it is, logs the result, saves both and returns the mean score."""
        agent = StableBaselines3Agent(self.model)
        metrics = self._evaluation.run(agent, step=self.num_timesteps, clock=self._seconds)
        self._board.scalars(metrics, step=self.num_timesteps)
        score = metrics["evaluation/return_mean"]
        self._progress.say(
            f"evaluation at step {self.num_timesteps:,}, minute {self._seconds() / 60:.1f}: {score:.2f} "
            f"(mean of {len(self._evaluation.records[-1].returns)} games)"
        )
        self.save()
        return score

    def save(self) -> None:
        """Writes the evaluations so far and the model as it is, each as a whole or not at all."""
        self._evaluation.write(self._folder)
        with whole_file(self._folder / MODEL_FILE_NAME) as beside, beside.open("wb") as file:
            self.model.save(file)

    def final_score(self) -> float:
        """Returns the mean score of the last evaluation, played now unless the run just ended with one."""
        records = self._evaluation.records
        return records[-1].mean if records and records[-1].step == self.num_timesteps else self.evaluate()

    def _on_step(self) -> bool:
        """Takes note of one step of every game; what the library calls after each."""
        for info in self.locals["infos"]:
            if "episode" in info:
                self._returns.append(info["episode"]["r"])
                self._lengths.append(info["episode"]["l"])
        # The library overwrites its values at the next update: taken out at once, none is lost or counted twice.
        for theirs, ours in TAGS.items():
            if theirs in self.logger.name_to_value:
                self._logged.setdefault(ours, []).append(self.logger.name_to_value.pop(theirs))
        if self.num_timesteps // self._log_every_steps > self._first_step // self._log_every_steps:
            self._board.scalars(self._metrics(), step=self.num_timesteps)
            score = float(np.mean(self._returns)) if self._returns else None
            self._progress.update(self.num_timesteps, score=score)
            self._begin_interval()
        if self._evaluation.is_due(self.num_timesteps):
            began = time.perf_counter()
            self.evaluate()
            self._started += time.perf_counter() - began  # an evaluation is no time of the steps
        return not (self._interruption.requested or self._evaluation.is_satisfied)

    def _begin_interval(self) -> None:
        self._returns: list[float] = []
        self._lengths: list[int] = []
        self._logged: dict[str, list[float]] = {}
        self._first_step = self.num_timesteps
        self._started = time.perf_counter()

    def _metrics(self) -> dict[str, float]:
        metrics = {tag: float(np.mean(values)) for tag, values in self._logged.items()}
        if self._returns:
            metrics["episode/return"] = float(np.mean(self._returns))
            metrics["episode/length"] = float(np.mean(self._lengths))
        if isinstance(self.model, DQN) and self.num_timesteps > self.model.learning_starts:
            metrics["learning/held_out_q"] = self._held_out_value(self.model)
        elapsed = time.perf_counter() - self._started
        return metrics | {"time/steps_per_second": (self.num_timesteps - self._first_step) / elapsed}

    @torch.no_grad()
    def _held_out_value(self, model: DQN) -> float:
        """Returns the mean maximal Q over states set aside when learning began (Mnih et al. 2013, section 5.1)."""
        if self._held_out is None:
            assert model.replay_buffer is not None
            self._held_out = model.replay_buffer.sample(HELD_OUT_STATES).observations
        return float(model.q_net(self._held_out).amax(dim=1).mean())
