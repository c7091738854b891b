"""How a shard, one file of a frame store, is laid out on disk.

A shard is the 16 bytes of MAGIC and then sections, each its payload's length and CRC-32 (two little-endian uint32) and
the payload:

- the header, JSON (`ShardHeader`);
- the reference frames, LZ4: the dictionary with which every frame of the shard is compressed, so that what does not
  change, most of a game's screen, costs nothing;
- blocks of at most BLOCK_FRAMES frames, each complete in itself (`Block`): what follows a damaged one can be read,
  also where its length is wrong, since a whole block is known by its checksum.

A shard begins an episode and ends one, so it can be read without any other. Nothing in it is code or pickled.
"""

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import lz4.block
import numpy as np
from jaxtyping import Float32, UInt8, UInt32

MAGIC = b"cartridge-frames"
VERSION = 1
SUFFIX = ".frames"
BLOCK_FRAMES = 500
RAM_BYTES = 128

TERMINATED = 1  # the game was over after this frame's action
TRUNCATED = 2  # the record of the episode ends here although the game went on

_SECTION = struct.Struct("<II")
_BLOCK = struct.Struct("<III")  # frames, bytes of the columns, bytes of the RAM
# LZ4 finds repeats at most this far back: references beyond it would never be used.
_LZ4_WINDOW = 65_535
_COLUMN_BYTES = 10  # a frame's action, flags, reward and length
_SEARCHED_AT_ONCE = 65_536  # places looked at for a block, of 60 bytes each in memory


@dataclass(frozen=True, kw_only=True)
class ShardHeader:
    """What holds for all frames of a shard."""

    game: str
    num_actions: int
    frame_shape: tuple[int, int, int]
    has_ram: bool
    num_frames: int
    num_references: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame as it is seen."""
        return int(np.prod(self.frame_shape))

    def to_bytes(self) -> bytes:
        """Returns the header as it is written."""
        return json.dumps({"version": VERSION, **asdict(self)}).encode()

    @classmethod
    def from_bytes(cls, written: bytes) -> "ShardHeader":
        """Returns the header that was written; raises ValueError for a newer version or missing fields."""
        fields: dict[str, Any] = json.loads(written)
        version = fields.pop("version", None)
        if version != VERSION:
            raise ValueError(f"a shard of version {version} cannot be read, this Cartridge reads version {VERSION}")
        try:
            return cls(**{**fields, "frame_shape": tuple(fields["frame_shape"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"the header of a shard lacks fields or has unknown ones: {sorted(fields)}") from error


class Block(NamedTuple):
    """Up to BLOCK_FRAMES consecutive frames: what is read at once, and where each frame's compressed bytes lie."""

    actions: UInt8[np.ndarray, " n"]
    flags: UInt8[np.ndarray, " n"]
    rewards: Float32[np.ndarray, " n"]
    lengths: UInt32[np.ndarray, " n"]  # bytes of each compressed frame
    ram_bytes: int  # of the RAM compressed by `compress_ram`; it lies right before the frames
    frames_at: int  # where the first compressed frame begins, counted from the block's first byte


def max_references(frame_bytes: int) -> int:
    """Returns how many frames fit into LZ4's window together with the frame that is compressed, at most 8."""
    return min(8, _LZ4_WINDOW // frame_bytes - 1)


def compress_frame(frame: bytes, references: bytes) -> bytes:
    """Returns a frame compressed with the references as dictionary."""
    # Level 9 takes 0.1 ms a frame, a tenth of what playing it takes; reading is as fast as from any other level.
    compressed: bytes = lz4.block.compress(
        frame, mode="high_compression", compression=9, store_size=False, dict=references
    )
    return compressed


def compress_ram(ram: UInt8[np.ndarray, "n 128"]) -> bytes:
    """Returns the memory of consecutive frames as changes from frame to frame, byte by byte, compressed."""
    changes = ram.copy()
    changes[1:] ^= ram[:-1]
    compressed: bytes = lz4.block.compress(
        np.ascontiguousarray(changes.T), mode="high_compression", compression=9, store_size=False
    )
    return compressed


def decompress_ram(compressed: bytes, num_frames: int) -> UInt8[np.ndarray, "n 128"]:
    """Returns what `compress_ram` was given."""
    changes = lz4.block.decompress(compressed, num_frames * RAM_BYTES)
    return np.bitwise_xor.accumulate(np.frombuffer(changes, dtype=np.uint8).reshape(RAM_BYTES, num_frames), axis=1).T


def block_to_bytes(
    actions: UInt8[np.ndarray, " n"],
    flags: UInt8[np.ndarray, " n"],
    rewards: Float32[np.ndarray, " n"],
    ram: bytes,
    frames: list[bytes],
) -> bytes:
    """Returns the payload of a block."""
    lengths = np.array([len(frame) for frame in frames], dtype="<u4")
    plain = actions.tobytes() + flags.tobytes() + rewards.astype("<f4").tobytes() + lengths.tobytes()
    columns = lz4.block.compress(plain, store_size=False)
    return b"".join([_BLOCK.pack(len(frames), len(columns), len(ram)), columns, ram, *frames])


def block_from_bytes(payload: memoryview) -> Block:
    """Returns a block without its frames' bytes."""
    num_frames, column_bytes, ram_bytes = _BLOCK.unpack_from(payload)
    ram_at = _BLOCK.size + column_bytes
    columns = lz4.block.decompress(payload[_BLOCK.size : ram_at], num_frames * _COLUMN_BYTES)
    return Block(
        actions=np.frombuffer(columns, np.uint8, num_frames),
        flags=np.frombuffer(columns, np.uint8, num_frames, num_frames),
        rewards=np.frombuffer(columns, "<f4", num_frames, 2 * num_frames).astype(np.float32),
        lengths=np.frombuffer(columns, "<u4", num_frames, 6 * num_frames).astype(np.uint32),
        ram_bytes=ram_bytes,
        frames_at=ram_at + ram_bytes,
    )


def section(payload: bytes) -> bytes:
    """Returns a payload with its length and checksum before it."""
    return _SECTION.pack(len(payload), zlib.crc32(payload)) + payload


class Section(NamedTuple):
    """A part of a shard, and where it begins in the file."""

    payload: memoryview
    at: int
    whole: bool  # whether the checksum is right


def sections(written: memoryview) -> Iterator[Section]:
    """Yields the sections of a shard until its end; after one that is not whole goes on with the next whole block.

    A section with a wrong length is whole if the checksum is right for all bytes up to that next block.
    """
    at = len(MAGIC)
    while at + _SECTION.size <= len(written):
        part = _section_at(written, at)
        if not part.whole:
            _, checksum = _SECTION.unpack_from(written, at)
            payload = written[part.at : _next_block(written, part.at)]
            part = Section(payload, part.at, _is_whole(payload, checksum))
        yield part
        at = part.at + len(part.payload)


def _section_at(written: memoryview, at: int) -> Section:
    """Returns the section whose length stands at a byte of a shard."""
    length, checksum = _SECTION.unpack_from(written, at)
    at += _SECTION.size
    payload = written[at : at + length]
    return Section(payload, at, len(payload) == length and _is_whole(payload, checksum))


def _is_whole(payload: memoryview, checksum: int) -> bool:
    # Nothing of ours is empty: a tail of zeros, which a crash may leave, reads as sections of length 0.
    return len(payload) > 0 and zlib.crc32(payload) == checksum


def _next_block(written: memoryview, start: int) -> int:
    """Returns where the first section at or after a byte begins that is a whole block; the shard's end without one."""
    head = _SECTION.size + _BLOCK.size
    for first in range(start, len(written) - head + 1, _SEARCHED_AT_ONCE):
        window = np.frombuffer(written[first : first + _SEARCHED_AT_ONCE + head - 1], dtype=np.uint8)
        heads = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(window, head)).view("<u4")
        length, _, num_frames, column_bytes, ram_bytes = heads.astype(np.int64).T
        # Almost no place but a block's beginning passes: checksums over bytes that are none would take minutes.
        possible = (num_frames > 0) & (num_frames <= BLOCK_FRAMES) & (length <= len(written))
        possible &= _BLOCK.size + column_bytes + ram_bytes <= length
        for offset in np.flatnonzero(possible).tolist():
            if _section_at(written, first + offset).whole:
                return first + offset
    return len(written)
