"""What TensorBoard reads of what we write."""

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from scripts.run.tensorboard import TensorBoardWriter, flatten_config, read_scalars


def read_events(folder: Path) -> Any:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return events


def test_scalars_stand_against_steps_and_wall_time(tmp_path: Path) -> None:
    started = time.time()
    with TensorBoardWriter(tmp_path) as writer:
        writer.scalars({"episode/return": -21.0, "learning/loss": np.float64(0.5)}, step=3)
        writer.scalars({"episode/return": -20.5}, step=7)
    assert read_scalars(tmp_path) == {"episode/return": [(3, -21.0), (7, -20.5)], "learning/loss": [(3, 0.5)]}
    assert all(started <= event.wall_time <= time.time() for event in read_events(tmp_path).Scalars("episode/return"))


def test_a_resumed_run_removes_what_was_written_after_its_checkpoint(tmp_path: Path) -> None:
    killed = TensorBoardWriter(tmp_path)
    for step in (1, 2, 3, 4):
        killed.scalars({"a": float(step)}, step=step)
    killed.flush()  # and no close: the process was killed here
    time.sleep(1.1)  # event files are ordered by the second in their names, and a new process takes longer than this
    with TensorBoardWriter(tmp_path, resume_step=2) as resumed:
        for step in (3, 4, 5):
            resumed.scalars({"a": 10.0 * step}, step=step)
    assert read_scalars(tmp_path) == {"a": [(1, 1.0), (2, 2.0), (3, 30.0), (4, 40.0), (5, 50.0)]}
    killed.close()


def test_a_half_written_event_hides_nothing_of_the_resumed_run(tmp_path: Path) -> None:
    with TensorBoardWriter(tmp_path) as killed:
        killed.scalars({"a": 1.0}, step=1)
        killed.scalars({"a": 2.0}, step=2)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    time.sleep(1.1)
    with TensorBoardWriter(tmp_path, resume_step=1) as resumed:
        resumed.scalars({"a": 20.0}, step=2)
    assert read_scalars(tmp_path) == {"a": [(1, 1.0), (2, 20.0)]}


def test_flushed_events_are_in_the_file_before_it_is_closed(tmp_path: Path) -> None:
    writer = TensorBoardWriter(tmp_path)
    writer.scalars({"a": 1.0}, step=1)
    writer.flush()
    assert read_scalars(tmp_path) == {"a": [(1, 1.0)]}
    writer.close()


def test_the_row_of_hyper_parameters_belongs_to_the_run_itself(tmp_path: Path) -> None:
    with TensorBoardWriter(tmp_path) as writer:
        writer.scalars({"a": 1.0}, step=1)
        config = {"game": "Pong", "learning_rate": 0.1, "double": True, "max_norm": None, "layers": [3, 5]}
        writer.hyper_parameters(config, results={"final/score": 18.5}, step=9)
    assert [path.is_file() for path in tmp_path.iterdir()] == [True], "one event file, no run within the run"
    assert read_scalars(tmp_path)["final/score"] == [(9, 18.5)]
    content = read_events(tmp_path).PluginTagToContent("hparams")["_hparams_/session_start_info"]
    row = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert row["game"].string_value == "Pong"
    assert row["learning_rate"].number_value == 0.1
    assert row["double"].number_value == 1
    assert row["max_norm"].string_value == "None"
    assert row["layers"].string_value == "[3, 5]"


def test_a_video_is_an_animated_image(tmp_path: Path) -> None:
    frames = np.zeros((5, 14, 22, 3), np.uint8)
    frames[:, :, :, 0] = np.linspace(0, 255, 5, dtype=np.uint8)[:, None, None]
    with TensorBoardWriter(tmp_path) as writer:
        writer.video("evaluation/video", frames, frames_per_second=10.0, step=3)
    (event,) = read_events(tmp_path).Images("evaluation/video")
    image = Image.open(io.BytesIO(event.encoded_image_string))
    assert (event.step, event.width, event.height) == (3, 22, 14)
    assert (image.format, image.n_frames, image.size, image.info["duration"]) == ("GIF", 5, (22, 14), 100)


def test_flat_names_are_dotted() -> None:
    nested = {"game": {"name": "Pong", "size": {"rows": 7}}, "seed": 3}
    assert flatten_config(nested) == {"game.name": "Pong", "game.size.rows": 7, "seed": 3}


def test_a_frame_of_another_type_is_refused(tmp_path: Path) -> None:
    with TensorBoardWriter(tmp_path) as writer, pytest.raises(Exception, match="frames"):
        writer.video("v", np.zeros((3, 7, 5, 3), np.float32), frames_per_second=10.0, step=1)


def test_images_are_one_grid_in_their_own_grey(tmp_path: Path) -> None:
    grey = torch.full((3, 1, 7, 5), 51, dtype=torch.uint8)
    with TensorBoardWriter(tmp_path) as board:
        board.images("pictures/views", grey, step=3)
    (image,) = read_events(tmp_path).Images("pictures/views")
    pixels = np.asarray(Image.open(io.BytesIO(image.encoded_image_string)).convert("L"))
    assert image.step == 3
    assert (pixels == 51).sum() == grey.numel()


def test_embeddings_have_a_vector_an_image_and_labels_each(tmp_path: Path) -> None:
    features = torch.arange(15.0).view(5, 3)
    images = torch.full((5, 1, 7, 11), 51, dtype=torch.uint8)  # the projector takes square ones
    labels = {"game": ["Pong"] * 5, "action": range(5)}
    with TensorBoardWriter(tmp_path) as board:
        board.embeddings("features", features, images=images, labels=labels, step=3)
    (vectors,) = tmp_path.rglob("tensors.tsv")
    assert np.array_equal(np.loadtxt(vectors, delimiter="\t"), features)
    metadata = (vectors.parent / "metadata.tsv").read_text().splitlines()
    assert metadata == ["game\taction", *(f"Pong\t{action}" for action in range(5))]
    with Image.open(vectors.parent / "sprite.png") as sprite:
        assert sprite.size == (33, 33)
