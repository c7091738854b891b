"""Films, written and decoded again."""

import re
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from scripts.run.video import write_video


def ramp(num_frames: int, height: int, width: int) -> np.ndarray:
    """Grey frames that grow lighter."""
    levels = np.linspace(20, 220, num_frames, dtype=np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (num_frames, height, width, 3)).copy()


def read_mp4(path: Path, height: int, width: int) -> np.ndarray:
    """Returns the frames of a film of a size known beforehand."""
    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(path)]
    decoded = subprocess.run([*program, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True)
    return np.frombuffer(decoded.stdout, np.uint8).reshape(-1, height, width, 3)


def seconds_of(path: Path) -> float:
    described = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)], capture_output=True, check=False)
    duration = re.search(r"Duration: 00:00:([\d.]+)", described.stderr.decode())
    assert duration is not None
    return float(duration[1])


def test_an_mp4_shows_the_frames_in_their_order_and_speed(tmp_path: Path) -> None:
    frames = ramp(12, 210, 160)
    path = write_video(tmp_path / "videos" / "pong.mp4", frames, frames_per_second=15.0)
    shown = read_mp4(path, 210, 160)
    np.testing.assert_allclose(shown.mean(axis=(1, 2, 3)), frames.mean(axis=(1, 2, 3)), atol=4)
    assert seconds_of(path) == pytest.approx(12 / 15)


def test_an_odd_edge_is_repeated_in_an_mp4(tmp_path: Path) -> None:
    path = write_video(tmp_path / "odd.mp4", ramp(3, 51, 35), frames_per_second=15.0)
    assert read_mp4(path, 52, 36).shape == (3, 52, 36, 3)


def test_a_film_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    (tmp_path / "pong.mp4").mkdir()
    with pytest.raises(OSError, match=r"the video .*pong.mp4 could not be written: .*[Dd]irectory"):
        write_video(tmp_path / "pong.mp4", ramp(3, 8, 8), frames_per_second=15.0)


def test_a_gif_shows_the_frames_in_their_order_and_speed(tmp_path: Path) -> None:
    path = write_video(tmp_path / "pong.gif", ramp(7, 21, 16), frames_per_second=20.0)
    levels = []
    with Image.open(path) as image:
        assert (image.n_frames, image.size, image.info["duration"], image.info["loop"]) == (7, (16, 21), 50, 0)
        for index in range(7):
            image.seek(index)
            levels.append(np.asarray(image.convert("RGB")).mean())
    assert levels == sorted(levels)


def test_a_gif_never_asks_for_more_than_50_frames_a_second(tmp_path: Path) -> None:
    with Image.open(write_video(tmp_path / "fast.gif", ramp(3, 8, 8), frames_per_second=60.0)) as image:
        assert image.info["duration"] == 20


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a video ends in .mp4 or .gif, got 'pong.avi'"):
        write_video(tmp_path / "pong.avi", ramp(3, 8, 8), frames_per_second=15.0)
