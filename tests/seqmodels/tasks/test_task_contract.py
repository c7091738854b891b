"""Every task keeps the contract of Task.batches."""

from itertools import islice

import numpy as np
import pytest
import torch

from seqmodels.tasks import (
    MQAR,
    NOT_SCORED,
    PATHFINDER_16,
    Adding,
    Copying,
    InductionHeads,
    ListOps,
    ListOpsShape,
    MQARSize,
    Pathfinder,
    SelectiveCopying,
    Task,
    lra_image,
    lra_retrieval,
    lra_text,
    sequential_cifar,
    sequential_digits,
    sequential_mnist,
)
from seqmodels.tasks.atari import AtariPlay, StoredPlay

HELD_OUT = {"num_validation": 71, "num_test": 5}

GENERATED = {
    "selective-copying": lambda _: SelectiveCopying(num_slots=13, num_tokens=3, vocab_size=7, **HELD_OUT),
    "copying": lambda _: Copying(num_tokens=3, lag=5, vocab_size=7, **HELD_OUT),
    "induction-heads": lambda _: InductionHeads(length=11, shorter=(5, 7), vocab_size=7, **HELD_OUT),
    "mqar": lambda _: MQAR(
        vocab_size=31, sizes=(MQARSize(length=22, num_pairs=5, weight=2), MQARSize(length=14, num_pairs=3)), **HELD_OUT
    ),
    "adding": lambda _: Adding(length=11, shorter=(5, 7), **HELD_OUT),
}


def stored_play(number):
    generator = np.random.default_rng(number)
    return StoredPlay(
        features=generator.uniform(-1, 1, size=(number, 2)).astype(np.float32),
        actions=generator.integers(0, 3, size=number),
        rewards=generator.integers(-1, 2, size=number).astype(np.float32),
        episodes=np.arange(number) // 13,
    )


PLAY = {"train": stored_play(131), "validation": stored_play(73), "test": stored_play(29)}

STORED = {
    "atari": lambda _: AtariPlay(PLAY, num_actions=3, length=5, question="action"),
    "listops": lambda _: ListOps(
        ListOpsShape(max_depth=3, max_args=3, min_length=3, max_length=12), num_train=53, **HELD_OUT
    ),
    "pathfinder": lambda _: Pathfinder(PATHFINDER_16, num_train=17, num_validation=11, num_test=5),
    "text": lambda data: lra_text(data, max_length=37),
    "retrieval": lambda data: lra_retrieval(data, max_length=19),
    "image": lra_image,
    "sequential-mnist": sequential_mnist,
    "sequential-cifar": sequential_cifar,
    "sequential-digits": lambda _: sequential_digits(),
}
ALL = GENERATED | STORED


@pytest.fixture(params=sorted(ALL), scope="module")
def task(request, published):
    return ALL[request.param](published)


@pytest.fixture(params=sorted(STORED), scope="module")
def stored_task(request, published):
    return STORED[request.param](published)


def some_batches(task, split="train", *, batch_size=7, seed=0, first_batch=0, number=5):
    return list(islice(task.batches(split, batch_size=batch_size, seed=seed, first_batch=first_batch), number))


def assert_same(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        for part, other_part in zip(batch, other, strict=True):
            assert torch.equal(part, other_part)


def examples_of(task, batch):
    """Returns every example of a batch as bytes: its rows without padding, and its scored targets."""
    rows = task.spec.sequences_per_example
    found = []
    for i, target in enumerate(batch.targets):
        of_example = range(i * rows, (i + 1) * rows)
        shown = tuple(batch.inputs[row, : batch.lengths[row]].numpy().tobytes() for row in of_example)
        found.append((shown, target[target != NOT_SCORED].numpy().tobytes()))
    return found


def examples(task, split, batch_size=7, seed=0):
    """Returns every example of a split that ends."""
    batches = task.batches(split, batch_size=batch_size, seed=seed)
    return [example for batch in batches for example in examples_of(task, batch)]


def test_a_task_is_named_as_it_is_listed(task, request):
    assert task.spec.name in request.node.callspec.id
    assert isinstance(task, Task)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_batches_have_the_form_that_the_specification_states(task, split):
    spec = task.spec
    for batch in some_batches(task, split):
        rows, length = batch.inputs.shape[:2]
        assert len(batch.targets) * spec.sequences_per_example == rows
        assert batch.lengths.dtype == torch.int64
        assert batch.lengths.shape == (rows,)
        assert batch.lengths.min() >= 1
        assert batch.lengths.max() == length <= spec.max_length
        padding = torch.arange(length) >= batch.lengths[:, None]
        assert (batch.inputs[padding] == 0).all()
        if spec.input == "tokens":
            assert batch.inputs.dtype == torch.int64
            assert batch.inputs.ndim == 2
            assert 0 <= batch.inputs.min() <= batch.inputs.max() < spec.num_inputs
        else:
            assert batch.inputs.dtype == torch.float32
            assert batch.inputs.shape[2:] == (spec.num_inputs,)
            assert batch.inputs.abs().max() <= 1
        if spec.output == "regression":
            assert batch.targets.dtype == torch.float32
            assert batch.targets.shape == (rows, spec.num_outputs)
        else:
            assert batch.targets.dtype == torch.int64
            scored = batch.targets[batch.targets != NOT_SCORED]
            assert 0 <= scored.min() <= scored.max() < spec.num_outputs
        if spec.output == "per_position":
            assert batch.targets.shape == (rows, length)
            assert (batch.targets[padding] == NOT_SCORED).all()


def test_a_training_batch_is_the_same_whether_or_not_those_before_it_were_drawn(task):
    assert_same(some_batches(task, number=9)[6:], some_batches(task, first_batch=6, number=3))


def test_training_does_not_end_and_differs_between_seeds_and_batches(task):
    one, other = some_batches(task, number=30), some_batches(task, seed=1, number=30)
    assert not torch.equal(one[0].inputs, other[0].inputs)
    assert not torch.equal(one[0].inputs, one[29].inputs)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_held_out_examples_depend_neither_on_seed_nor_on_batch_size(task, split):
    expected = examples(task, split, batch_size=1)
    assert examples(task, split, batch_size=3, seed=5) == expected
    assert examples(task, split, batch_size=1_000) == expected


@pytest.mark.parametrize("split", ["validation", "test"])
def test_held_out_batches_can_be_resumed_and_keep_the_last_part(task, split):
    batches = some_batches(task, split, batch_size=2, number=1_000)
    assert_same(batches[1:], some_batches(task, split, batch_size=2, first_batch=1, number=1_000))
    assert sum(len(batch.targets) for batch in batches) == len(examples(task, split))


def test_the_two_held_out_sets_differ(task):
    assert examples(task, "validation") != examples(task, "test")


def test_an_epoch_shows_every_training_example_once_and_no_held_out_one(stored_task):
    seen = []
    for batch in stored_task.batches("train", batch_size=1, seed=3):
        (example,) = examples_of(stored_task, batch)
        if example == (seen or [None])[0] or len(seen) > 2_000:
            break
        seen.append(example)
    # The first example comes again somewhere in the second epoch: cut what was seen of that.
    epoch = seen[: len(set(seen))]
    assert len(set(epoch)) == len(epoch)
    held_out = {shown for shown, _ in [*examples(stored_task, "validation"), *examples(stored_task, "test")]}
    assert not held_out & {shown for shown, _ in epoch}
    (second,) = some_batches(stored_task, batch_size=len(epoch), seed=3, first_batch=1, number=1)
    assert examples_of(stored_task, second) != epoch
    assert sorted(examples_of(stored_task, second)) == sorted(epoch)


@pytest.mark.parametrize(("batch_size", "first_batch"), [(0, 0), (3, -1)])
def test_a_batch_of_nothing_or_before_the_first_is_refused(task, batch_size, first_batch):
    with pytest.raises(ValueError, match="batch_size must be at least 1 and first_batch at least 0, got"):
        next(task.batches("train", batch_size=batch_size, seed=0, first_batch=first_batch))
