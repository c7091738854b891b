"""LRA's Retrieval: does one paper cite the other, both read byte by byte?"""

from functools import partial
from pathlib import Path

import numpy as np

from .byte_classification import ByteClassification, LabelledTexts, byte_rows, without_zeros
from .published_files import Published, locate
from .task import Split

_FILES: dict[Split, str] = {
    "train": "new_aan_pairs.train.tsv",
    "validation": "new_aan_pairs.eval.tsv",
    "test": "new_aan_pairs.test.tsv",
}
AAN = Published(
    task="retrieval",
    place="lra_release/tsv_data",
    files=tuple(_FILES.values()),
    contents=(
        "new_aan_pairs.train.tsv, new_aan_pairs.eval.tsv and new_aan_pairs.test.tsv of lra_release.gz (Tay et al. "
        "2021): lines of label, id, id, text, text between tabs, without a header"
    ),
)
_NUM_COLUMNS = 5


def lra_retrieval(data: Path | None, *, max_length: int = 4000) -> ByteClassification:
    """Returns the task of pairs of papers of the ACL Anthology Network, each cut to max_length bytes.

    Both texts of a pair are rows of their own (spec.sequences_per_example is 2); class 1 is a citation.
    """
    load = partial(_load, locate(AAN, data), max_length)
    return ByteClassification(AAN.task, load, max_length=max_length, texts_per_example=2)


def _load(folder: Path | None, max_length: int) -> dict[Split, LabelledTexts]:
    assert folder is not None  # it is not on the Hub, so `locate` insists on a folder
    return {split: _read(folder / name, max_length) for split, name in _FILES.items()}


def _read(path: Path, max_length: int) -> LabelledTexts:
    texts: list[bytes] = []
    labels: list[int] = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            columns = line.rstrip(b"\r\n").split(b"\t")
            if len(columns) != _NUM_COLUMNS or columns[0] not in (b"0", b"1", b"0.0", b"1.0"):
                raise ValueError(
                    f"line {number} of {path} must have {_NUM_COLUMNS} columns, the first of them 0 or 1, got "
                    f"{len(columns)} and {columns[0][:20]!r}"
                )
            labels.append(int(float(columns[0])))
            for column, text in enumerate(columns[3:], 4):
                texts.append(without_zeros(text, place=f"column {column} in line {number} of {path}")[:max_length])
    return LabelledTexts(byte_rows(texts, max_length=max_length), np.array(labels, dtype=np.uint8))
