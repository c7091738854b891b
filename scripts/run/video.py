"""Writes films as MP4 or GIF."""

import io
import subprocess
from pathlib import Path

import imageio_ffmpeg  # type: ignore[import-untyped]
import numpy as np
from jaxtyping import UInt8
from PIL import Image

Film = UInt8[np.ndarray, "t h w 3"]


def write_video(path: str | Path, frames: Film, *, frames_per_second: float) -> Path:
    """Writes an MP4 (H.264) or a GIF, after the suffix of `path`, and returns the path."""
    path = Path(path)
    if path.suffix not in (".mp4", ".gif"):
        raise ValueError(f"a video ends in .mp4 or .gif, got {path.name!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gif":
        path.write_bytes(encode_gif(frames, frames_per_second=frames_per_second))
    else:
        _write_mp4(path, frames, frames_per_second)
    return path


def encode_gif(frames: Film, *, frames_per_second: float) -> bytes:
    """Returns an endless animated GIF of at most 50 frames a second (its times are whole hundredths, at least two)."""
    images = [Image.fromarray(frame).quantize(colors=64) for frame in frames]
    encoded = io.BytesIO()
    duration_ms = max(round(100 / frames_per_second), 2) * 10
    images[0].save(encoded, "GIF", save_all=True, append_images=images[1:], duration=duration_ms, loop=0)
    return encoded.getvalue()


def _write_mp4(path: Path, frames: Film, frames_per_second: float) -> None:
    height, width = frames.shape[1:3]
    # H.264 stores colour for pairs of pixels: an odd edge is repeated once.
    padded = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    source = f"-f rawvideo -pix_fmt rgb24 -s {padded.shape[2]}x{padded.shape[1]} -r {frames_per_second} -i -"
    target = "-an -c:v libx264 -pix_fmt yuv420p -crf 18 -movflags +faststart"
    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", *source.split(), *target.split(), str(path)]
    finished = subprocess.run(program, input=padded.tobytes(), capture_output=True, check=False)
    if finished.returncode != 0:
        raise OSError(f"the video {path} could not be written: {finished.stderr.decode().strip()}")
