"""One run of pretraining and everything it writes: curves, pictures, checkpoints, and the encoder at its end."""

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from gen_ssl.frames import FrameBatch
from gen_ssl.method import ShowsPictures
from gen_ssl.pretraining import Metrics, NonFiniteLossError, pretrain

from .checkpoint import load_checkpoint, save_checkpoint
from .config_file import config_to_json
from .interruption import Interruption
from .pretrain_assembly import PretrainingParts
from .pretrain_config import PretrainRunConfig
from .progress import Progress
from .run_directory import RunDirectory
from .tensorboard import TensorBoardWriter, flatten_config

SHOWN_PICTURES = 16  # of each kind, in TensorBoard


class DivergedRunError(ValueError):
    """A loss or gradient that is not finite ended the run; resumed from its checkpoint, it would end so again."""


class PretrainRun:
    """A run that can be stopped wherever its loop yields, and gone on with from its directory."""

    def __init__(
        self,
        config: PretrainRunConfig,
        directory: RunDirectory,
        parts: PretrainingParts,
        fabric: Fabric,
        *,
        resumes: bool = False,
    ) -> None:
        """Opens everything that is written to, and continues from the checkpoint when a resumed run has one."""
        self._started = time.monotonic()
        self.config = config
        self.directory = directory
        self.fabric = fabric
        self.pretraining, self.store, self.probe = parts.pretraining, parts.store, parts.probe
        self._held_out = parts.held_out
        # A run killed before its first checkpoint begins again. The first process looks: all have to do the same.
        if fabric.broadcast(resumes and directory.checkpoint.exists()):
            self._load(load_checkpoint(directory.checkpoint))
        self._saved_at = self._pictured_at = self.steps
        self.board: TensorBoardWriter | None = None  # of the first process only
        if fabric.is_global_zero:
            self.board = TensorBoardWriter(directory.path, resume_step=self.steps if resumes else None)

    @property
    def steps(self) -> int:
        """Updates so far."""
        return self.pretraining.steps

    @property
    def encoder_folder(self) -> Path:
        """Where the encoder is saved."""
        return self.directory.path / "encoder"

    def seconds(self) -> float:
        """Returns the wall time spent on this run, earlier sittings included."""
        return time.monotonic() - self._started

    def _load(self, saved: dict[str, Any]) -> None:
        if saved["frames"] != self._frames():
            raise ValueError(
                f"the run began on {_in_words(saved['frames'])}, its folder has {_in_words(self._frames())} now: "
                "episodes that were trained on might be tested on; begin a new run"
            )
        self.pretraining.load_state_dict(saved["pretraining"])
        self._started -= saved["seconds"]

    def _frames(self) -> dict[str, Any]:
        """Returns what tells a store of frames from what it was before others were added."""
        return {"frames": len(self.store), "games": list(self.store.games)}

    def save(self) -> None:
        """Writes the encoder as it is and the checkpoint, and before them every curve up to its step."""
        self._saved_at = self.steps
        if self.board is None:
            return
        self.board.flush()
        save_checkpoint(
            self.directory.checkpoint,
            {"pretraining": self.pretraining.state_dict(), "seconds": self.seconds(), "frames": self._frames()},
        )
        self.pretraining.encoder.save_pretrained(self.encoder_folder)

    def save_is_due(self) -> bool:
        """Returns whether a multiple of `checkpoint_every_steps` has gone by since the last save."""
        every = self.config.checkpoint_every_steps
        return self.steps // every > self._saved_at // every

    def log(self, metrics: Metrics) -> None:
        """Adds metrics to the curves, and pictures where they are due."""
        if self.board is None:
            return
        self.board.scalars(metrics, step=self.steps)
        for sentence in self.pretraining.collapse_warnings:
            self.board.text("collapse/warning", sentence, step=self.steps)
        every = self.config.pictures_every_steps
        if self.steps // every > self._pictured_at // every:
            self.show_pictures()

    def show_pictures(self) -> None:
        """Adds what the method has to show of held-out frames: views, masks, reconstructions, samples."""
        self._pictured_at = self.steps
        method = self.pretraining.method
        if self.board is None or not isinstance(method, ShowsPictures):
            return
        batch = _first(self._held_out, SHOWN_PICTURES).to(self.fabric.device)
        was_training = method.training
        method.eval()
        with torch.no_grad(), self.fabric.autocast():
            pictures = method.pictures(batch, self.pretraining.generator(purpose=1))
        method.train(was_training)
        for name, images in pictures.items():
            self.board.images(f"pictures/{name}", images, step=self.steps)

    def show_embeddings(self) -> None:
        """Adds the features of held-out stacks for TensorBoard's projector, with their newest frames and labels."""
        assert self.board is not None
        batch, store = self._held_out, self.store
        labels = {
            "game": [store.games[game] for game in batch.games.tolist()],
            "action": batch.actions.tolist(),
            "reward": batch.rewards.tolist(),
        }
        images = batch.stacks[0][:, -store.frame_shape[0] :]
        self.board.embeddings(
            "features", self.pretraining.encode(batch.stacks[0]), images=images, labels=labels, step=self.steps
        )

    def finish(self, probe: Callable[["PretrainRun"], Metrics]) -> Metrics:
        """Saves, probes the encoder, and writes scores and hyper-parameters; returns the scores."""
        self.save()
        if self.board is None:
            return {}
        self.show_pictures()
        self.show_embeddings()
        scores = probe(self)
        finals = {"final/steps": float(self.steps)} | {f"final/{name}": value for name, value in scores.items()}
        config = flatten_config(config_to_json(self.config))
        self.board.hyper_parameters(config, results=finals, step=self.steps)
        self.board.close()
        return scores


def pretrain_to_the_end(run: PretrainRun, probe: Callable[[PretrainRun], Metrics]) -> Metrics | None:
    """Pretrains, logs and saves until the end; returns the probe's scores, or None when Ctrl-C stopped and saved it.

    A loss that is not finite ends it with a DivergedRunError, which says what is saved and what there is from before.
    """
    minutes = run.config.pretraining.minutes if run.config.pretraining.steps == 0 else 0.0
    total = round(60 * minutes) if minutes else run.config.pretraining.steps

    def done() -> int:
        return round(run.pretraining.seconds) if minutes else run.steps

    unit = "s" if minutes else "steps"
    # One process shows how far all of them are.
    stream = None if run.fabric.is_global_zero else io.StringIO()
    with Interruption() as interruption, Progress(total, first_step=done(), unit=unit, stream=stream) as shown:
        try:
            for metrics in pretrain(run.pretraining):
                run.log(metrics)
                for sentence in run.pretraining.collapse_warnings:
                    shown.say(f"step {run.steps:,}: {sentence}")
                shown.update(
                    min(done(), total),
                    updates=float(run.steps),
                    loss=metrics["pretraining/loss"],
                    samples_per_second=metrics["time/samples_per_second"],
                )
                if _first_process_is_asked_to_stop(interruption, run.fabric):
                    run.save()
                    return None
                if run.save_is_due():
                    run.save()
        except NonFiniteLossError as error:
            raise DivergedRunError(_save_non_finite(run, error)) from error
    return run.finish(probe)


def _save_non_finite(run: PretrainRun, error: NonFiniteLossError) -> str:
    """Saves the method to be looked at and an encoder that is whole; returns the sentence that the run ends with."""
    where, encoder = run.directory.path / "non_finite.pt", run.pretraining.encoder
    assert isinstance(encoder, nn.Module)
    # On a CPU they are those from before the update, and worth as much as at the step before.
    is_finite = all(bool(weights.isfinite().all()) for weights in encoder.state_dict().values())
    if run.board is not None:
        run.board.close()
        save_checkpoint(where, run.pretraining.method.state_dict(), kind="method")
        if is_finite:
            run.pretraining.encoder.save_pretrained(run.encoder_folder)
    if is_finite:
        of_encoder = f"its encoder, whose weights are finite, as {run.encoder_folder}"
    elif run.encoder_folder.exists():
        of_encoder = "the encoder saved before stays"
    else:
        of_encoder = "there is no encoder, whose weights are not finite"
    of_checkpoint = "the last good checkpoint stays" if run.directory.checkpoint.exists() else "there is no checkpoint"
    return f"{error}; the method is saved as {where}, {of_encoder}, and {of_checkpoint}: try a smaller --learning-rate"


def _first_process_is_asked_to_stop(interruption: Interruption, fabric: Fabric) -> bool:
    """Returns the same answer on every process: one that left alone would leave the others waiting for it."""
    return bool(fabric.broadcast(interruption.requested))


def _in_words(frames: dict[str, Any]) -> str:
    return f"{frames['frames']:,} frames of {', '.join(frames['games'])}"


def _first(batch: FrameBatch, count: int) -> FrameBatch:
    return FrameBatch(batch.stacks[:, :count], *(part[:count] for part in batch[1:]))
