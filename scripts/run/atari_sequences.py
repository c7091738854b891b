"""Turns a store of played frames into a sequence task."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float32, Int64

from gen_ssl.frames import FrameStore, split_episodes
from seqmodels.tasks import Split
from seqmodels.tasks.atari import AtariPlay, Question, StoredPlay

ATARI_QUESTIONS: dict[str, Question] = {
    "atari-action": "action",
    "atari-reward": "reward",
    "atari-feature": "feature",
}
"""The tasks on stored play, by the names that commands use."""

_FRAMES_AT_ONCE = 1_024


def atari_task(folder: Path, *, question: Question, length: int = 128, features_per_side: int = 12) -> AtariPlay:
    """Returns the task of a frame store: episodes are split by the fractions of `split_episodes`, with its seed 0.

    A frame's features are its newest image averaged over features_per_side x features_per_side equal areas, from -1 to
    1. Raises ValueError if the store has several games, whose actions differ in meaning.
    """
    plays, num_actions = _plays(folder.resolve(), features_per_side)
    return AtariPlay(plays, num_actions=num_actions, length=length, question=question)


@lru_cache(maxsize=1)  # a comparison builds its task for every cell, and reading takes long
def _plays(folder: Path, side: int) -> tuple[dict[Split, StoredPlay], int]:
    """Returns all steps of each part's episodes, and the number of actions."""
    store = FrameStore.open(folder)
    if len(store.games) != 1:
        raise ValueError(f"a sequence of play is of one game, but {folder} has {', '.join(store.games)}")
    split = split_episodes(store, seed=0)
    parts: tuple[Split, ...] = ("train", "validation", "test")
    return {part: _play(store, split.episodes(part), side) for part in parts}, store.num_actions


def _play(store: FrameStore, episodes: Int64[np.ndarray, " e"], side: int) -> StoredPlay:
    """Returns all steps of these episodes."""
    starts, ends = store.episodes.starts[episodes], store.episodes.ends[episodes]
    steps = np.concatenate([np.arange(start, end) for start, end in zip(starts, ends, strict=True)])
    return StoredPlay(
        features=_features(store, steps, side),
        actions=store.actions[steps].astype(np.int64),
        rewards=store.rewards[steps],
        episodes=np.repeat(np.arange(len(episodes)), ends - starts),
    )


def _features(store: FrameStore, steps: Int64[np.ndarray, " n"], side: int) -> Float32[np.ndarray, "n f"]:
    features = np.empty((len(steps), side * side), dtype=np.float32)
    for start in range(0, len(steps), _FRAMES_AT_ONCE):
        part = slice(start, start + _FRAMES_AT_ONCE)
        newest = store.frames(steps[part])[:, -1:].float() / 127.5 - 1
        features[part] = F.adaptive_avg_pool2d(newest, side).flatten(1).numpy()
    return features
