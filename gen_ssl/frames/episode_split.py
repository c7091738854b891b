"""Which episodes are for training, which for choosing and which for the final test."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int64

from .frame_store import FrameStore

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class EpisodeSplit:
    """Disjoint sets of a store's episodes, by index into `FrameStore.episodes`."""

    train: Int64[np.ndarray, " train"]
    validation: Int64[np.ndarray, " validation"]
    test: Int64[np.ndarray, " test"]


def split_episodes(
    store: FrameStore, *, seed: int, fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
) -> EpisodeSplit:
    """Returns a random split of every game's episodes, by whole episodes: neighbouring frames are almost copies."""
    raise NotImplementedError
