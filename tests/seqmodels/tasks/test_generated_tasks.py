"""Selective copying, copying, induction heads and adding, checked against their definitions row by row."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch

from seqmodels.tasks import NOT_SCORED, Adding, Copying, InductionHeads, SelectiveCopying


def rows_of(task, number=500):
    batch = next(task.batches("train", batch_size=number, seed=0))
    return batch.inputs.tolist(), batch.targets.tolist()


def test_selective_copying_asks_for_the_tokens_in_the_order_in_which_they_stood():
    for inputs, targets in zip(*rows_of(SelectiveCopying(num_slots=13, num_tokens=3, vocab_size=7)), strict=True):
        shown, asked = inputs[:13], inputs[13:]
        tokens = [token for token in shown if token != 0]
        assert len(tokens) == 3
        assert set(tokens) <= {1, 2, 3, 4, 5}
        assert asked == [6, 6, 6]
        assert targets == [NOT_SCORED] * 13 + tokens


def test_tokens_to_copy_stand_in_every_slot_equally_often():
    inputs, _ = rows_of(SelectiveCopying(num_slots=13, num_tokens=3, vocab_size=7), number=20_000)
    share = (np.array(inputs)[:, :13] != 0).mean(axis=0)
    np.testing.assert_allclose(share, 3 / 13, atol=5 * np.sqrt(3 / 13 * 10 / 13 / 20_000))


def test_as_many_tokens_as_slots_leave_no_noise():
    inputs, targets = rows_of(SelectiveCopying(num_slots=3, num_tokens=3, vocab_size=7), number=5)
    assert [row[:3] for row in inputs] == [row[3:] for row in targets]


def test_copying_asks_for_the_first_tokens_after_the_lag():
    for inputs, targets in zip(*rows_of(Copying(num_tokens=3, lag=5, vocab_size=7)), strict=True):
        assert set(inputs[:3]) <= {1, 2, 3, 4, 5}
        assert inputs[3:] == [0] * 5 + [6] * 3
        assert targets == [NOT_SCORED] * 8 + inputs[:3]


def test_induction_heads_asks_for_what_followed_the_trigger():
    places = set()
    for inputs, targets in zip(*rows_of(InductionHeads(length=7, vocab_size=5)), strict=True):
        place = inputs.index(4)
        assert [i for i, token in enumerate(inputs) if token == 4] == [place, 6]
        assert targets == [NOT_SCORED] * 6 + [inputs[place + 1]]
        places.add(place)
    # The trigger's successor is never the trigger at the end.
    assert places == {0, 1, 2, 3, 4}


def test_adding_marks_one_number_in_each_half():
    batch = next(Adding(length=7).batches("train", batch_size=500, seed=0))
    first, second = set(), set()
    for row, target in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        marked = [i for i, (_, marker) in enumerate(row) if marker == 1]
        assert all(marker in (0, 1) for _, marker in row)
        assert len(marked) == 2
        assert target == pytest.approx([row[marked[0]][0] + row[marked[1]][0]], abs=1e-6)
        first.add(marked[0])
        second.add(marked[1])
    assert first == {0, 1, 2}
    assert second == {3, 4, 5, 6}


@pytest.mark.parametrize("kind", [Adding, InductionHeads])
def test_training_rows_have_every_length_evenly_and_held_out_rows_one(kind):
    task = kind(length=11, shorter=(5, 7), num_validation=3, num_test=3)
    lengths = Counter(batch.inputs.shape[1] for batch in islice(task.batches("train", batch_size=1, seed=0), 300))
    assert sorted(lengths) == [5, 7, 11]
    assert min(lengths.values()) > 75
    for split in ("validation", "test"):
        assert {batch.inputs.shape[1] for batch in task.batches(split, batch_size=1, seed=0)} == {11}
    assert next(task.at_length(5).batches("train", batch_size=1, seed=0)).inputs.shape[1] == 5


def test_always_answering_one_gives_adding_its_chance_level():
    task = Adding(length=7)
    targets = torch.cat([batch.targets for batch in islice(task.batches("train", batch_size=1_000, seed=0), 20)])
    assert (targets - 1).square().mean().item() == pytest.approx(task.spec.chance, rel=0.03)


@pytest.mark.parametrize(
    ("task", "length", "max_length"),
    [
        (SelectiveCopying(num_slots=13, num_tokens=3), 29, 32),
        (Copying(num_tokens=3, lag=5), 29, 29),
        (InductionHeads(length=7), 29, 29),
        (Adding(length=7), 29, 29),
    ],
    ids=["selective-copying", "copying", "induction-heads", "adding"],
)
def test_a_task_at_another_length_is_the_same_but_for_its_rows(task, length, max_length):
    longer = task.at_length(length)
    assert longer.spec.max_length == max_length
    batch = next(longer.batches("test", batch_size=3, seed=0))
    assert batch.inputs.shape[1] == max_length
    same = {"num_inputs", "num_outputs", "output", "metric", "chance", "name"}
    assert all(getattr(longer.spec, name) == getattr(task.spec, name) for name in same)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SelectiveCopying(num_slots=3, num_tokens=5), "num_tokens must be between 1 and num_slots=3, got 5"),
        (lambda: SelectiveCopying(num_slots=3, num_tokens=2, vocab_size=3), "vocab_size must be at least 4 .*, got 3"),
        (lambda: Copying(num_tokens=0, lag=5), "num_tokens must be at least 1 and lag at least 0, got 0 and 5"),
        (lambda: Copying(num_tokens=3, lag=5).at_length(5), "lag at least 0, got 3 and -1"),
        (lambda: Copying(num_tokens=3, lag=5, vocab_size=2), "vocab_size must be at least 4 .*, got 2"),
        (lambda: InductionHeads(length=2), "length must be at least 3 .*, got 2"),
        (lambda: InductionHeads(length=7, vocab_size=2), "vocab_size must be at least 3 .*, got 2"),
        (
            lambda: InductionHeads(length=7, shorter=(2,)),
            r"shorter must be within \[3, length\), got \(2,\) for length 7",
        ),
        (lambda: Adding(length=1), "length must be at least 2, got 1"),
        (lambda: Adding(length=7, shorter=(5, 7)), r"shorter must be within \[2, length\), got \(5, 7\) for length 7"),
    ],
)
def test_sizes_that_cannot_be_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
