"""Writes a run's curves, videos and hyper-parameters for TensorBoard.

Every event carries its step and its wall time. Tags that measure time begin with `time/`: all others are the same
numbers when a run is repeated with the same seed.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from .video import encode_gif


class TensorBoardWriter:
    """Writes events into a folder; after a resume, without those a killed run had written after its checkpoint.

    `resume_step` is the step of the checkpoint the run goes on from: events of later steps are removed.
    """

    def __init__(self, folder: str | Path, *, resume_step: int | None = None) -> None:
        if resume_step is not None:
            _remove_later_events(Path(folder), resume_step)
        self._writer = SummaryWriter(str(folder))

    def scalars(self, values: Mapping[str, float], *, step: int) -> None:
        """Adds one point to each named curve."""
        for tag, value in values.items():
            self._writer.add_scalar(tag, float(value), step)

    def video(self, tag: str, frames: UInt8[np.ndarray, "t h w 3"], *, frames_per_second: float, step: int) -> None:
        """Adds a film, which TensorBoard shows among the images as an animated GIF."""
        gif = encode_gif(frames, frames_per_second=frames_per_second)
        image = Summary.Image(height=frames.shape[1], width=frames.shape[2], colorspace=3, encoded_image_string=gif)
        self._file_writer().add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)

    def images(self, tag: str, images: UInt8[Tensor, "n colours h w"], *, step: int) -> None:
        """Adds images, grey (1 colour) or RGB (3), as one grid."""
        self._writer.add_images(tag, images.cpu(), step)

    def embeddings(
        self,
        tag: str,
        features: Float[Tensor, "n d"],
        *,
        images: UInt8[Tensor, "n colours h w"],
        labels: Mapping[str, Sequence[object]],
        step: int,
    ) -> None:
        """Adds vectors for the projector, each with its image and its labels."""
        # TensorBoard cuts square images out of one large one.
        height, width = images.shape[2:]
        images = torch.nn.functional.pad(images, (0, max(height - width, 0), 0, max(width - height, 0)))
        rows = [[str(value) for value in row] for row in zip(*labels.values(), strict=True)]
        colours = images.float().expand(-1, 3, -1, -1) / 255 if images.shape[1] == 1 else images.float() / 255
        self._writer.add_embedding(features.float().cpu(), rows, colours.cpu(), step, tag, metadata_header=list(labels))

    def text(self, tag: str, text: str, *, step: int) -> None:
        """Adds a passage of Markdown."""
        self._writer.add_text(tag, text, step)

    def hyper_parameters(self, config: Mapping[str, Any], *, results: Mapping[str, float], step: int) -> None:
        """Adds the run's row to the table of hyper-parameters: its flat configuration and its final results.

        `SummaryWriter.add_hparams` would open a second run for the row; here the row belongs to the run itself.
        """
        allowed = {
            name: value if isinstance(value, bool | int | float | str) else str(value) for name, value in config.items()
        }
        for summary in hparams(allowed, dict(results)):
            self._file_writer().add_summary(summary)
        self.scalars(results, step=step)

    def flush(self) -> None:
        """Hands all events to the operating system.

        Call it before saving a checkpoint: then no event up to the checkpoint's step is lost by a kill.
        """
        self._writer.flush()

    def close(self) -> None:
        """Flushes and closes the file."""
        self._writer.close()

    def __enter__(self) -> "TensorBoardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _file_writer(self) -> Any:
        return self._writer._get_file_writer()


def flatten_config(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested settings as one level of dotted names: `{"a": {"b": 1}}` as `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        flat.update(
            flatten_config(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
        )
    return flat


def read_scalars(folder: str | Path) -> dict[str, list[tuple[int, float]]]:
    """Returns every curve of a run as `(step, value)` pairs in the order written."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def _remove_later_events(folder: Path, last_step: int) -> None:
    """Rewrites the event files of `folder` without events after `last_step`.

    TensorBoard's own way, a SessionLog that tells readers to ignore them, is not honoured by all of its loaders.
    """
    for path in sorted(folder.glob("events.out.tfevents.*")):
        beside = folder / "rewritten-events"  # not a name that TensorBoard reads
        with beside.open("wb") as file:
            file.writelines(record for step, record in _records(path) if step <= last_step)
        beside.replace(path)


def _records(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yields (step, the record as it stands in the file) up to a record that a kill cut short.

    A record is a length (8 bytes), its checksum (4), an event of that length, and its checksum (4).
    """
    content = path.read_bytes()
    start = 0
    while start + 12 <= len(content):
        end = start + 12 + int.from_bytes(content[start : start + 8], "little") + 4
        if end > len(content):
            return
        yield Event.FromString(content[start + 12 : end - 4]).step, content[start:end]
        start = end
