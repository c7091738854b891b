"""The frame store as a whole: what is written is read again, from disk, also when a shard is damaged."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gen_ssl.frames import FrameStore, FrameStoreWriter

SHAPE = (2, 5, 7)
LENGTHS = (11, 1, 3, 17, 5)  # of the episodes that `play` plays


def play(lengths: tuple[int, ...] = LENGTHS, *, seed: int = 0, ram: bool = True) -> dict[str, Any]:
    """Returns episodes of these lengths, every second of them truncated, as `append` takes them."""
    generator = np.random.default_rng(seed)
    n = sum(lengths)
    ends = np.cumsum(lengths) - 1
    terminated, truncated = np.zeros((2, n), dtype=np.bool_)
    terminated[ends[::2]] = True
    truncated[ends[1::2]] = True
    steps = {
        "frames": generator.integers(0, 256, (n, *SHAPE), dtype=np.uint8),
        "actions": generator.integers(0, 3, n),
        "rewards": generator.standard_normal(n, dtype=np.float32),
        "terminated": terminated,
        "truncated": truncated,
    }
    return steps | ({"ram": generator.integers(0, 256, (n, 128), dtype=np.uint8)} if ram else {})


def write(folder: Path, **games: dict[str, Any]) -> Path:
    with FrameStoreWriter(folder, frame_shape=SHAPE, shard_frames=13) as writer:
        for game, steps in games.items():
            writer.append(game=game, num_actions=3, **steps)
    return folder


def test_what_was_written_is_read_again_game_by_game(tmp_path: Path) -> None:
    plays = {"Pong": play(seed=1), "Boxing": play(seed=2)}
    store = FrameStore.open(write(tmp_path / "store", **plays))
    assert store.games == ("Boxing", "Pong")
    assert (len(store), store.frame_shape, store.num_actions, store.has_ram) == (2 * 37, SHAPE, 3, True)
    for game, name in enumerate(store.games):
        here = np.flatnonzero(store.game_ids == game)
        steps = plays[name]
        np.testing.assert_array_equal(store.frames(here).numpy(), steps["frames"])
        np.testing.assert_array_equal(store.ram(here), steps["ram"])
        for column in ("actions", "rewards", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(store, column)[here], steps[column])


def test_frames_and_ram_come_in_the_order_asked_for_with_repeats(tmp_path: Path) -> None:
    steps = play()
    store = FrameStore.open(write(tmp_path, Pong=steps))
    indices = np.random.default_rng(3).integers(0, 37, 101)
    np.testing.assert_array_equal(store.frames(indices).numpy(), steps["frames"][indices])
    np.testing.assert_array_equal(store.ram(indices), steps["ram"][indices])
    for read in (store.frames, store.stacks, store.ram):
        with pytest.raises(IndexError, match=r"indices must lie in 0\.\.36, got -1\.\.5"):
            read(np.array([5, -1]))
        with pytest.raises(IndexError, match=r"indices must lie in 0\.\.36, got 5\.\.37"):
            read(np.array([5, 37]))


def test_preloaded_frames_are_the_same(tmp_path: Path) -> None:
    folder = write(tmp_path, Pong=play(), Boxing=play(seed=1))
    store, preloaded = FrameStore.open(folder), FrameStore.open(folder, preload=True)
    for path in folder.iterdir():
        path.unlink()  # nothing is read any more
    indices = np.random.default_rng(3).integers(0, 74, 101)
    frames = preloaded.frames(indices)
    played = np.concatenate([play(seed=1)["frames"], play()["frames"]])  # Boxing comes first
    np.testing.assert_array_equal(frames.numpy(), played[indices])
    frames.zero_()
    assert preloaded.frames(indices).any()
    with pytest.raises(FileNotFoundError):
        store.frames(indices)


def test_episodes_are_those_that_were_played(tmp_path: Path) -> None:
    store = FrameStore.open(write(tmp_path, Pong=play(), Boxing=play((2, 7))))
    assert (store.episodes.ends - store.episodes.starts).tolist() == [2, 7, *LENGTHS]
    assert store.episodes.games.tolist() == [0, 0, 1, 1, 1, 1, 1]
    assert store.episode_ids.tolist() == np.repeat(np.arange(7), [2, 7, *LENGTHS]).tolist()


def test_pieces_of_any_length_make_the_same_store_as_one(tmp_path: Path) -> None:
    steps = play()
    with FrameStoreWriter(tmp_path / "pieces", frame_shape=SHAPE, shard_frames=13) as writer:
        for start in range(0, 37, 5):
            writer.append(game="Pong", num_actions=3, **{name: part[start : start + 5] for name, part in steps.items()})
    write(tmp_path / "whole", Pong=steps)
    files = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "pieces").iterdir())
    assert len(files) > 1
    for name in files:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "pieces" / name).read_bytes()


def test_shards_hold_whole_episodes_and_one_too_long_is_cut(tmp_path: Path) -> None:
    store = FrameStore.open(write(tmp_path, Pong=play((7, 11, 2, 29))))
    # 18 frames end with the first episode after 13; 2 more and 24 of the last episode are twice 13.
    assert [path.name for path in sorted(tmp_path.iterdir())] == [f"Pong-0000{number}.frames" for number in range(3)]
    assert (store.episodes.ends - store.episodes.starts).tolist() == [7, 11, 2, 24, 5]
    cut = store.episodes.ends[3] - 1
    assert store.truncated[cut]
    assert not store.terminated[cut]


def test_an_episode_that_still_runs_when_the_writer_closes_is_truncated(tmp_path: Path) -> None:
    steps = play((5,))
    steps["terminated"][:] = False
    store = FrameStore.open(write(tmp_path, Pong=steps))
    assert store.truncated.tolist() == [False] * 4 + [True]


def test_a_writer_adds_to_a_store_that_is_there(tmp_path: Path) -> None:
    write(tmp_path, Pong=play((5,), seed=1))
    write(tmp_path, Pong=play((7,), seed=2))
    store = FrameStore.open(tmp_path)
    frames = np.concatenate([play((5,), seed=1)["frames"], play((7,), seed=2)["frames"]])
    np.testing.assert_array_equal(store.frames(np.arange(12)).numpy(), frames)


def test_stacks_repeat_the_first_frame_and_never_reach_into_another_episode(tmp_path: Path) -> None:
    steps = play()
    store = FrameStore.open(write(tmp_path, Pong=steps))
    everywhere = np.arange(37)
    stacks = store.stacks(everywhere, stack=3).numpy().reshape(37, 3, *SHAPE)
    for index in everywhere:
        start = store.episodes.starts[store.episode_ids[index]]
        expected = [steps["frames"][max(index - back, start)] for back in (2, 1, 0)]
        np.testing.assert_array_equal(stacks[index], np.stack(expected))


def test_offsets_move_the_whole_stack_within_the_episode(tmp_path: Path) -> None:
    store = FrameStore.open(write(tmp_path, Pong=play()))
    valid = store.valid_indices((0, 3))
    # Episodes of 11, 1, 3, 17 and 5 frames, less the last three of each.
    assert valid.tolist() == [*range(8), *range(15, 29), *range(32, 34)]
    both = store.windows(valid, time_offsets=(0, 3), stack=2)
    np.testing.assert_array_equal(both[0], store.stacks(valid, stack=2))
    np.testing.assert_array_equal(both[1], store.stacks(valid + 3, stack=2))
    np.testing.assert_array_equal(store.stacks(valid, stack=2, offset=3), both[1])
    with pytest.raises(ValueError, match=r"the offsets \(0, 3\) lead out of the episode of some of these frames"):
        store.windows(np.array([7, 8]), time_offsets=(0, 3))
    with pytest.raises(ValueError, match="stack must be at least 1, got 0"):
        store.stacks(valid, stack=0)


def test_valid_indices_are_of_the_episodes_asked_for(tmp_path: Path) -> None:
    store = FrameStore.open(write(tmp_path, Pong=play()))
    assert store.valid_indices((-1,), episodes=np.array([2, 4])).tolist() == [13, 14, 33, 34, 35, 36]


def test_a_store_without_ram_says_so(tmp_path: Path) -> None:
    store = FrameStore.open(write(tmp_path, Pong=play(), Boxing=play(ram=False)))
    assert not store.has_ram
    with pytest.raises(ValueError, match="the frames of Boxing were stored without the console's memory"):
        store.ram(np.arange(3))


def test_no_store_and_an_empty_one_are_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no frame store at .*nowhere"):
        FrameStore.open(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"the frame store .* is empty: it holds no file \*\.frames"):
        FrameStore.open(tmp_path)
    write(tmp_path)
    with pytest.raises(ValueError, match="is empty"):
        FrameStore.open(tmp_path)


def test_frames_of_two_shapes_are_refused(tmp_path: Path) -> None:
    write(tmp_path, Pong=play((5,)))
    steps = play((5,))
    steps["frames"] = steps["frames"][:, :1]
    with FrameStoreWriter(tmp_path, frame_shape=(1, 5, 7)) as writer:
        writer.append(game="Boxing", num_actions=3, **steps)
    with pytest.raises(ValueError, match=r"must have one shape, got \(1, 5, 7\) in Boxing.* and \(2, 5, 7\) in Pong"):
        FrameStore.open(tmp_path)


def test_what_is_whole_of_a_store_with_damaged_shards_is_read_with_one_warning(tmp_path: Path) -> None:
    plays = {"Boxing": play((13, 13, 11), seed=1), "Pong": play((13, 13), seed=2)}
    write(tmp_path, **plays)
    (tmp_path / "Boxing-00001.frames").write_bytes(b"")
    broken = tmp_path / "Pong-00000.frames"
    content = bytearray(broken.read_bytes())
    content[-1] ^= 1
    broken.write_bytes(content)
    with pytest.warns(
        RuntimeWarning, match=r"is damaged and is read without what is lost .*: 37 frames are whole"
    ) as caught:
        store = FrameStore.open(tmp_path)
    assert len(caught) == 1
    kept = np.concatenate(
        [plays["Boxing"]["frames"][:13], plays["Boxing"]["frames"][26:], plays["Pong"]["frames"][13:]]
    )
    np.testing.assert_array_equal(store.frames(np.arange(37)).numpy(), kept)
    assert (store.episodes.ends - store.episodes.starts).tolist() == [13, 11, 13]


def test_a_store_of_which_nothing_is_whole_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Pong-00000.frames").write_bytes(b"something else")
    with pytest.raises(
        ValueError, match=r"nothing in the frame store .* can be read: .*Pong-00000.frames is not a shard"
    ):
        FrameStore.open(tmp_path)


def test_a_shard_that_was_never_finished_is_not_looked_at(tmp_path: Path) -> None:
    write(tmp_path, Pong=play((5,)))
    (tmp_path / "Pong-00001.frames.writing").write_bytes(b"cartridge-frames and then the power went")
    assert len(FrameStore.open(tmp_path)) == 5


def test_more_shards_than_may_be_open_can_be_read(tmp_path: Path) -> None:
    steps = play((3,) * 300)
    with FrameStoreWriter(tmp_path, frame_shape=SHAPE, shard_frames=3) as writer:
        writer.append(game="Pong", num_actions=3, **steps)
    store = FrameStore.open(tmp_path)
    everywhere = np.arange(900)
    for _ in range(2):
        np.testing.assert_array_equal(store.frames(everywhere).numpy(), steps["frames"])
    assert len(list(tmp_path.iterdir())) == 300
