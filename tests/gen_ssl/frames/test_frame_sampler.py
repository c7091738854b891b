"""Batches for pretraining."""

import numpy as np
import pytest
import torch

from gen_ssl.frames import FrameSampler, FrameStore, FrameStoreWriter, split_episodes

NUM_EPISODES, LENGTH = 29, 11


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    """Returns a store of two games in which the pixels of frame t of episode e are e and t."""
    folder = tmp_path_factory.mktemp("frames")
    episode, time = np.divmod(np.arange(NUM_EPISODES * LENGTH), LENGTH)
    with FrameStoreWriter(folder, frame_shape=(1, 1, 2)) as writer:
        for game, name in enumerate(("Boxing", "Pong")):
            writer.append(
                game=name,
                num_actions=LENGTH,
                frames=np.stack([episode + 100 * game, time], axis=-1).astype(np.uint8)[:, None, None],
                actions=time,
                rewards=(100 * game + episode).astype(np.float32),
                terminated=time == LENGTH - 1,
                truncated=time < 0,
            )
    return FrameStore.open(folder)


def test_a_batch_shows_each_position_at_every_offset_within_its_episode(store: FrameStore) -> None:
    sampler = FrameSampler(store, time_offsets=(0, 3), stack=2, batch_size=53, seed=1)
    batch = sampler.batch(0)
    assert batch.stacks.shape == (2, 53, 2, 1, 2)
    episode, time = batch.stacks[..., 0, 0].long(), batch.stacks[..., 0, 1].long()  # (k, b, stack)
    assert (episode == episode[0, :, :1]).all()
    assert torch.equal(time[0, :, 1], batch.actions)
    assert torch.equal(time[1, :, 1], batch.actions + 3)
    assert torch.equal(time[:, :, 0], (time[:, :, 1] - 1).clamp(min=0))
    assert torch.equal(batch.rewards, episode[0, :, 1].float())
    assert torch.equal(batch.games, (episode[0, :, 1] >= 100).long())


def test_every_position_of_the_part_is_drawn_and_no_other(store: FrameStore) -> None:
    split = split_episodes(store, seed=0)
    drawn = set()
    sampler = FrameSampler(store, split="validation", batch_size=41, stack=1, seed=1)
    for index in range(50):
        pixels = sampler.batch(index).stacks[0, :, 0, 0].tolist()
        assert len({tuple(pair) for pair in pixels}) == 41
        drawn |= {(episode % 100 + (NUM_EPISODES if episode >= 100 else 0), time) for episode, time in pixels}
    assert drawn == {(episode, time) for episode in split.validation.tolist() for time in range(LENGTH)}
    assert sampler.num_positions == len(drawn)


def test_batch_i_is_a_function_of_the_seed_and_i(store: FrameStore) -> None:
    sampler = FrameSampler(store, batch_size=13, seed=1)
    batches = [sampler.batch(index) for index in range(3)]
    again = FrameSampler(store, batch_size=13, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(again.batch(2), batches[2], strict=True))
    assert not torch.equal(batches[0].stacks, batches[1].stacks)
    assert not torch.equal(FrameSampler(store, batch_size=13, seed=2).batch(0).stacks, batches[0].stacks)


def test_ranks_share_the_rows_of_one_batch_in_order(store: FrameStore) -> None:
    whole = FrameSampler(store, batch_size=15, seed=1, time_offsets=(0, 1)).batch(7)
    parts = [
        FrameSampler(store, batch_size=15, seed=1, time_offsets=(0, 1), rank=rank, num_ranks=3).batch(7)
        for rank in range(3)
    ]
    assert torch.equal(torch.cat([part.stacks for part in parts], dim=1), whole.stacks)
    assert torch.equal(torch.cat([part.actions for part in parts]), whole.actions)


def test_a_batch_moves_to_a_device_as_a_whole(store: FrameStore) -> None:
    batch = FrameSampler(store, batch_size=3, seed=1).batch(0).to(torch.device("meta"))
    assert {part.device.type for part in batch} == {"meta"}


def test_batches_that_cannot_be_are_refused(store: FrameStore) -> None:
    with pytest.raises(ValueError, match="a batch of 1000 different positions needs as many frames, the train part"):
        FrameSampler(store, batch_size=1000, seed=0)
    with pytest.raises(ValueError, match="batch_size must be a positive multiple of num_ranks, got 15 and 2"):
        FrameSampler(store, batch_size=15, seed=0, num_ranks=2)
    with pytest.raises(ValueError, match=r"rank must lie in 0\.\.2, got 3"):
        FrameSampler(store, batch_size=15, seed=0, rank=3, num_ranks=3)
