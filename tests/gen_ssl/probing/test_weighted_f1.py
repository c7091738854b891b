import pytest
import torch
from sklearn.metrics import f1_score

from gen_ssl.probing import weighted_f1


def test_weighted_f1_by_hand():
    # Class 0: 2 hits, 3 targets, 2 predictions: F1 4/5. Class 4: 1 hit, 1 target, 2 predictions: F1 2/3.
    targets, predictions = torch.tensor([0, 0, 0, 4]), torch.tensor([0, 0, 4, 4])
    assert weighted_f1(targets, predictions) == pytest.approx((3 * 4 / 5 + 1 * 2 / 3) / 4)


def test_weighted_f1_is_that_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(7, (101,), generator=generator)
    predictions = torch.where(torch.rand(101, generator=generator) < 0.6, targets, (targets + 5) % 11)
    expected = f1_score(targets, predictions, average="weighted", zero_division=0)
    assert weighted_f1(targets, predictions) == pytest.approx(expected)
