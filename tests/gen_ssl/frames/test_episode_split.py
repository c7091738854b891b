"""Splits by episode."""

from pathlib import Path

import numpy as np
import pytest

from gen_ssl.frames import FrameStore, FrameStoreWriter, split_episodes


def store_of(folder: Path, **lengths: list[int]) -> FrameStore:
    """Returns a store of games with episodes of these lengths."""
    with FrameStoreWriter(folder, frame_shape=(1, 3, 5)) as writer:
        for game, of_game in lengths.items():
            ends = np.zeros(sum(of_game), dtype=np.bool_)
            ends[np.cumsum(of_game) - 1] = True
            writer.append(
                game=game,
                num_actions=2,
                frames=np.zeros((len(ends), 1, 3, 5), dtype=np.uint8),
                actions=np.zeros(len(ends), dtype=np.int64),
                rewards=np.zeros(len(ends), dtype=np.float32),
                terminated=ends,
                truncated=ends & False,
            )
    return FrameStore.open(folder)


def test_every_episode_is_in_one_part_and_every_part_has_its_share_of_each_games_frames(tmp_path: Path) -> None:
    lengths = np.random.default_rng(0).integers(5, 31, 211).tolist()
    store = store_of(tmp_path, Pong=lengths, Boxing=lengths[:101])
    split = split_episodes(store, seed=3)
    parts = [split.train, split.validation, split.test]
    assert sorted(np.concatenate(parts).tolist()) == list(range(312))
    sizes = store.episodes.ends - store.episodes.starts
    for game in (0, 1):
        of_game = [sizes[part][store.episodes.games[part] == game].sum() for part in parts]
        np.testing.assert_allclose(np.array(of_game) / sum(of_game), [0.7, 0.1, 0.2], atol=0.02)


def test_a_games_split_is_the_same_alone_and_beside_other_games(tmp_path: Path) -> None:
    lengths = np.random.default_rng(0).integers(5, 31, 53).tolist()
    alone = split_episodes(store_of(tmp_path / "alone", Pong=lengths), seed=3)
    store = store_of(tmp_path / "both", Boxing=[7] * 11, Pong=lengths)
    both = split_episodes(store, seed=3)
    for ours, beside in zip(
        (alone.train, alone.validation, alone.test), (both.train, both.validation, both.test), strict=True
    ):
        of_pong = beside[store.episodes.games[beside] == store.games.index("Pong")]
        assert (of_pong - 11).tolist() == ours.tolist()


def test_the_same_seed_splits_alike_and_another_differently(tmp_path: Path) -> None:
    store = store_of(tmp_path, Pong=[7] * 53)
    assert split_episodes(store, seed=1).train.tolist() == split_episodes(store, seed=1).train.tolist()
    assert split_episodes(store, seed=1).train.tolist() != split_episodes(store, seed=2).train.tolist()


@pytest.mark.parametrize("lengths", [[100, 1, 1], [1, 1, 100], [5, 5, 5], [1, 100, 1, 1]])
def test_no_part_is_empty_however_unequal_the_episodes(tmp_path: Path, lengths: list[int]) -> None:
    split = split_episodes(store_of(tmp_path, Pong=lengths), seed=0)
    assert min(len(split.train), len(split.validation), len(split.test)) >= 1


def test_parts_are_found_by_name(tmp_path: Path) -> None:
    split = split_episodes(store_of(tmp_path, Pong=[5] * 11), seed=0, fractions=(0.5, 0.2, 0.3))
    assert [len(split.episodes(name)) for name in ("train", "validation", "test")] == [
        len(split.train),
        len(split.validation),
        len(split.test),
    ]
    assert abs(len(split.train) - 5.5) <= 1


def test_too_few_episodes_and_wrong_fractions_are_refused(tmp_path: Path) -> None:
    store = store_of(tmp_path, Pong=[5, 5, 5], Boxing=[3, 3])
    with pytest.raises(ValueError, match="at least 3 episodes of each game, got 2 of Boxing: collect more frames"):
        split_episodes(store, seed=0)
    with pytest.raises(ValueError, match=r"fractions must be positive and add up to 1, got \(0.5, 0.2, 0.2\)"):
        split_episodes(store, seed=0, fractions=(0.5, 0.2, 0.2))
