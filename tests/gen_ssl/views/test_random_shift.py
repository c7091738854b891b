import numpy as np
import pytest
import torch

from gen_ssl.views import RandomShift
from gen_ssl.views.random_shift import shift, shift_by_indexing

SHAPE = (3, 17, 13)  # channels, height, width


def random_frames(batch_size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch_size, *SHAPE), dtype=torch.uint8, generator=generator)


def all_offsets(largest):
    steps = torch.arange(-largest, largest + 1)
    return torch.cartesian_prod(steps, steps)


def slices_of_padded(frames, offsets, largest):
    """The definition: pad by repeating the borders, then cut out a window."""
    sides = ((0, 0), (largest, largest), (largest, largest))
    height, width = frames.shape[2:]
    views = [
        np.pad(stack, sides, mode="edge")[:, largest + y : largest + y + height, largest + x : largest + x + width]
        for stack, (y, x) in zip(frames.numpy(), offsets.tolist(), strict=True)
    ]
    return torch.from_numpy(np.stack(views))


@pytest.mark.parametrize("way", [shift, shift_by_indexing])
@pytest.mark.parametrize("largest", [0, 1, 5, 12])
def test_a_shift_is_a_slice_of_the_padded_frames_to_the_bit(way, largest):
    offsets = all_offsets(largest)
    frames = random_frames(len(offsets))
    assert torch.equal(way(frames, offsets), slices_of_padded(frames, offsets, largest))


def test_a_shift_of_frames_that_lie_in_memory_in_another_order_is_the_same():
    offsets = all_offsets(2)
    frames = random_frames(len(offsets))
    transposed = frames.mT.contiguous().mT
    assert torch.equal(shift(transposed, offsets), shift(frames, offsets))


def test_all_frames_of_a_stack_move_alike_and_the_given_ones_stay():
    frames = random_frames(29)[:, :1].expand(-1, 3, -1, -1)
    before = frames.clone()
    views = RandomShift(4)(frames, torch.Generator().manual_seed(1))
    assert torch.equal(views[:, 0], views[:, 1])
    assert torch.equal(views[:, 0], views[:, 2])
    assert torch.equal(frames, before)


def offset_of(view):
    """Where a picture that numbers its pixels went; from its middle, which no border reaches."""
    y, x = divmod(int(view[0, 8, 6]) + 256 * int(view[1, 8, 6]), SHAPE[2])
    return y - 8, x - 6


def test_every_shift_is_drawn_equally_often_and_two_calls_differ():
    numbers = torch.arange(SHAPE[1] * SHAPE[2]).view(SHAPE[1:])
    numbered = torch.stack([numbers % 256, numbers // 256, numbers * 0]).to(torch.uint8)
    generator = torch.Generator().manual_seed(2)
    views = RandomShift(1)(numbered.expand(9_000, -1, -1, -1), generator)
    drawn = [offset_of(view) for view in views]
    counts = [drawn.count(offset) for offset in {(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)}]
    assert sum(counts) == 9_000
    assert min(counts) > 880  # 1,000 are expected, with a standard deviation of 30
    assert not torch.equal(views, RandomShift(1)(numbered.expand(9_000, -1, -1, -1), generator))


def test_the_same_generator_gives_the_same_views():
    frames = random_frames(7)
    views = [RandomShift(3)(frames, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*views)


def test_with_a_probability_the_other_stacks_stay_where_they_are():
    frames = random_frames(2_000)
    views = RandomShift(5, probability=0.1)(frames, torch.Generator().manual_seed(4))
    moved = (views != frames).flatten(1).any(dim=1).float().mean()
    assert 0.08 < moved < 0.12


def test_impossible_shifts_are_refused():
    with pytest.raises(ValueError, match="max_shift must be at least 0, got -1"):
        RandomShift(-1)
    with pytest.raises(ValueError, match="probability must lie between 0 and 1, got 1.5"):
        RandomShift(2, probability=1.5)
    with pytest.raises(ValueError, match="frames of 17x13 pixels can be shifted by fewer pixels than that, got 13"):
        shift(random_frames(1), torch.tensor([[0, 13]]))


@pytest.mark.gpu
def test_a_shift_on_a_gpu_is_the_same_to_the_bit():
    offsets = all_offsets(5)
    frames = random_frames(len(offsets))
    assert torch.equal(shift(frames.cuda(), offsets.cuda()).cpu(), shift(frames, offsets))
