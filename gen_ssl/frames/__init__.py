"""Played frames: the store on disk, its reader and writer, splits by episode, and batches for pretraining."""

from .dqn_replay_dataset import LoggedSteps, logged_checkpoints, read_logged_steps
from .episode_split import EpisodeSplit, Split, split_episodes
from .frame_batch import FrameBatch
from .frame_sampler import FrameSampler
from .frame_store import Episodes, FrameStore
from .frame_store_writer import FrameStoreWriter, shard_path
from .shard_reader import ShardContents, read_shard
from .shard_writer import ShardWriter

__all__ = [
    "EpisodeSplit",
    "Episodes",
    "FrameBatch",
    "FrameSampler",
    "FrameStore",
    "FrameStoreWriter",
    "LoggedSteps",
    "ShardContents",
    "ShardWriter",
    "Split",
    "logged_checkpoints",
    "read_logged_steps",
    "read_shard",
    "shard_path",
    "split_episodes",
]
