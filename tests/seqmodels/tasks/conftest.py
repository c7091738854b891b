"""A data folder with a few examples of every published data set, in the very format of its publisher."""

import gzip
from pathlib import Path

import numpy as np
import pytest

NUM_MNIST = {"train": 23, "t10k": 5}
NUM_CIFAR_RECORDS = 3  # in each of six files
NUM_REVIEWS = 11  # kind ones and unkind ones, in train and in test
NUM_PAIRS = {"train": 13, "eval": 3, "test": 5}


def idx_bytes(array: np.ndarray) -> bytes:
    """Returns unsigned bytes as an idx file has them."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def write_mnist(folder: Path, generator: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    for name, number in NUM_MNIST.items():
        images = generator.integers(0, 256, size=(number, 28, 28), dtype=np.uint8)
        labels = np.arange(number, dtype=np.uint8) % 10
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images)))
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))


def write_cifar(folder: Path, generator: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        records = generator.integers(0, 256, size=(NUM_CIFAR_RECORDS, 1 + 3 * 1024), dtype=np.uint8)
        records[:, 0] %= 10
        (folder / f"{name}.bin").write_bytes(records.tobytes())


def write_reviews(folder: Path) -> None:
    for split in ("train", "test"):
        for kind in ("pos", "neg"):
            (folder / split / kind).mkdir(parents=True)
            for number in range(NUM_REVIEWS):
                review = (
                    f"{split} review {number} is {'kind' if kind == 'pos' else 'unkind'}. Né à Paris." + "!" * number
                )
                (folder / split / kind / f"{number}_7.txt").write_text(review, encoding="utf-8")


def write_pairs(folder: Path) -> None:
    folder.mkdir(parents=True)
    for split, number in NUM_PAIRS.items():
        lines = [
            f'{float(pair % 2)}\tA{pair}\tB{pair}\tabstract {split} {pair}{"." * pair}\tother "{split}" {pair}\n'
            for pair in range(number)
        ]
        (folder / f"new_aan_pairs.{split}.tsv").write_text("".join(lines))


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a data folder as a user would have it."""
    data = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    write_mnist(data / "MNIST" / "raw", generator)
    write_cifar(data / "cifar-10-batches-bin", generator)
    write_reviews(data / "aclImdb")
    write_pairs(data / "lra_release" / "tsv_data")
    return data
