import numpy as np

from seqmodels.tasks.ragged_tokens import ragged


def test_rows_come_back_padded_to_the_longest_of_those_asked_for():
    rows = ragged([np.array(row, dtype=np.uint8) for row in ([1, 2, 3], [4], [5, 6, 7, 8, 9], [])])
    inputs, lengths = rows.padded(np.array([1, 0, 1]))
    assert inputs.tolist() == [[4, 0, 0], [1, 2, 3], [4, 0, 0]]
    assert lengths.tolist() == [1, 3, 1]


def test_a_row_without_tokens_is_all_padding():
    rows = ragged([np.array(row, dtype=np.uint8) for row in ([1, 2], [])])
    inputs, lengths = rows.padded(np.array([1, 0]))
    assert inputs.tolist() == [[0, 0], [1, 2]]
    assert lengths.tolist() == [0, 2]
