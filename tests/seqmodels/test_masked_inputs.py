from itertools import islice

import numpy as np
import pytest
import torch

from seqmodels.masked_inputs import MaskedInputs, WithMaskToken, hide_tokens
from seqmodels.pixel_tokens import PixelTokens, as_tokens
from seqmodels.tasks.adding import Adding
from seqmodels.tasks.selective_copying import SelectiveCopying
from seqmodels.tasks.task import NOT_SCORED, Batch, TaskSpec

TOKENS = SelectiveCopying(num_slots=29, num_tokens=3, vocab_size=7, num_validation=13)


def test_of_the_chosen_tokens_eight_in_ten_are_masked_one_is_random_and_one_stays():
    row = np.full(100_000, 3)
    inputs, targets = hide_tokens(row, np.random.default_rng(0), vocab_size=11, share=0.15)
    chosen = targets != NOT_SCORED
    assert chosen.sum() == 15_000
    assert (targets[chosen] == 3).all()
    assert (inputs[~chosen] == 3).all()
    assert (inputs[chosen] == 11).mean() == pytest.approx(0.8, abs=0.02)
    assert (inputs[chosen] == 3).mean() == pytest.approx(0.1 + 0.1 / 11, abs=0.02)
    assert set(inputs[chosen]) == set(range(12))
    assert (row == 3).all()


def test_one_token_at_least_is_hidden():
    targets = hide_tokens(np.array([4]), np.random.default_rng(0), vocab_size=5, share=0.15).targets
    assert targets.tolist() == [4]


class Ragged:
    """Two rows of different lengths."""

    spec = TaskSpec(
        name="ragged",
        input="tokens",
        num_inputs=5,
        output="class",
        num_outputs=2,
        max_length=40,
        metric="accuracy",
        chance=0.5,
    )

    def batches(self, split, *, batch_size, seed, first_batch=0):
        inputs = torch.arange(80).view(2, 40) % 5
        inputs[0, 7:] = 0
        yield Batch(inputs, torch.tensor([7, 40]), torch.tensor([0, 1]))


def test_what_pads_a_row_is_never_hidden():
    batch = next(MaskedInputs(Ragged(), share=1.0).batches("train", batch_size=2, seed=0))
    assert (batch.targets[0, :7] != NOT_SCORED).all()
    assert (batch.targets[0, 7:] == NOT_SCORED).all()
    assert (batch.inputs[0, 7:] == 0).all()


def test_a_batch_depends_on_its_number_and_the_seed_alone():
    task = MaskedInputs(TOKENS)
    first = list(islice(task.batches("train", batch_size=3, seed=1), 4))
    later = next(task.batches("train", batch_size=3, seed=1, first_batch=3))
    for one, other in zip(first[3], later, strict=True):
        assert torch.equal(one, other)
    other_seed = next(task.batches("train", batch_size=3, seed=2, first_batch=3))
    assert not torch.equal(other_seed.targets, later.targets)


def test_held_out_rows_are_hidden_alike_for_every_seed_and_batch_size():
    task = MaskedInputs(TOKENS)
    whole = next(task.batches("validation", batch_size=13, seed=1))
    parts = list(task.batches("validation", batch_size=5, seed=2))
    assert torch.equal(torch.cat([part.inputs for part in parts]), whole.inputs)
    assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)


def test_the_mask_is_one_token_more_in_pretraining_and_after_it():
    assert MaskedInputs(TOKENS).spec.num_inputs == WithMaskToken(TOKENS).spec.num_inputs == 8
    assert MaskedInputs(TOKENS).spec.num_outputs == 7
    after = next(WithMaskToken(TOKENS).batches("train", batch_size=3, seed=0))
    assert torch.equal(after.inputs, next(TOKENS.batches("train", batch_size=3, seed=0)).inputs)


class Pixels:
    """All greys in one row, and what pads it."""

    spec = TaskSpec(
        name="pixels",
        input="values",
        num_inputs=1,
        output="class",
        num_outputs=2,
        max_length=259,
        metric="accuracy",
        chance=0.5,
    )

    def batches(self, split, *, batch_size, seed, first_batch=0):
        values = torch.cat([torch.arange(256) * (2 / 255) - 1, torch.zeros(3)])
        yield Batch(values.view(1, 259, 1), torch.tensor([256]), torch.tensor([1]))


def test_grey_pixels_become_their_own_tokens():
    batch = next(as_tokens(Pixels()).batches("train", batch_size=1, seed=0))
    assert batch.inputs.tolist() == [[*range(256), 0, 0, 0]]
    assert as_tokens(Pixels()).spec.num_inputs == 256
    assert as_tokens(TOKENS) is TOKENS


def test_tasks_that_cannot_be_masked_are_refused():
    with pytest.raises(ValueError, match="masked inputs are tokens, got a task of values: adding"):
        MaskedInputs(Adding(length=5))
    with pytest.raises(ValueError, match="pixels are one value a position, got 2 values"):
        PixelTokens(Adding(length=5))
    with pytest.raises(ValueError, match=r"share must be within \(0, 1\], got 0.0"):
        MaskedInputs(TOKENS, share=0.0)
