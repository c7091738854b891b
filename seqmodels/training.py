"""The training loop of sequence models: one batch, one update, and a validation now and then.

The loop is a generator of metrics. All of its state is in a `SequenceTraining`, and every yield is a point at which
that state can be saved: a run resumed from it gives the numbers of a run that never stopped. Batches are functions of
their number, so no iterator has to be saved. Dropout draws from PyTorch's generator, whose state is the caller's.
"""

import math
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from jaxtyping import Float
from lightning_fabric import Fabric
from torch import Tensor, nn

from .optimization import OptimizerConfig, build_optimizer, build_schedule, learning_rates
from .scoring import count_answers, score
from .tasks.task import Batch, Split, Task

Metrics = dict[str, float]


class NonFiniteLossError(RuntimeError):
    """Loss or gradient became infinite or not a number; on a CPU the weights are those from before the update."""


@dataclass(frozen=True, kw_only=True)
class SequenceTrainingConfig:
    """How long to train, and how. A step is one update on one batch."""

    total_steps: int = 10_000
    batch_size: int = 32  # examples a step, those of all processes together
    label_smoothing: float = 0.0
    log_every_steps: int = 50
    validate_every_steps: int = 500
    patience_validations: int = 0  # stop after so many validations without a better one; 0: never
    stop_at_accuracy: float = 0.0  # stop once two validations in a row reach it; 0: never
    stop_at_loss: float = 0.0  # stop once the loss of two validations in a row is below it; 0: never
    evaluation_tokens: int = 16_384  # positions in a batch of validation or test
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        for name in ("total_steps", "batch_size", "log_every_steps", "validate_every_steps", "evaluation_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.patience_validations < 0:
            raise ValueError(f"patience_validations must be at least 0, got {self.patience_validations}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be within [0, 1), got {self.label_smoothing}")
        if not 0 <= self.stop_at_accuracy <= 1:
            raise ValueError(f"stop_at_accuracy must be within [0, 1], got {self.stop_at_accuracy}")
        if self.stop_at_loss < 0:
            raise ValueError(f"stop_at_loss must be at least 0, got {self.stop_at_loss}")


class SequenceTraining:
    """One run of training: the model, its task, the optimiser, and every counter the loop moves.

    The model maps (inputs, lengths) of a batch to the outputs of the task's specification. `fabric`, launched by the
    caller, decides about device, precision and processes.
    """

    def __init__(
        self, *, model: nn.Module, task: Task, config: SequenceTrainingConfig, fabric: Fabric, seed: int
    ) -> None:
        """Moves the model to the fabric's device; `seed` draws the training batches."""
        if config.batch_size % fabric.world_size:
            raise ValueError(
                f"batch_size must be a multiple of the number of processes, got {config.batch_size} and "
                f"{fabric.world_size}"
            )
        self.model = model.to(fabric.device)
        self.task = task
        self.config = config
        self.fabric = fabric
        self.seed = seed
        self.steps = 0
        self.tokens = 0
        self.best_rank: tuple[float, float] | None = None  # `validation_rank` of the best validation so far
        self.best_step = 0
        self.validations_without_improvement = 0
        self.validations_at_goal = 0  # in a row, the last included, that were good enough to stop
        self._best_weights: dict[str, Tensor] = {}
        self._precision = fabric.strategy.precision
        self.optimizer = build_optimizer(model, config.optimizer, scales_loss=self.scales_loss)
        self.schedule = build_schedule(self.optimizer, config.optimizer, total_steps=config.total_steps)
        self._module, self._stepper = fabric.setup(model, self.optimizer)

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or validation has not improved for too long or reached what was asked."""
        return self.steps >= self.config.total_steps or self.stopped_early

    @property
    def stopped_early(self) -> bool:
        """Whether `patience_validations` brought nothing better, or two in a row were good enough to stop."""
        out_of_patience = 0 < self.config.patience_validations <= self.validations_without_improvement
        # One could be luck, and weights that are still moving may lose it again.
        return out_of_patience or self.validations_at_goal >= 2

    @property
    def scales_loss(self) -> bool:
        """Whether float16 is used: then overflowing gradients are the loss scale's to find, and skip an update."""
        return getattr(self._precision, "scaler", None) is not None

    def state_dict(self) -> dict[str, Any]:
        """Returns tensors, numbers and strings from which `load_state_dict` continues exactly."""
        return {
            "steps": self.steps,
            "tokens": self.tokens,
            "best_rank": self.best_rank,
            "best_step": self.best_step,
            "validations_without_improvement": self.validations_without_improvement,
            "validations_at_goal": self.validations_at_goal,
            "best_weights": self._best_weights,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "precision": self._precision.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        self.steps = state["steps"]
        self.tokens = state["tokens"]
        self.best_rank = state["best_rank"]
        self.best_step = state["best_step"]
        self.validations_without_improvement = state["validations_without_improvement"]
        self.validations_at_goal = state["validations_at_goal"]
        self._best_weights = {name: tensor.to(self.fabric.device) for name, tensor in state["best_weights"].items()}
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.last_epoch = self.steps
        self._precision.load_state_dict(state["precision"])

    def batches(self) -> Iterator[Batch]:
        """Returns the training batches from the present step on."""
        return self.task.batches("train", batch_size=self.config.batch_size, seed=self.seed, first_batch=self.steps)

    def update(self, batch: Batch, interval: "Interval") -> None:
        """Makes one update on a batch, of which every process takes its share of the examples.

        The loss is the mean over all answers of the whole batch, so the number of processes changes nothing.
        """
        spec, fabric = self.task.spec, self.fabric
        answers = count_answers(batch.targets, spec.output)
        share = fabric.to_device(self._share(batch))
        self._module.train()
        outputs = self._module(share.inputs, share.lengths)
        scores = score(outputs, share.targets, spec.output, smoothing=self.config.label_smoothing)
        # Gradients are averaged over the processes, where each has the loss of its own examples only.
        fabric.backward(scores.loss * (fabric.world_size / answers))
        gradient_norm = fabric.clip_gradients(
            self._module,
            self._stepper,
            max_norm=self.config.optimizer.max_gradient_norm,
            error_if_nonfinite=False,  # which would wait for the GPU at every step
        )
        assert gradient_norm is not None
        # Gradients that overflow in float16 are no mistake. A GPU is not waited for: `Interval` looks at both.
        if fabric.device.type == "cpu" and not self.scales_loss and not torch.isfinite(gradient_norm):
            # On every process alike: an infinite loss of one is in the averaged gradient of all.
            raise NonFiniteLossError(
                f"the gradient's norm is {float(gradient_norm)} and the loss "
                f"{float(scores.loss.detach()) / answers:.4g} at step {self.steps + 1}"
            )
        self._stepper.step()
        self._advance_schedule()
        self.optimizer.zero_grad()
        self.steps += 1
        self.tokens += int(batch.lengths.sum())
        interval.add(scores.detached(), gradient_norm.detach())

    def _advance_schedule(self) -> None:
        if not self.scales_loss:
            self.schedule.step()
            return
        # The first loss scales are too large on purpose: that their updates were skipped is no mistake to warn of.
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            self.schedule.step()

    def _share(self, batch: Batch) -> Batch:
        """Returns this process's examples: every world_size-th, with all rows of an example."""
        fabric, rows = self.fabric, self.task.spec.sequences_per_example
        if fabric.world_size == 1:
            return batch

        def select(tensor: Tensor, per_example: int) -> Tensor:
            examples: Tensor = tensor.unflatten(0, (-1, per_example))[fabric.global_rank :: fabric.world_size]
            return examples.flatten(0, 1)

        return Batch(select(batch.inputs, rows), select(batch.lengths, rows), select(batch.targets, 1))

    def validation_is_due(self) -> bool:
        """Returns whether the present step is one at which the model is validated."""
        return self.steps % self.config.validate_every_steps == 0 or self.steps >= self.config.total_steps

    def validate(self) -> Metrics:
        """Returns the metrics of the validation split, and keeps the weights when they are the best so far."""
        metrics = self.evaluate("validation")
        rank = validation_rank(metrics)
        if self.best_rank is None or rank > self.best_rank:
            self.best_rank, self.best_step, self.validations_without_improvement = rank, self.steps, 0
            self._best_weights = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        else:
            self.validations_without_improvement += 1
        accurate = 0 < self.config.stop_at_accuracy <= metrics.get("accuracy", 0.0)
        reached = accurate or metrics["loss"] < self.config.stop_at_loss
        self.validations_at_goal = self.validations_at_goal + 1 if reached else 0
        return {f"validation/{name}": value for name, value in metrics.items()}

    def restore_best(self) -> None:
        """Gives the model the weights of the best validation, where there was one."""
        if self._best_weights:
            self.model.load_state_dict(self._best_weights)

    @torch.no_grad()
    def evaluate(self, split: Split, *, task: Task | None = None, max_examples: int | None = None) -> Metrics:
        """Returns loss and accuracies of a split, of this task or of another of the same specification.

        Every process takes its share of the batches. `max_examples` takes no more than so many, the first of the split.
        """
        task = self.task if task is None else task
        batch_size = max(1, self.config.evaluation_tokens // task.spec.max_length)
        batch_size = batch_size if max_examples is None else min(batch_size, max_examples)
        batches = task.batches(split, batch_size=batch_size, seed=self.seed)
        if max_examples is not None:
            batches = first_examples(batches, max_examples, rows_per_example=task.spec.sequences_per_example)
        sums = torch.zeros(5, device=self.fabric.device)
        # Not the wrapped module: it would wait for processes that have fewer batches than this one.
        self.model.eval()
        for batch in islice(batches, self.fabric.global_rank, None, self.fabric.world_size):
            share = self.fabric.to_device(batch)
            with self.fabric.autocast():
                outputs = self.model(share.inputs, share.lengths)
            sums += score(outputs, share.targets, task.spec.output).detached()
        return mean_scores(summed(sums, self.fabric), task)


def first_examples(batches: Iterable[Batch], num_examples: int, *, rows_per_example: int) -> Iterator[Batch]:
    """Yields batches until there are so many examples, the last one cut where it has more."""
    for batch in batches:
        rows = num_examples * rows_per_example
        yield Batch(batch.inputs[:rows], batch.lengths[:rows], batch.targets[:num_examples])
        num_examples -= len(batch.targets)
        if num_examples <= 0:
            return


def validation_rank(metrics: Metrics) -> tuple[float, float]:
    """Returns what is larger the better a validation was: its accuracy, if any, then a smaller loss.

    Of two validations without a mistake the surer one is better. Nothing is worse than a loss that is not a number.
    """
    loss = metrics["loss"]
    return metrics.get("accuracy", 0.0), -math.inf if math.isnan(loss) else -loss


def summed(tensor: Float[Tensor, "5"], fabric: Fabric) -> Float[Tensor, "5"]:
    """Returns the sum over all processes."""
    total = fabric.all_reduce(tensor.clone(), reduce_op="sum")
    assert isinstance(total, Tensor)
    return total


def mean_scores(sums: Float[Tensor, "5"], task: Task) -> Metrics:
    """Returns loss and accuracies from the five sums of `Scores`."""
    loss, answers, correct, rows, rows_correct = sums.tolist()
    metrics = {"loss": loss / max(answers, 1)}
    if task.spec.output != "regression":
        metrics["accuracy"] = correct / max(answers, 1)
    if task.spec.output == "per_position":
        metrics["sequence_accuracy"] = rows_correct / max(rows, 1)
    return metrics


def train(training: SequenceTraining) -> Iterator[Metrics]:
    """Trains until `total_steps` or an early stop, yielding metrics every `log_every_steps` and at validations.

    Tags are explained in docs/sequences.md; those that depend on the clock begin with `time/`. Raises
    NonFiniteLossError with the weights from before the bad update (on a GPU: from within the last interval).
    """
    interval = Interval(training)
    batches = training.batches()
    while not training.finished:
        with interval.timed("data"):
            batch = next(batches)
        with interval.timed("learning"):
            training.update(batch, interval)
        validation: Metrics = {}
        if training.validation_is_due():
            with interval.timed("validation"):
                validation = training.validate()
        if validation or training.steps % training.config.log_every_steps == 0 or training.finished:
            yield interval.metrics(training) | validation
            interval = Interval(training)


class Interval:
    """Sums up what happened between two yields; begins empty after each, so it needs no saving."""

    def __init__(self, training: SequenceTraining) -> None:
        self._first_step = training.steps
        self._first_tokens = training.tokens
        self._started = time.perf_counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        # Sums stay on the device: one read an interval, where one an update would wait for the GPU each time.
        self._sums = torch.zeros(5, device=training.fabric.device)
        self._gradient_norm = torch.zeros((), device=training.fabric.device)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Adds the time spent inside to the phase's share."""
        started = time.perf_counter()
        yield
        self._seconds[phase] += time.perf_counter() - started

    def add(self, sums: Float[Tensor, "5"], gradient_norm: Float[Tensor, ""]) -> None:
        """Takes in the scores of one update, and its gradient's length before clipping."""
        self._sums += sums
        self._gradient_norm += gradient_norm

    def metrics(self, training: SequenceTraining) -> Metrics:
        """Returns the metrics of docs/sequences.md.

        Raises NonFiniteLossError where loss or gradient went wrong, on a GPU, since the last yield.
        """
        steps = training.steps - self._first_step
        scores = mean_scores(summed(self._sums, training.fabric), training.task)
        if not math.isfinite(scores["loss"]):
            raise NonFiniteLossError(
                f"the loss became {scores['loss']} between steps {self._first_step} and {training.steps}"
            )
        # A finite loss may have a gradient that is not, and the weights are then lost: no checkpoint may hold them.
        if not training.scales_loss and not torch.isfinite(self._gradient_norm):
            raise NonFiniteLossError(
                f"the gradient's norm became {float(self._gradient_norm)} between steps {self._first_step} and "
                f"{training.steps}"
            )
        elapsed = time.perf_counter() - self._started
        busy = elapsed - self._seconds["validation"]
        metrics = {f"learning/{name}": value for name, value in scores.items()}
        metrics |= {f"learning/{name}": rate for name, rate in learning_rates(training.optimizer).items()}
        metrics |= {
            "learning/gradient_norm": float(self._gradient_norm) / steps,
            "learning/tokens": float(training.tokens),
            "time/tokens_per_second": (training.tokens - self._first_tokens) / busy,
            "time/steps_per_second": steps / busy,
        }
        return metrics | {f"time/{phase}_fraction": seconds / elapsed for phase, seconds in self._seconds.items()}
