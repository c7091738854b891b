import torch

from seqmodels.row_pieces import pieces_between

RESETS = torch.tensor([[False, False, True, False, True], [True, False, False, False, False]])


def test_pieces_are_cut_before_each_reset():
    pieces = pieces_between(RESETS)
    assert pieces.row.tolist() == [0, 0, 0, 1]
    assert pieces.start.tolist() == [0, 2, 4, 0]
    assert pieces.lengths == [2, 2, 1, 5]
    assert pieces.last.tolist() == [2, 3]


def test_only_a_first_piece_that_is_not_reset_continues_the_carried_state():
    pieces = pieces_between(RESETS)
    assert pieces.continues.tolist() == [True, False, False, False]
    carried = torch.arange(1.0, 7.0).view(2, 3)
    assert pieces.start_states(carried).tolist() == [[1.0, 2.0, 3.0], [0.0] * 3, [0.0] * 3, [0.0] * 3]


def test_packed_pieces_come_back_in_their_places():
    x = torch.arange(2 * 5 * 3.0).view(2, 5, 3)
    pieces = pieces_between(RESETS)
    assert torch.equal(pieces.unpack(pieces.pack(x)), x)
