from itertools import islice

import numpy as np
import pytest
import torch.nn.functional as F

from seqmodels.scoring import score
from seqmodels.tasks import MQAR, NOT_SCORED, MQARSize


def one_size(**options):
    return MQAR(vocab_size=31, sizes=(MQARSize(length=22, num_pairs=5),), **options)


def rows_of(task, number=300):
    batch = next(task.batches("train", batch_size=number, seed=0))
    return zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True)


def test_every_key_is_asked_for_once_and_the_target_is_its_value():
    for inputs, targets in rows_of(one_size()):
        keys, values = inputs[0:10:2], inputs[1:10:2]
        assert len(set(keys)) == len(set(values)) == 5
        assert all(1 <= key <= 14 for key in keys)
        assert all(15 <= value <= 30 for value in values)
        value_of = dict(zip(keys, values, strict=True))
        asked = {i: token for i, token in enumerate(inputs[10:], 10) if token != 0}
        assert sorted(asked.values()) == sorted(keys)
        assert all(place % 2 == 0 for place in asked)
        assert targets == [value_of[asked[i]] if i in asked else NOT_SCORED for i in range(22)]


def test_fillers_take_the_place_of_blanks_and_change_nothing_that_is_scored():
    blank, filled = rows_of(one_size()), rows_of(one_size(random_fillers=True))
    fillers = set()
    for (inputs, targets), (filled_inputs, filled_targets) in zip(blank, filled, strict=True):
        assert targets == filled_targets
        assert all(new == old for old, new in zip(inputs, filled_inputs, strict=True) if old != 0)
        fillers |= {new for old, new in zip(inputs, filled_inputs, strict=True) if old == 0}
    assert fillers == set(range(31))


def test_queries_come_early_as_the_power_law_says():
    # One pair and ten places: place k with probability proportional to (k + 1)^(0.01 - 1).
    task = MQAR(vocab_size=31, sizes=(MQARSize(length=22, num_pairs=1),))
    places = np.concatenate(
        [
            np.nonzero(batch.targets.numpy() != NOT_SCORED)[1]
            for batch in islice(task.batches("train", batch_size=1_000, seed=0), 20)
        ]
    )
    odds = np.arange(1, 11) ** (0.01 - 1)
    expected = odds / odds.sum()
    share = np.bincount((places - 2) // 2, minlength=10) / len(places)
    assert np.all(np.abs(share - expected) < 5 * np.sqrt(expected / len(places)))


def test_training_batches_have_one_size_each_and_held_out_sets_every_size_by_its_weight():
    sizes = (MQARSize(length=22, num_pairs=5, weight=3), MQARSize(length=12, num_pairs=3))
    task = MQAR(vocab_size=31, sizes=sizes, num_validation=128)
    lengths = [set(batch.lengths.tolist()) for batch in islice(task.batches("train", batch_size=2, seed=0), 400)]
    assert all(len(of_batch) == 1 for of_batch in lengths)
    assert np.mean([of_batch == {22} for of_batch in lengths]) == pytest.approx(0.75, abs=0.11)
    (held_out,) = task.batches("validation", batch_size=128, seed=0)
    assert np.bincount(held_out.lengths.numpy())[[12, 22]].tolist() == [32, 96]


def test_a_longer_row_keeps_the_most_pairs_that_fit():
    sizes = (MQARSize(length=64, num_pairs=4), MQARSize(length=128, num_pairs=8))
    task = MQAR(vocab_size=64, sizes=sizes)
    assert task.at_length(256).sizes == (MQARSize(length=256, num_pairs=8),)
    assert task.at_length(30).sizes == (MQARSize(length=30, num_pairs=4),)
    assert task.at_size(48, 12).sizes == (MQARSize(length=48, num_pairs=12),)


def test_always_answering_the_first_value_shown_gives_the_chance_level():
    sizes = (MQARSize(length=22, num_pairs=5, weight=3), MQARSize(length=12, num_pairs=2))
    task = MQAR(vocab_size=31, sizes=sizes, num_validation=128)
    (batch,) = task.batches("validation", batch_size=128, seed=0)
    answers = F.one_hot(batch.inputs[:, 1:2].expand_as(batch.targets), task.vocab_size).float()
    scores = score(answers, batch.targets, task.spec.output)
    assert float(scores.correct / scores.answers) == pytest.approx(task.spec.chance)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MQARSize(length=18, num_pairs=5), "at least 4 \\* num_pairs, got length 18 and 5 pairs"),
        (lambda: MQARSize(length=21, num_pairs=5), "length must be even .*, got length 21"),
        (lambda: MQAR(vocab_size=11, sizes=(MQARSize(length=22, num_pairs=5),)), "at least 12 for 5 pairs, got 11"),
        (lambda: MQAR(vocab_size=11, sizes=()), "at least one MQARSize, got none"),
    ],
)
def test_sizes_that_cannot_be_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
