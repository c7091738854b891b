"""Which class is a text of, or do two texts belong together, read byte by byte?"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8

from .ragged_tokens import RaggedTokens, ragged
from .stored_batches import stored_batches
from .task import Batch, Split, TaskSpec


class LabelledTexts(NamedTuple):
    """Texts and the classes of examples; the texts of an example are adjacent."""

    texts: RaggedTokens
    labels: UInt8[np.ndarray, " n"]


class ByteClassification:
    r"""Reads texts byte by byte and answers with one of two classes for each, or for each pair of texts.

    Tokens are the bytes themselves, and 0 is padding. `load` brings the texts of each split; it is called when a batch
    is first asked for.

    >>> texts = byte_rows([b"A fine film.", b"Dull."], max_length=8)
    >>> reviews = LabelledTexts(texts, np.array([1, 0], dtype=np.uint8))
    >>> task = ByteClassification("text", lambda: {"test": reviews}, max_length=8)
    >>> batch = next(task.batches("test", batch_size=2, seed=0))
    >>> print(*batch.inputs.tolist(), batch.lengths.tolist(), batch.targets.tolist(), sep="\n")
    [65, 32, 102, 105, 110, 101, 32, 102]
    [68, 117, 108, 108, 46, 0, 0, 0]
    [8, 5]
    [1, 0]
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], dict[Split, LabelledTexts]],
        *,
        max_length: int,
        texts_per_example: int = 1,
    ) -> None:
        self.spec = TaskSpec(
            name=name,
            input="tokens",
            num_inputs=256,
            output="class",
            num_outputs=2,
            max_length=max_length,
            metric="accuracy",
            chance=0.5,
            sequences_per_example=texts_per_example,
        )
        self._load = load
        self._splits: dict[Split, LabelledTexts] | None = None

    def batches(self, split: Split, *, batch_size: int, seed: int, first_batch: int = 0) -> Iterator[Batch]:
        """Yields the batches of a split, as in Task."""
        if self._splits is None:
            self._splits = self._load()
        examples = self._splits[split]

        def gather(indices: Int64[np.ndarray, " b"]) -> Batch:
            of_example = np.arange(self.spec.sequences_per_example)
            rows = (indices[:, None] * self.spec.sequences_per_example + of_example).reshape(-1)
            inputs, lengths = examples.texts.padded(rows)
            return Batch(inputs, lengths, torch.from_numpy(examples.labels[indices].astype(np.int64)))

        members: dict[Split, Int64[np.ndarray, " n"]] = {split: np.arange(len(examples.labels))}
        return stored_batches(gather, members, split, batch_size=batch_size, seed=seed, first_batch=first_batch)


def byte_rows(texts: list[bytes], *, max_length: int) -> RaggedTokens:
    """Returns the first bytes of each text, in which no byte is zero, as tokens."""
    return ragged([np.frombuffer(text[:max_length], dtype=np.uint8) for text in texts])


def without_zeros(text: bytes, *, place: str) -> bytes:
    """Returns the text without its zero bytes, which would be padding.

    Raises ValueError, with the place that the text comes from, if nothing is left.
    """
    kept = text.replace(b"\0", b"")
    if not kept:
        raise ValueError(f"{place} must hold a text of at least 1 byte that is not 0, got {text[:20]!r}")
    return kept
