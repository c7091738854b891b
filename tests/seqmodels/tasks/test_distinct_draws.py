from itertools import permutations

import numpy as np
import pytest

from seqmodels.tasks.distinct_draws import distinct_draws


def test_no_row_has_a_draw_twice_and_every_order_is_equally_likely():
    drawn = distinct_draws(np.random.default_rng(0), 60_000, 2, population=3)
    assert drawn.shape == (60_000, 2)
    share = [(drawn == pair).all(axis=1).mean() for pair in permutations(range(3), 2)]
    np.testing.assert_allclose(share, 1 / 6, atol=5 * np.sqrt(1 / 6 * 5 / 6 / 60_000))


def test_all_of_a_population_can_be_drawn():
    drawn = distinct_draws(np.random.default_rng(0), 11, 5, population=5)
    assert np.sort(drawn, axis=1).tolist() == [[0, 1, 2, 3, 4]] * 11


def test_weights_decide_each_draw_among_those_that_are_left():
    weights = np.array([1.0, 2.0, 5.0])
    drawn = distinct_draws(np.random.default_rng(0), 60_000, 2, population=3, weights=weights)
    for first, second in permutations(range(3), 2):
        expected = weights[first] / 8 * weights[second] / (8 - weights[first])
        share = (drawn == (first, second)).all(axis=1).mean()
        assert share == pytest.approx(expected, abs=5 * np.sqrt(expected / 60_000))


def test_more_draws_than_there_are_is_refused():
    with pytest.raises(ValueError, match="num_draws must be between 1 and the population of 5, got 7"):
        distinct_draws(np.random.default_rng(0), 3, 7, population=5)
