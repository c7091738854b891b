"""Reads one shard of a frame store, also one that is damaged or cut short."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import lz4.block
import numpy as np
from jaxtyping import Float32, Int64, UInt8

from .shard_layout import MAGIC, TRUNCATED, Block, ShardHeader, block_from_bytes, sections


@dataclass(frozen=True, kw_only=True)
class RamBlock:
    """The RAM of some consecutive frames, compressed, in a shard's file."""

    first_frame: int  # counted in the shard
    num_frames: int
    at: int
    num_bytes: int


@dataclass(frozen=True, kw_only=True)
class ShardContents:
    """What a shard holds, except pixels and RAM: of those, where in the file they lie."""

    path: Path
    file_bytes: int
    header: ShardHeader
    references: bytes
    actions: UInt8[np.ndarray, " n"]
    flags: UInt8[np.ndarray, " n"]  # the last one ends an episode
    rewards: Float32[np.ndarray, " n"]
    frame_at: Int64[np.ndarray, " n"]
    frame_lengths: Int64[np.ndarray, " n"]
    ram_blocks: tuple[RamBlock, ...]

    @property
    def num_lost(self) -> int:
        """Frames that were written and cannot be read."""
        return self.header.num_frames - len(self.actions)


def read_shard(path: Path) -> ShardContents:
    """Returns what is whole of a shard, every checksum compared; an episode ends where a block is missing.

    Raises ValueError when no frame can be read: the file is no shard, or its first sections are damaged or missing.
    """
    written = memoryview(path.read_bytes())
    header, references = _read_beginning(path, written)
    blocks: list[tuple[int, Block]] = []
    ends_after: set[int] = set()  # blocks with a gap behind them
    for part in islice(sections(written), 2, None):
        if part.whole:
            blocks.append((part.at, block_from_bytes(part.payload)))
        else:
            ends_after.add(len(blocks) - 1)
    if not blocks:
        raise ValueError(f"no frame of {path} is whole")
    ends_after.add(len(blocks) - 1)
    return _join(path, len(written), header, references, blocks, ends_after)


def _read_beginning(path: Path, written: memoryview) -> tuple[ShardHeader, bytes]:
    """Returns the header and the reference frames."""
    if bytes(written[: len(MAGIC)]) != MAGIC:
        raise ValueError(f"{path} is not a shard of a frame store")
    beginning = list(islice(sections(written), 2))
    if len(beginning) < 2 or not all(part.whole for part in beginning):
        raise ValueError(f"the beginning of {path} is damaged or missing")
    header = ShardHeader.from_bytes(bytes(beginning[0].payload))
    references: bytes = lz4.block.decompress(beginning[1].payload, header.num_references * header.frame_bytes)
    return header, references


def _join(
    path: Path,
    file_bytes: int,
    header: ShardHeader,
    references: bytes,
    blocks: list[tuple[int, Block]],
    ends_after: set[int],
) -> ShardContents:
    frame_at, flags, ram_blocks, num_frames = [], [], [], 0
    for number, (at, block) in enumerate(blocks):
        lengths = block.lengths.astype(np.int64)
        frame_at.append(at + block.frames_at + np.cumsum(lengths) - lengths)
        flags.append(block.flags.copy())
        if number in ends_after and not flags[-1][-1]:
            flags[-1][-1] = TRUNCATED
        if header.has_ram:
            ram_blocks.append(
                RamBlock(
                    first_frame=num_frames,
                    num_frames=len(lengths),
                    at=at + block.frames_at - block.ram_bytes,
                    num_bytes=block.ram_bytes,
                )
            )
        num_frames += len(lengths)
    return ShardContents(
        path=path,
        file_bytes=file_bytes,
        header=header,
        references=references,
        actions=np.concatenate([block.actions for _, block in blocks]),
        flags=np.concatenate(flags),
        rewards=np.concatenate([block.rewards for _, block in blocks]),
        frame_at=np.concatenate(frame_at),
        frame_lengths=np.concatenate([block.lengths.astype(np.int64) for _, block in blocks]),
        ram_blocks=tuple(ram_blocks),
    )
