"""Which episodes are for training, which for choosing and which for the final test."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int64

from .frame_store import FrameStore

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class EpisodeSplit:
    """Disjoint sets of a store's episodes, by index into `FrameStore.episodes`, sorted."""

    train: Int64[np.ndarray, " train"]
    validation: Int64[np.ndarray, " validation"]
    test: Int64[np.ndarray, " test"]

    def episodes(self, split: Split) -> Int64[np.ndarray, " e"]:
        """Returns the episodes of one part."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[split]


def split_episodes(
    store: FrameStore, *, seed: int, fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
) -> EpisodeSplit:
    """Splits every game's episodes at random into parts with about these fractions of its frames.

    By whole episodes: neighbouring frames are almost copies of each other, and a test on copies of what was learned
    measures memory. The default fractions are those of Anand et al. 2019, "Unsupervised State Representation Learning
    in Atari". Each part gets an episode of each game at least. A game's split depends on its own episodes and the seed
    alone: beside other games in a store it is the one that it has by itself.

    Raises ValueError when a game has fewer than three episodes, or the fractions do not add up to 1.
    """
    if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"fractions must be positive and add up to 1, got {fractions}")
    parts: list[list[Int64[np.ndarray, " part"]]] = [[], [], []]
    for game, name in enumerate(store.games):
        episodes = np.flatnonzero(store.episodes.games == game)
        if len(episodes) < 3:
            raise ValueError(
                f"splitting by episode takes at least 3 episodes of each game, got {len(episodes)} of {name}: "
                "collect more frames"
            )
        # The same draws for every game, so that its place among the games of a store decides nothing.
        shuffled = np.random.default_rng((seed, 0)).permutation(episodes)
        frames = np.cumsum(store.episodes.ends[shuffled] - store.episodes.starts[shuffled])
        wanted = frames[-1] * np.cumsum(fractions)[:2]
        # The cuts nearest to what is wanted that leave an episode for every part.
        first = int(np.clip(np.abs(frames - wanted[0]).argmin() + 1, 1, len(episodes) - 2))
        second = int(np.clip(np.abs(frames - wanted[1]).argmin() + 1, first + 1, len(episodes) - 1))
        for part, chosen in zip(parts, np.split(shuffled, [first, second]), strict=True):
            part.append(chosen)
    return EpisodeSplit(*(np.sort(np.concatenate(part)) for part in parts))
