"""CIFAR-10 as sequences: LRA's Image task in grey, and sequential CIFAR in colour."""

from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from .pixel_classification import PixelClassification
from .pixel_rows import PixelRows, with_validation
from .published_files import Published, hub_examples, locate
from .task import Split

_TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_TEST_FILE = "test_batch.bin"

CIFAR_10 = Published(
    task="sequential-cifar",
    place="cifar-10-batches-bin",
    files=(*_TRAIN_FILES, _TEST_FILE),
    contents=(
        "data_batch_1.bin to data_batch_5.bin and test_batch.bin of cifar-10-binary.tar.gz (Krizhevsky 2009): records "
        "of a label and 3 x 1,024 pixels. The Python version's pickles are not read, because they can run code"
    ),
    hub_name="uoft-cs/cifar10",
)
LRA_IMAGE = CIFAR_10._replace(task="image")

_SIDE = 32
_RECORD = 1 + 3 * _SIDE**2
_GREY = np.array([0.2989, 0.587, 0.114])  # the weights with which LRA makes colours grey (ITU-R BT.601)


def lra_image(data: Path | None) -> PixelClassification:
    """Returns LRA's Image: 32 x 32 grey pixels, ten classes (Tay et al. 2021).

    A tenth of the training images, drawn once and for all, is the validation set; CIFAR-10 has none.
    """
    load = partial(_load, LRA_IMAGE, locate(LRA_IMAGE, data), grey=True)
    return PixelClassification(LRA_IMAGE.task, load, num_pixels=_SIDE**2, num_channels=1, num_classes=10)


def sequential_cifar(data: Path | None) -> PixelClassification:
    """Returns sequential CIFAR: 32 x 32 pixels of three colours, ten classes; the validation set as in lra_image."""
    load = partial(_load, CIFAR_10, locate(CIFAR_10, data), grey=False)
    return PixelClassification(CIFAR_10.task, load, num_pixels=_SIDE**2, num_channels=3, num_classes=10)


def _load(published: Published, folder: Path | None, *, grey: bool) -> dict[Split, PixelRows]:
    if folder is None:
        train, test = _from_hub(published, "train"), _from_hub(published, "test")
    else:
        batches = [_read(folder / name) for name in _TRAIN_FILES]
        train = PixelRows(
            np.concatenate([batch.pixels for batch in batches]), np.concatenate([batch.labels for batch in batches])
        )
        test = _read(folder / _TEST_FILE)
    if grey:
        train, test = (rows._replace(pixels=_in_grey(rows.pixels)) for rows in (train, test))
    return with_validation(train, test)


def _read(path: Path) -> PixelRows:
    """Reads records of a label and the planes of red, green and blue."""
    content = np.fromfile(path, dtype=np.uint8)
    if not len(content) or len(content) % _RECORD:
        raise ValueError(f"{path} must hold records of {_RECORD:,} bytes, got {len(content):,} bytes in all")
    records = content.reshape(-1, _RECORD)
    return PixelRows(records[:, 1:].reshape(-1, 3, _SIDE**2).transpose(0, 2, 1), records[:, 0])


def _in_grey(pixels: UInt8[np.ndarray, "n length 3"]) -> UInt8[np.ndarray, "n length 1"]:
    grey = np.empty((*pixels.shape[:2], 1), dtype=np.uint8)
    for start in range(0, len(pixels), 1000):  # in parts: the product has eight times the pixels' memory
        part = slice(start, start + 1000)
        grey[part, :, 0] = np.rint(pixels[part] @ _GREY)
    return grey


def _from_hub(published: Published, split: str) -> PixelRows:
    rows = [(np.asarray(row["img"], dtype=np.uint8), row["label"]) for row in hub_examples(published, split)]
    return PixelRows(
        np.stack([image.reshape(-1, 3) for image, _ in rows]), np.array([label for _, label in rows], dtype=np.uint8)
    )
