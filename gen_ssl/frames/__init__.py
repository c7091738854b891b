"""Played frames: the store on disk, its reader and writer, splits by episode, and batches for pretraining."""

from .episode_split import EpisodeSplit, Split, split_episodes
from .frame_batch import FrameBatch
from .frame_sampler import FrameSampler
from .frame_store import Episodes, FrameStore
from .frame_store_writer import FrameStoreWriter

__all__ = [
    "EpisodeSplit",
    "Episodes",
    "FrameBatch",
    "FrameSampler",
    "FrameStore",
    "FrameStoreWriter",
    "Split",
    "split_episodes",
]
