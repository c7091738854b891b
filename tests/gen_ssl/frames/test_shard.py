"""One shard: written whole or not at all, small, and readable as far as it is whole."""

from pathlib import Path

import numpy as np
import pytest

from gen_ssl.frames import FrameStore, ShardContents, ShardWriter, read_shard
from gen_ssl.frames.shard_layout import MAGIC, compress_ram, decompress_ram, sections

SHAPE = (1, 11, 13)


def write(path: Path, num_frames: int, *, last_frame: int | None = None) -> np.ndarray:
    """Writes a shard of random frames that is one episode, and returns them."""
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 256, (num_frames, *SHAPE), dtype=np.uint8)
    shard = ShardWriter(path, game="Pong", num_actions=5, frame_shape=SHAPE)
    ends = np.arange(num_frames) == (num_frames - 1 if last_frame is None else last_frame)
    shard.append(
        frames=frames,
        actions=generator.integers(0, 5, num_frames),
        rewards=np.zeros(num_frames, dtype=np.float32),
        terminated=ends,
        truncated=~ends & False,
        ram=generator.integers(0, 256, (num_frames, 128), dtype=np.uint8),
    )
    shard.finish()
    return frames


def episode_ends(shard: ShardContents) -> list[int]:
    return np.flatnonzero(shard.flags).tolist()


def test_a_shard_cut_short_anywhere_keeps_its_whole_blocks(tmp_path: Path) -> None:
    path = tmp_path / "Pong-00000.frames"
    write(path, 1_103)  # blocks of 500, 500 and 103
    content = path.read_bytes()
    block_ends = [part.at + len(part.payload) for part in sections(memoryview(content))][2:]
    for size, expected in [
        (len(content), 1_103),
        (len(content) - 1, 1_000),
        (block_ends[1], 1_000),
        (block_ends[1] - 1, 500),
        (block_ends[0] + 5, 500),
    ]:
        path.write_bytes(content[:size])
        shard = read_shard(path)
        assert (len(shard.actions), shard.num_lost) == (expected, 1_103 - expected)
        assert episode_ends(shard) == [expected - 1]
    for size in (block_ends[0] - 1, len(MAGIC) + 5):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match="no frame of .* is whole|the beginning of .* is damaged or missing"):
            read_shard(path)


def test_a_flipped_bit_costs_its_block_and_ends_an_episode_before_it(tmp_path: Path) -> None:
    path = tmp_path / "Pong-00000.frames"
    write(path, 1_103)
    content = bytearray(path.read_bytes())
    second_block = [part.at for part in sections(memoryview(bytes(content)))][3]
    content[second_block + 12_345] ^= 64
    path.write_bytes(content)
    shard = read_shard(path)
    assert (len(shard.actions), shard.num_lost) == (603, 500)
    assert episode_ends(shard) == [499, 602]


@pytest.mark.parametrize("bit", [0, 9, 31])  # the length becomes a little and much larger or smaller
@pytest.mark.parametrize("block", [0, 1, 2])
def test_a_flipped_bit_in_a_length_costs_nothing(block: int, bit: int, tmp_path: Path) -> None:
    path = tmp_path / "Pong-00000.frames"
    frames = write(path, 1_103)
    content = bytearray(path.read_bytes())
    length_at = [part.at for part in sections(memoryview(bytes(content)))][2 + block] - 8
    content[length_at + bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    shard = read_shard(path)
    assert shard.num_lost == 0
    assert episode_ends(shard) == [1_102]
    np.testing.assert_array_equal(FrameStore.open(tmp_path).frames(np.arange(1_103)).numpy(), frames)


@pytest.mark.parametrize(("block", "kept", "ends"), [(0, 603, [602]), (1, 603, [499, 602]), (2, 1_000, [999])])
def test_a_block_with_a_wrong_length_and_a_wrong_byte_costs_itself_alone(
    block: int, kept: int, ends: list[int], tmp_path: Path
) -> None:
    path = tmp_path / "Pong-00000.frames"
    frames = write(path, 1_103)
    content = bytearray(path.read_bytes())
    block_at = [part.at for part in sections(memoryview(bytes(content)))][2 + block]
    content[block_at - 6] ^= 4
    content[block_at + 12_345] ^= 64
    path.write_bytes(content)
    shard = read_shard(path)
    assert (len(shard.actions), shard.num_lost) == (kept, 1_103 - kept)
    assert episode_ends(shard) == ends
    with pytest.warns(RuntimeWarning, match=f"{1_103 - kept} of 1103 frames of Pong-00000.frames"):
        store = FrameStore.open(tmp_path)
    lost = slice(500 * block, 500 * (block + 1))
    np.testing.assert_array_equal(store.frames(np.arange(kept)).numpy(), np.delete(frames, lost, axis=0))


def test_a_block_is_found_wherever_the_search_for_it_is_divided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "Pong-00000.frames"
    write(path, 503)
    content = bytearray(path.read_bytes())
    damaged = list(sections(memoryview(bytes(content))))[2]
    content[damaged.at + 12_345] ^= 64
    path.write_bytes(content)
    for places in range(len(damaged.payload) - 3, len(damaged.payload) + 31):
        monkeypatch.setattr("gen_ssl.frames.shard_layout._SEARCHED_AT_ONCE", places)
        assert len(read_shard(path).actions) == 3


def test_a_tail_of_zeros_leaves_the_blocks_before_it(tmp_path: Path) -> None:
    # As a disk leaves a file whose length was written and whose data was not.
    path = tmp_path / "Pong-00000.frames"
    write(path, 1_103)
    content = bytearray(path.read_bytes())
    inside_second_block = [part.at for part in sections(memoryview(bytes(content)))][3] + 12_345
    content[inside_second_block:] = bytes(len(content) - inside_second_block)
    path.write_bytes(content)
    shard = read_shard(path)
    assert (len(shard.actions), shard.num_lost) == (500, 603)
    assert episode_ends(shard) == [499]


def test_frames_too_large_for_references_are_read_again(tmp_path: Path) -> None:
    path = tmp_path / "Pong-00000.frames"
    frames = np.random.default_rng(0).integers(0, 256, (3, 1, 257, 263), dtype=np.uint8)  # more than LZ4 looks back
    shard = ShardWriter(path, game="Pong", num_actions=2, frame_shape=(1, 257, 263))
    nothing = np.zeros(3, dtype=np.bool_)
    shard.append(
        frames=frames,
        actions=np.zeros(3, dtype=np.int64),
        rewards=np.zeros(3, dtype=np.float32),
        terminated=nothing,
        truncated=nothing,
    )
    shard.finish()
    assert read_shard(path).references == b""
    np.testing.assert_array_equal(FrameStore.open(tmp_path).frames(np.arange(3)).numpy(), frames)


@pytest.mark.parametrize("section", [0, 1])
def test_without_its_header_or_references_a_shard_cannot_be_read(section: int, tmp_path: Path) -> None:
    path = tmp_path / "Pong-00000.frames"
    write(path, 7)
    content = bytearray(path.read_bytes())
    content[[part.at for part in sections(memoryview(bytes(content)))][section]] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="the beginning of .*Pong-00000.frames is damaged or missing"):
        read_shard(path)


def test_a_shard_of_a_newer_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gen_ssl.frames.shard_layout.VERSION", 2)
    write(tmp_path / "Pong-00000.frames", 7)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="a shard of version 2 cannot be read, this Cartridge reads version 1"):
        read_shard(tmp_path / "Pong-00000.frames")


def test_a_failed_write_leaves_the_shard_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "Pong-00000.frames"
    write(path, 7)
    before = path.read_bytes()

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write(path, 11)
    assert path.read_bytes() == before


def test_what_does_not_change_between_frames_costs_almost_nothing(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    background = generator.integers(0, 256, (1, 84, 84), dtype=np.uint8)
    frames = np.repeat(background[None], 211, axis=0)
    frames[np.arange(211), 0, np.arange(211) % 84, 17] = 255
    shard = ShardWriter(tmp_path / "Pong-00000.frames", game="Pong", num_actions=2, frame_shape=(1, 84, 84))
    nothing = np.zeros(211, dtype=np.bool_)
    shard.append(
        frames=frames,
        actions=np.zeros(211, dtype=np.int64),
        rewards=np.zeros(211, dtype=np.float32),
        terminated=nothing,
        truncated=nothing,
    )
    size = shard.finish().stat().st_size
    assert size < 7_056 * 1.2 + 211 * 60  # the background once, and some bytes a frame


def test_ram_is_restored_exactly_and_repeats_cost_nothing() -> None:
    generator = np.random.default_rng(0)
    for num_frames in (1, 2, 101):
        ram = generator.integers(0, 256, (num_frames, 128), dtype=np.uint8)
        np.testing.assert_array_equal(decompress_ram(compress_ram(ram), num_frames), ram)
    still = np.repeat(generator.integers(0, 256, (1, 128), dtype=np.uint8), 500, axis=0)
    assert len(compress_ram(still)) < 1_500


def test_steps_that_do_not_fit_the_shard_are_refused(tmp_path: Path) -> None:
    def append(shard: ShardWriter, *, shape: tuple[int, ...] = SHAPE, action: int = 0, ram: bool = False) -> None:
        shard.append(
            frames=np.zeros((3, *shape), dtype=np.uint8),
            actions=np.full(3, action),
            rewards=np.zeros(3, dtype=np.float32),
            terminated=np.zeros(3, dtype=np.bool_),
            truncated=np.zeros(3, dtype=np.bool_),
            ram=np.zeros((3, 128), dtype=np.uint8) if ram else None,
        )

    shard = ShardWriter(tmp_path / "Pong-00000.frames", game="Pong", num_actions=5, frame_shape=SHAPE)
    with pytest.raises(RuntimeError, match="no steps were appended to .*: a shard has at least one"):
        shard.finish()
    with pytest.raises(ValueError, match=r"frames must have shape \(N, 1, 11, 13\), got \(3, 1, 13, 11\)"):
        append(shard, shape=(1, 13, 11))
    with pytest.raises(ValueError, match=r"actions must lie in 0\.\.4, got 5\.\.5 in Pong"):
        append(shard, action=5)
    append(shard)
    with pytest.raises(ValueError, match="either all steps of a shard come with RAM or none"):
        append(shard, ram=True)
    with pytest.raises(ValueError, match="num_actions must be between 1 and 256, got 0"):
        ShardWriter(tmp_path / "a", game="Pong", num_actions=0, frame_shape=SHAPE)
