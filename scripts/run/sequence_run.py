"""One run of a sequence model and everything it writes: curves, checkpoints, and the result at its end."""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from seqmodels.training import Metrics, train

from .checkpoint import load_checkpoint, save_checkpoint
from .config_file import config_to_json
from .devices import device_description
from .interruption import Interruption
from .progress import Progress
from .run_directory import RunDirectory
from .sequence_assembly import SequenceParts, state_size
from .sequence_config import SequenceRunConfig
from .sequence_result import SequenceResult
from .tensorboard import TensorBoardWriter, flatten_config
from .whole_file import write_json

TESTED_FILE_NAME = "tested.json"  # what is tested so far; gone once the result is written


class SequenceRun:
    """A run that can be stopped at every step of its loop and after every test, and gone on with from its directory."""

    def __init__(
        self,
        config: SequenceRunConfig,
        directory: RunDirectory,
        parts: SequenceParts,
        fabric: Fabric,
        *,
        resumes: bool = False,
    ) -> None:
        """Takes parts that have not begun, and continues from the checkpoint when the run resumes and has one."""
        self._started = time.monotonic()
        self.config = config
        self.directory = directory
        self.fabric = fabric
        self.parts = parts
        self.curve: list[dict[str, float]] = []
        self.tested: dict[str, Metrics] = {}  # by length, and "test" for the task's own
        # A run killed before its first checkpoint begins again.
        if resumes and directory.checkpoint.exists():
            self._load(load_checkpoint(directory.checkpoint))
            self._load_tested()
        self._saved_at = self.steps
        self.board: TensorBoardWriter | None = None  # of the one process that writes
        self.tokens_board: TensorBoardWriter | None = None
        if fabric.is_global_zero:
            self.board = TensorBoardWriter(directory.path, resume_step=self.steps if resumes else None)
            # A folder of its own: there the axis counts tokens, and what a resume removes does as well.
            tokens = self.tokens if resumes else None
            self.tokens_board = TensorBoardWriter(directory.path / "against_tokens", resume_step=tokens)
            if not resumes:
                self.board.text("model/backend", self.parts.backend, step=0)

    @property
    def steps(self) -> int:
        """Updates so far, those of pretraining included."""
        return sum(training.steps for training in self.parts.trainings)

    @property
    def tokens(self) -> int:
        """Positions learned from so far, those of pretraining included."""
        return sum(training.tokens for training in self.parts.trainings)

    @property
    def total_steps(self) -> int:
        """Updates in all, unless the run stops early."""
        return sum(training.config.total_steps for training in self.parts.trainings)

    def seconds(self) -> float:
        """Returns the wall time spent on this run, earlier sittings included."""
        return time.monotonic() - self._started

    def _load(self, saved: Mapping[str, Any]) -> None:
        for training, state in zip(self.parts.trainings, saved["trainings"], strict=True):
            training.load_state_dict(state)
        self.curve = saved["curve"]
        self._started -= saved["seconds"]
        set_generator_states(saved["generators"], self.fabric)

    @property
    def _tested_file(self) -> Path:
        return self.directory.path / TESTED_FILE_NAME

    def _load_tested(self) -> None:
        if self._tested_file.exists():
            saved = json.loads(self._tested_file.read_text(encoding="utf-8"))
            self.tested = saved["tested"]
            self._started = time.monotonic() - saved["seconds"]  # later than the checkpoint's

    def save(self) -> None:
        """Writes the checkpoint, and before it every curve up to its step."""
        self._saved_at = self.steps
        generators = generator_states(self.fabric)
        if self.board is None or self.tokens_board is None:
            return
        self.board.flush()
        self.tokens_board.flush()
        state = {
            "trainings": [training.state_dict() for training in self.parts.trainings],
            "curve": self.curve,
            "seconds": self.seconds(),
            "generators": generators,
        }
        save_checkpoint(self.directory.checkpoint, state)

    def metrics(self) -> Iterator[Metrics]:
        """Trains, pretraining first where it is asked for, and yields metrics where the run may be saved."""
        for training in self.parts.trainings:
            if training.finished:
                continue
            for metrics in train(training):
                yield metrics if training is self.parts.training else as_pretraining(metrics)

    def log(self, metrics: Metrics) -> None:
        """Adds metrics to the curves, against steps and against tokens."""
        if "validation/loss" in metrics:
            point = {tag.removeprefix("validation/"): value for tag, value in metrics.items() if "validation/" in tag}
            place = {"step": float(self.steps), "tokens": float(self.tokens), "seconds": self.seconds()}
            self.curve.append(place | point)
        if self.board is None or self.tokens_board is None:
            return
        self.board.scalars(metrics, step=self.steps)
        names = ("learning/loss", "learning/accuracy", "validation/loss", "validation/accuracy")
        against_tokens = {f"tokens/{name.replace('/', '_')}": metrics[name] for name in names if name in metrics}
        self.tokens_board.scalars(against_tokens, step=self.tokens)

    def save_is_due(self) -> bool:
        """Returns whether a multiple of `checkpoint_every_steps` has gone by since the last save."""
        every = self.config.checkpoint_every_steps
        return self.steps // every > self._saved_at // every

    def tests(self) -> Iterator[None]:
        """Writes the last checkpoint, then tests the best weights at each length and on the task, yielding after each.

        What is tested is written, and not tested again by a run that resumes.
        """
        self.save()
        training = self.parts.training
        training.restore_best()
        of_length = {str(task.spec.max_length): task for task in self.parts.test_tasks}
        for name, task in (*of_length.items(), ("test", None)):
            if name in self.tested:
                continue
            max_examples = None if task is None else self.config.test_length_examples
            self.tested[name] = training.evaluate("test", task=task, max_examples=max_examples)
            if self.fabric.is_global_zero:
                write_json(self._tested_file, {"seconds": self.seconds(), "tested": self.tested})
            yield

    def finish(self) -> SequenceResult:
        """Writes and returns the result, once all `tests` are done."""
        training = self.parts.training
        best_step = training.best_step + self.steps - training.steps  # of the curve, which begins with pretraining
        lengths = {name: metrics for name, metrics in self.tested.items() if name != "test"}
        result = SequenceResult(
            task=self.config.task,
            model=self.config.label,
            seed=self.config.seed,
            learning_rate=training.config.optimizer.learning_rate,
            steps=self.steps,
            tokens=self.tokens,
            seconds=self.seconds(),
            parameters=sum(parameter.numel() for parameter in training.model.parameters()),
            state_size=state_size(training.model, training.task.spec.max_length),
            best_step=best_step,
            validation=_best_point(self.curve, best_step),
            test=self.tested["test"],
            lengths=lengths,
            state_sizes={length: state_size(training.model, int(length)) for length in lengths},
            curve=self.curve,
            backend=self.parts.backend,
            device=device_description(self.fabric.device),
            threads=torch.get_num_threads(),
            torch=str(torch.__version__),
        )
        if self.fabric.is_global_zero:
            self._write(result)
        return result

    def _write(self, result: SequenceResult) -> None:
        assert self.board is not None
        assert self.tokens_board is not None
        finals = {f"final/{name}": value for name, value in result.test.items()}
        finals |= {"final/parameters": float(result.parameters), "final/state_size": float(result.state_size)}
        self.board.hyper_parameters(
            flatten_config(config_to_json(self.config)) | {"label": result.model}, results=finals, step=self.steps
        )
        with new_board(self.directory.path / "against_length") as board:
            for length, metrics in result.lengths.items():
                board.scalars({f"length/{name}": value for name, value in metrics.items()}, step=int(length))
        with new_board(self.directory.path / "against_size") as board:
            value = result.test[result.metric]
            board.scalars({"size/metric_against_state": value}, step=result.state_size)
            board.scalars({"size/metric_against_parameters": value}, step=result.parameters)
        self.board.close()
        self.tokens_board.close()
        result.write(self.directory.path)
        self._tested_file.unlink(missing_ok=True)


def generator_states(fabric: Fabric) -> dict[str, Tensor]:
    """Returns the states of the generators that dropout draws from, a row for each process, all of which must ask."""
    states = {"cpu": torch.get_rng_state()}
    if fabric.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(fabric.device)
    gathered = {}
    for kind, state in states.items():
        rows = fabric.all_gather(state.to(fabric.device))
        assert isinstance(rows, Tensor)
        gathered[kind] = rows.cpu().reshape(fabric.world_size, -1)
    return gathered


def set_generator_states(states: Mapping[str, Tensor], fabric: Fabric) -> None:
    """Gives this process its own states back; with another number of processes than then, dropout begins anew."""
    if len(states["cpu"]) != fabric.world_size:
        return
    torch.set_rng_state(states["cpu"][fabric.global_rank].clone())
    if "cuda" in states and fabric.device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"][fabric.global_rank].clone(), fabric.device)


def new_board(folder: Path) -> TensorBoardWriter:
    """Returns a writer for curves that are written at once, without those of an earlier time."""
    for events in folder.glob("events.out.tfevents.*"):
        events.unlink()
    return TensorBoardWriter(folder)


def as_pretraining(metrics: Metrics) -> Metrics:
    """Returns the metrics under the names of pretraining: its loss is not the task's."""
    return {
        tag if tag.startswith("time/") else f"pretraining/{tag.replace('/', '_')}": value
        for tag, value in metrics.items()
    }


def _best_point(curve: list[dict[str, float]], step: int) -> dict[str, float]:
    """Returns the validation at a step, without its place on the axes."""
    point = next(point for point in curve if point["step"] == step)
    return {name: value for name, value in point.items() if name not in ("step", "tokens", "seconds")}


def train_to_the_end(run: SequenceRun) -> SequenceResult | None:
    """Trains, logs, saves and tests until the end; returns None when Ctrl-C or SIGTERM stopped it, saved, before that.

    Raises NonFiniteLossError; the last checkpoint, from before it, stays.
    """
    with Interruption() as interruption:
        with Progress(run.total_steps, first_step=run.steps) as progress:
            for metrics in run.metrics():
                run.log(metrics)
                progress.update(run.steps, loss=metrics.get("learning/loss"), accuracy=metrics.get("learning/accuracy"))
                if _any_process_is_asked_to_stop(interruption, run.fabric):
                    run.save()
                    return None
                if run.save_is_due():
                    run.save()
        for _ in run.tests():
            if _any_process_is_asked_to_stop(interruption, run.fabric):
                return None
    return run.finish()


def _any_process_is_asked_to_stop(interruption: Interruption, fabric: Fabric) -> bool:
    """Returns the same answer on every process: one that left alone would leave the others waiting for it."""
    if fabric.world_size == 1:
        return interruption.requested
    requested = torch.tensor(float(interruption.requested), device=fabric.device)
    return bool(fabric.all_reduce(requested, reduce_op="sum"))
