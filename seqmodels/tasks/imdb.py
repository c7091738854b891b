"""LRA's Text: is a film review kind or not, read byte by byte?"""

from functools import partial
from pathlib import Path

import numpy as np

from .byte_classification import ByteClassification, LabelledTexts, byte_rows, without_zeros
from .published_files import Published, hub_examples, locate
from .stored_batches import shuffled_split
from .task import Split

IMDB = Published(
    task="text",
    place="aclImdb",
    files=("train/pos/*.txt", "train/neg/*.txt", "test/pos/*.txt", "test/neg/*.txt"),
    contents=(
        "the folder of aclImdb_v1.tar.gz (Maas et al. 2011): train/pos, train/neg, test/pos and test/neg with one "
        "review in each .txt file"
    ),
    hub_name="stanfordnlp/imdb",
)


def lra_text(data: Path | None, *, max_length: int = 4096) -> ByteClassification:
    """Returns the task of IMDb's reviews, cut to max_length bytes; class 1 is kind (Tay et al. 2021).

    A tenth of the training reviews, drawn once and for all, is the validation set. LRA validates on the test set.
    """
    return ByteClassification(IMDB.task, partial(_load, locate(IMDB, data), max_length), max_length=max_length)


def _load(folder: Path | None, max_length: int) -> dict[Split, LabelledTexts]:
    train, test = (_read(folder / split) if folder else _from_hub(split) for split in ("train", "test"))
    kept, held_out = shuffled_split(len(train), held_out=max(1, len(train) // 10))
    parts: dict[Split, list[tuple[bytes, int]]] = {
        "train": [train[i] for i in kept],
        "validation": [train[i] for i in held_out],
        "test": test,
    }
    return {
        split: LabelledTexts(
            byte_rows([text for text, _ in part], max_length=max_length),
            np.array([label for _, label in part], dtype=np.uint8),
        )
        for split, part in parts.items()
    }


def _read(folder: Path) -> list[tuple[bytes, int]]:
    reviews = []
    for label, name in enumerate(("neg", "pos")):
        for file in sorted((folder / name).glob("*.txt")):
            reviews.append((without_zeros(file.read_bytes(), place=str(file)), label))
    return reviews


def _from_hub(split: str) -> list[tuple[bytes, int]]:
    return [
        (without_zeros(row["text"].encode(), place=f"example {number} of {split} in {IMDB.hub_name}"), row["label"])
        for number, row in enumerate(hub_examples(IMDB, split))
    ]
