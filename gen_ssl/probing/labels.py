"""What is to be read off the frames of a store, and the frames that it is read off."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from ..frames import FrameStore, split_episodes
from ..frames.episode_split import Split


@dataclass(frozen=True, kw_only=True)
class Labels:
    """One variable's value at each of some frames of a store."""

    name: str
    values: Int64[np.ndarray, " n"]  # 0 .. 255
    category: str  # scores of variables are averaged within each, then over categories (Anand et al. 2019)
    is_small_object: bool = False  # a ball, a missile
    is_position: bool = False  # along x or y: its value is also a number that can be regressed


LabelReader = Callable[[Int64[np.ndarray, " n"]], Sequence[Labels]]
"""Returns every variable's values at the frames of a store that it is given: only of those that are probed."""


@dataclass(frozen=True, kw_only=True)
class LabelledFrames:
    """The samples of one part of a store's episodes: where they are, and each variable's value, one a column."""

    indices: Int64[np.ndarray, " n"]
    classes: Int64[Tensor, "n v"]

    def __len__(self) -> int:
        return len(self.indices)


def frame_labels(store: FrameStore, indices: Int64[np.ndarray, " n"]) -> tuple[Labels, Labels]:
    """Returns what every store knows: the action taken at each frame, and the sign of the reward that followed it."""
    reward = np.sign(store.rewards[indices]).astype(np.int64) + 1
    return (
        Labels(name="action", values=store.actions[indices].astype(np.int64), category="action"),
        Labels(name="reward", values=reward, category="reward"),
    )


def informative(classes: Int64[Tensor, "n v"], *, least_entropy: float) -> list[int]:
    """Returns the columns of the variables whose values have at least so much entropy, in nats.

    What hardly ever changes is predicted by its most frequent value: it says nothing of features.
    """
    return [index for index, values in enumerate(classes.numpy().T) if _entropy(values) >= least_entropy]


def state_columns(labels: Sequence[Labels]) -> list[int]:
    """Returns the places of the game's state variables: of all but action and reward, unless there are no others."""
    of_state = [index for index, variable in enumerate(labels) if variable.category not in ("action", "reward")]
    return of_state or list(range(len(labels)))


def _entropy(values: Int64[np.ndarray, " n"]) -> float:
    counts = np.bincount(values)
    shares = counts[counts > 0] / len(values)
    return float(-(shares * np.log(shares)).sum())


def evenly_spaced(num_frames: int, most_frames: int) -> Int64[np.ndarray, " n"]:
    """Returns the frames that are probed, in order: all, or of more than `most_frames` so many, evenly spaced."""
    return np.unique(np.linspace(0, num_frames - 1, min(most_frames, num_frames)).astype(np.int64))


def labelled_frames(
    store: FrameStore,
    labels: Sequence[Labels],
    frames: Int64[np.ndarray, " n"],
    *,
    stack: int,
    split_seed: int = 0,
) -> dict[Split, LabelledFrames]:
    """Splits these frames by whole episodes, and leaves out of a later part what an earlier part shows already.

    `labels` are those of `frames`. Episodes begin alike, so stacks repeat: a test on what was learned from would
    measure memory.
    """
    episodes = split_episodes(store, seed=split_seed)
    values = np.stack([variable.values for variable in labels], axis=1)
    seen: set[bytes] = set()
    parts: dict[Split, LabelledFrames] = {}
    for split in ("train", "validation", "test"):
        rows = np.flatnonzero(np.isin(store.episode_ids[frames], episodes.episodes(split)))
        digests = [
            hashlib.blake2b(stacked.tobytes(), digest_size=16).digest()
            for chunk in np.array_split(frames[rows], max(len(rows) // 1_000, 1))
            for stacked in _stacks(store, chunk, stack)
        ]
        if split != "train":
            rows = rows[[digest not in seen for digest in digests]]
        seen.update(digests)
        if len(rows) == 0:
            raise ValueError(f"every stack of the {split} episodes stands in earlier ones too: collect more frames")
        parts[split] = LabelledFrames(indices=frames[rows], classes=torch.from_numpy(values[rows]))
    return parts


def _stacks(store: FrameStore, indices: Int64[np.ndarray, " n"], stack: int) -> UInt8[np.ndarray, "n c h w"]:
    stacks: np.ndarray = store.stacks(indices, stack=stack).numpy()
    return stacks
