from itertools import islice

import numpy as np
import pytest
import torch

from seqmodels.tasks import Batch
from seqmodels.tasks.stored_batches import consecutive_splits, shuffled_split, stored_batches


def gather(indices):
    numbers = torch.from_numpy(indices)
    return Batch(inputs=numbers[:, None], lengths=torch.ones_like(numbers), targets=numbers)


def numbers_of(split, *, number=10, **options):
    indices = consecutive_splits(train=7, validation=5, test=3)
    return [batch.targets.tolist() for batch in islice(stored_batches(gather, indices, split, **options), number)]


def test_an_epoch_is_an_order_of_all_training_examples_and_a_batch_may_span_two():
    numbers = [n for batch in numbers_of("train", batch_size=5, seed=0, number=7) for n in batch]
    epochs = [numbers[start : start + 7] for start in range(0, 35, 7)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4, 5, 6] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5


def test_a_batch_may_be_larger_than_the_training_set():
    (batch,) = numbers_of("train", batch_size=17, seed=0, number=1)
    assert sorted(batch[:7]) == sorted(batch[7:14]) == [0, 1, 2, 3, 4, 5, 6]
    assert len(batch) == 17


def test_resuming_at_a_batch_gives_what_would_have_come():
    assert (
        numbers_of("train", batch_size=5, seed=3, first_batch=4)
        == numbers_of("train", batch_size=5, seed=3, number=14)[4:]
    )


def test_held_out_sets_keep_their_order_and_their_last_part():
    assert numbers_of("validation", batch_size=2, seed=1) == [[7, 8], [9, 10], [11]]
    assert numbers_of("test", batch_size=2, seed=1, first_batch=1) == [[14]]


def test_what_is_held_out_is_fixed_and_the_rest_is_kept():
    kept, held_out = shuffled_split(23, held_out=5)
    assert len(held_out) == 5
    assert sorted([*kept, *held_out]) == list(range(23))
    assert np.array_equal(shuffled_split(23, held_out=5)[1], held_out)


@pytest.mark.parametrize("held_out", [0, 23])
def test_holding_out_nothing_or_everything_is_refused(held_out):
    with pytest.raises(ValueError, match=f"cannot hold out {held_out} of 23 examples"):
        shuffled_split(23, held_out=held_out)
