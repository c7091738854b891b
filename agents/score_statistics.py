"""Summarises scores: means, medians, interquartile means and bootstrap intervals.

The definitions over several games and seeds are those of Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge
of the Statistical Precipice" (the paper behind rliable).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import stats

Scores = Float[np.ndarray, " n"]


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A statistic and its confidence interval, which is None where no game has more than one score."""

    value: float
    interval: Interval | None


@dataclass(frozen=True, kw_only=True)
class ScoreSummary:
    """What several games and seeds say together, usually of human-normalised scores."""

    mean: Estimate  # over the games' means over seeds
    median: Estimate  # over the games' means over seeds
    interquartile_mean: Estimate  # over all scores of all games


def interquartile_mean(scores: Float[np.ndarray, "..."]) -> float:
    """Returns the mean of the middle half of all the scores: floor(n / 4) are left out at either end."""
    return float(stats.trim_mean(scores, 0.25, axis=None))


def summarise_scores(
    scores: Mapping[str, Sequence[float]], *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> ScoreSummary:
    """Summarises `{game: the score of each seed}`, with bootstrap intervals (seeds redrawn within each game)."""
    games = [np.asarray(values, np.float64) for values in scores.values()]
    if not games or any(len(game) == 0 for game in games):
        raise ValueError("a summary needs at least one game, and at least one score of every game")

    def estimate(statistic: Callable[[Sequence[NDArray[np.float64]]], Any]) -> Estimate:
        interval = bootstrap_interval(games, statistic, confidence=confidence, resamples=resamples, seed=seed)
        return Estimate(value=float(statistic(games)), interval=interval)

    return ScoreSummary(
        mean=estimate(_mean), median=estimate(_median), interquartile_mean=estimate(_interquartile_mean)
    )


def bootstrap_interval(
    samples: Sequence[NDArray[np.float64]],
    statistic: Callable[[Sequence[NDArray[np.float64]]], Any],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval | None:
    """Returns the percentile bootstrap interval of `statistic`, or None where no sample has more than one value.

    `statistic` maps the samples, each (..., size), to (...). Every sample is redrawn from itself.
    """
    if all(len(sample) == 1 for sample in samples):
        return None
    # A sample of one value is itself in every redrawing; SciPy refuses it, two copies of it mean the same.
    redrawable = [np.repeat(sample, 2) if len(sample) == 1 else sample for sample in samples]
    sizes = [len(sample) for sample in samples]
    result = stats.bootstrap(
        redrawable,
        lambda *redrawn, axis: statistic([one[..., :size] for one, size in zip(redrawn, sizes, strict=True)]),
        n_resamples=resamples,
        confidence_level=confidence,
        method="percentile",
        vectorized=True,
        batch=200,
        rng=np.random.default_rng(seed),
    )
    return Interval(float(result.confidence_interval.low), float(result.confidence_interval.high))


def _mean(games: Sequence[NDArray[np.float64]]) -> Any:
    return np.mean([game.mean(axis=-1) for game in games], axis=0)


def _median(games: Sequence[NDArray[np.float64]]) -> Any:
    return np.median([game.mean(axis=-1) for game in games], axis=0)


def _interquartile_mean(games: Sequence[NDArray[np.float64]]) -> Any:
    return stats.trim_mean(np.concatenate(games, axis=-1), 0.25, axis=-1)
