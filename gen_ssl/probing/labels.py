"""What is to be read off the frames of a store, and the frames that it is read off."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from ..frames import FrameStore, split_episodes
from ..frames.episode_split import Split


@dataclass(frozen=True, kw_only=True)
class Labels:
    """One variable's value at every frame of a store."""

    name: str
    values: Int64[np.ndarray, " n"]  # 0 .. 255
    category: str  # scores of variables are averaged within each, then over categories (Anand et al. 2019)
    is_small_object: bool = False  # a ball, a missile
    is_position: bool = False  # along x or y: its value is also a number that can be regressed


@dataclass(frozen=True, kw_only=True)
class LabelledFrames:
    """The samples of one part of a store's episodes: where they are, and each variable's value, one a column."""

    indices: Int64[np.ndarray, " n"]
    classes: Int64[Tensor, "n v"]

    def __len__(self) -> int:
        return len(self.indices)


def frame_labels(store: FrameStore) -> tuple[Labels, Labels]:
    """Returns what every store knows: the action taken at each frame, and the sign of the reward that followed it."""
    reward = np.sign(store.rewards).astype(np.int64) + 1
    return (
        Labels(name="action", values=store.actions.astype(np.int64), category="action"),
        Labels(name="reward", values=reward, category="reward"),
    )


def informative(labels: Sequence[Labels], indices: Int64[np.ndarray, " n"], *, least_entropy: float) -> list[Labels]:
    """Returns the variables whose values at these frames have at least so much entropy, in nats.

    What hardly ever changes is predicted by its most frequent value: it says nothing of features.
    """
    return [variable for variable in labels if _entropy(variable.values[indices]) >= least_entropy]


def state_columns(labels: Sequence[Labels]) -> list[int]:
    """Returns the places of the game's state variables: of all but action and reward, unless there are no others."""
    of_state = [index for index, variable in enumerate(labels) if variable.category not in ("action", "reward")]
    return of_state or list(range(len(labels)))


def _entropy(values: Int64[np.ndarray, " n"]) -> float:
    counts = np.bincount(values)
    shares = counts[counts > 0] / len(values)
    return float(-(shares * np.log(shares)).sum())


def labelled_frames(
    store: FrameStore, labels: Sequence[Labels], *, stack: int, split_seed: int = 0, most_frames: int
) -> dict[Split, LabelledFrames]:
    """Splits the store's frames by whole episodes, and leaves out of a later part what an earlier part shows already.

    Of a store of more than `most_frames` frames it takes so many, evenly spaced. Episodes begin alike, so stacks
    repeat: a test on what was learned from would measure memory.
    """
    taken = np.zeros(len(store), dtype=np.bool_)
    taken[np.linspace(0, len(store) - 1, min(most_frames, len(store))).astype(np.int64)] = True
    episodes = split_episodes(store, seed=split_seed)
    values = np.stack([variable.values for variable in labels], axis=1)
    seen: set[bytes] = set()
    parts: dict[Split, LabelledFrames] = {}
    for split in ("train", "validation", "test"):
        indices = store.valid_indices(episodes=episodes.episodes(split))
        indices = indices[taken[indices]]
        digests = [
            hashlib.blake2b(frames.tobytes(), digest_size=16).digest()
            for chunk in np.array_split(indices, max(len(indices) // 1_000, 1))
            for frames in _stacks(store, chunk, stack)
        ]
        if split != "train":
            indices = indices[[digest not in seen for digest in digests]]
        seen.update(digests)
        if len(indices) == 0:
            raise ValueError(f"every stack of the {split} episodes stands in earlier ones too: collect more frames")
        parts[split] = LabelledFrames(indices=indices, classes=torch.from_numpy(values[indices]))
    return parts


def _stacks(store: FrameStore, indices: Int64[np.ndarray, " n"], stack: int) -> UInt8[np.ndarray, "n c h w"]:
    stacks: np.ndarray = store.stacks(indices, stack=stack).numpy()
    return stacks
