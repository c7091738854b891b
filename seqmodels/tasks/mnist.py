"""Sequential MNIST: handwritten digits, one pixel a step."""

import gzip
import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from .pixel_classification import PixelClassification
from .pixel_rows import PixelRows, with_validation
from .published_files import Published, hub_examples, locate
from .task import Split

MNIST = Published(
    task="sequential-mnist",
    place="MNIST/raw",
    files=tuple(f"{part}-{kind}-ubyte*" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")),
    contents=(
        "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte as LeCun "
        "et al. published them, each also as .gz"
    ),
    hub_name="ylecun/mnist",
)
_UNSIGNED_BYTE = 0x08  # the type of an idx file's numbers


def sequential_mnist(data: Path | None) -> PixelClassification:
    """Returns the task of 28 x 28 grey pixels and ten digits, from the idx files or through `datasets`.

    A tenth of the training images, drawn once and for all, is the validation set; MNIST has none. Source: Le et al.
    2015.
    """
    return PixelClassification(
        MNIST.task,
        partial(_load, locate(MNIST, data)),
        num_pixels=28 * 28,
        num_channels=1,
        num_classes=10,
    )


def _load(folder: Path | None) -> dict[Split, PixelRows]:
    if folder is None:
        train, test = _from_hub("train"), _from_hub("test")
    else:
        train, test = _read(folder, "train"), _read(folder, "t10k")
    return with_validation(train, test)


def _read(folder: Path, name: str) -> PixelRows:
    images = read_idx(_idx_file(folder, f"{name}-images-idx3-ubyte"), num_axes=3)
    labels = read_idx(_idx_file(folder, f"{name}-labels-idx1-ubyte"), num_axes=1)
    if images.shape != (len(labels), 28, 28):
        raise ValueError(
            f"the {name} images in {folder} must be {len(labels):,} of 28 x 28 pixels, as many as labels, got "
            f"{images.shape}"
        )
    return PixelRows(images.reshape(-1, 28 * 28, 1), labels)


def _idx_file(folder: Path, name: str) -> Path:
    """Returns the file as it is or, where that is not there, packed; `locate` has found one of them."""
    return folder / name if (folder / name).exists() else folder / f"{name}.gz"


def read_idx(path: Path, *, num_axes: int) -> UInt8[np.ndarray, "..."]:
    """Returns the unsigned bytes of an idx file: two zeros, the type, the number of axes, sizes, then the numbers."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path} is no whole gzip file: {error}") from error
    head = 4 + 4 * num_axes
    if len(content) < head or content[:4] != bytes([0, 0, _UNSIGNED_BYTE, num_axes]):
        raise ValueError(
            f"{path} must begin as an idx file of unsigned bytes with {num_axes} axes, got {content[:4].hex(' ')}"
        )
    shape = struct.unpack(f">{num_axes}I", content[4:head])
    if len(content) - head != int(np.prod(shape)):
        raise ValueError(f"{path} must hold {int(np.prod(shape)):,} numbers {shape}, got {len(content) - head:,}")
    return np.frombuffer(content, dtype=np.uint8, offset=head).reshape(shape)


def _from_hub(split: str) -> PixelRows:
    rows = [(np.asarray(row["image"], dtype=np.uint8), row["label"]) for row in hub_examples(MNIST, split)]
    return PixelRows(
        np.stack([image.reshape(-1, 1) for image, _ in rows]), np.array([label for _, label in rows], dtype=np.uint8)
    )
