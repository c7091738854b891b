from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from seqmodels.carried_state import check_state_fits, detach, map_state, select_rows, tensors_of


class Pair(NamedTuple):
    numbers: Tensor
    counts: Tensor


def nested() -> tuple[Pair, tuple[Tensor]]:
    return Pair(torch.arange(6.0).view(3, 2), torch.tensor([5, 7, 9])), (torch.zeros(3, 1),)


def test_tensors_come_in_order():
    state = nested()
    assert [tensor is other for tensor, other in zip(tensors_of(state), [*state[0], *state[1]], strict=True)] == [
        True
    ] * 3


def test_a_mapped_state_is_of_the_same_kind():
    doubled = map_state(lambda tensor: 2 * tensor, nested())
    assert isinstance(doubled[0], Pair)
    assert doubled[0].counts.tolist() == [10, 14, 18]
    assert type(doubled[1]) is tuple


def test_rows_are_selected_by_number_or_by_mask():
    by_number = select_rows(nested(), torch.tensor([2, 0]))
    assert by_number[0].counts.tolist() == [9, 5]
    by_mask = select_rows(nested(), torch.tensor([False, True, False]))
    assert by_mask[0].numbers.tolist() == [[2.0, 3.0]]


def test_a_detached_state_has_no_graph():
    weight = torch.ones(3, requires_grad=True)
    assert not detach((2 * weight,))[0].requires_grad


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (((torch.zeros(3, 2), torch.zeros(3)), (torch.zeros(3, 1),)), "must be of type Pair here, got tuple"),
        ((nested()[0], torch.zeros(3, 1)), "must be of type tuple here, got Tensor"),
        ((*nested(), nested()[0]), "must have 2 parts, got 3"),
        ((Pair(torch.zeros(3, 5), torch.zeros(3)), (torch.zeros(3, 1),)), r"of shape \(batch, 2\) here, got \(3, 5\)"),
        ((nested()[0], (torch.zeros(3),)), r"of shape \(batch, 1\) here, got \(3,\)"),
    ],
)
def test_a_state_of_another_kind_or_size_is_refused(state, message):
    check_state_fits(nested(), 3, map_state(lambda tensor: tensor[:0], nested()))
    with pytest.raises(ValueError, match=message):
        check_state_fits(state, 3, nested())


def test_an_axis_that_is_empty_at_the_start_may_have_any_length():
    check_state_fits((torch.zeros(3, 7, 2),), 3, (torch.zeros(1, 0, 2),))
    with pytest.raises(ValueError, match=r"of shape \(batch, any, 2\) here, got \(3, 7, 5\)"):
        check_state_fits((torch.zeros(3, 7, 5),), 3, (torch.zeros(1, 0, 2),))


def test_a_state_of_other_rows_is_refused():
    check_state_fits(nested(), 3)
    with pytest.raises(ValueError, match=r"rows as the batch, 2, got a tensor of shape \(3, 2\) in it"):
        check_state_fits(nested(), 2)
