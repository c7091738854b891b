"""Summaries of scores, against numbers worked out by hand."""

import numpy as np
import pytest

from agents.score_statistics import bootstrap_interval, interquartile_mean, summarise_scores


def test_the_interquartile_mean_leaves_a_quarter_of_the_scores_out_at_either_end() -> None:
    assert interquartile_mean(np.array([100.0, 1.0, 2.0, -50.0])) == 1.5
    # Of 7 scores floor(7 / 4) = 1 goes at either end.
    assert interquartile_mean(np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 600.0])) == 3.0


def test_mean_and_median_are_over_games_and_the_interquartile_mean_over_all_scores() -> None:
    summary = summarise_scores({"Pong": [0.0, 2.0], "Breakout": [4.0, 8.0], "Qbert": [30.0, 50.0]})
    assert summary.mean.value == pytest.approx((1 + 6 + 40) / 3)
    assert summary.median.value == 6.0
    # Sorted 0 2 4 8 30 50: one left out at either end.
    assert summary.interquartile_mean.value == pytest.approx((2 + 4 + 8 + 30) / 4)


def test_games_may_have_different_numbers_of_seeds() -> None:
    summary = summarise_scores({"Pong": [1.0], "Breakout": [2.0, 4.0, 9.0]})
    assert summary.mean.value == 3.0
    assert summary.mean.interval is not None
    assert 1.5 <= summary.mean.interval.low < 3.0 < summary.mean.interval.high <= 5.0


def test_seeds_are_redrawn_within_their_game_only() -> None:
    # Within a game all seeds agree: redrawing within games changes nothing, redrawing over all would.
    summary = summarise_scores({"Pong": [1.0, 1.0, 1.0], "Breakout": [5.0, 5.0, 5.0]})
    for estimate in (summary.mean, summary.median, summary.interquartile_mean):
        assert estimate.interval == (3.0, 3.0)


def test_one_seed_a_game_has_no_interval() -> None:
    summary = summarise_scores({"Pong": [1.0], "Breakout": [2.0]})
    assert summary.mean.value == 1.5
    assert summary.mean.interval is None


def test_the_interval_of_a_mean_of_two_scores_is_their_range() -> None:
    # Redrawn pairs of (0, 1) have means 0, 1/2 and 1 with probability 1/4, 1/2, 1/4: 2.5% and 97.5% lie at 0 and 1.
    interval = bootstrap_interval([np.array([0.0, 1.0])], lambda samples: samples[0].mean(axis=-1))
    assert interval == (0.0, 1.0)


def test_the_interval_of_many_scores_is_that_of_the_normal_approximation() -> None:
    scores = np.random.default_rng(0).normal(3.0, 2.0, size=400)
    interval = bootstrap_interval([scores], lambda samples: samples[0].mean(axis=-1))
    half_width = 1.96 * scores.std() / np.sqrt(400)
    assert interval == pytest.approx((scores.mean() - half_width, scores.mean() + half_width), abs=0.02)


def test_the_same_seed_gives_the_same_interval() -> None:
    scores = {"Pong": [1.0, 4.0, 2.0], "Breakout": [5.0, 3.0, 9.0]}
    assert summarise_scores(scores, seed=3) == summarise_scores(scores, seed=3)


def test_a_game_without_scores_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one score of every game"):
        summarise_scores({"Pong": []})
