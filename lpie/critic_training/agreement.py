"""How well predicted score distributions agree with people's, each number with its interval over photographs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from lpie.critic_training.ratings import RATINGS
from lpie.evidence.statistics import student_interval
from lpie.losses.fidelity import earth_movers_distance

GOOD = 5.0  # a mean above it makes a photograph good, in the two-class accuracy of the AVA literature
MANY = 2000  # photographs above which the percentile bootstrap is as good as BCa, whose jackknife then takes minutes


def agreement(
    predicted: Float[ArrayLike, "n 10"],
    rated: Float[ArrayLike, "n 10"],
    resamples: int = 1000,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """One row per measure: `measure, estimate, low, high, n`.

    SRCC and LCC of the distributions' means and standard deviations, mean earth mover's distance with r = 1, and the
    share of photographs that both put on the same side of a mean of 5. Intervals are bootstrapped over photographs:
    BCa, or percentile above 2,000 photographs.
    Raises ValueError for other shapes or fewer than three photographs.

    Source: Talebi & Milanfar, NIMA, TIP 2018, section III-A, for the measures; Efron, Better Bootstrap Confidence
    Intervals, JASA 1987.
    """
    estimates, truths = np.array(predicted, float), np.array(rated, float)
    if estimates.shape != truths.shape or estimates.ndim != 2 or estimates.shape[1] != 10 or len(estimates) < 3:
        raise ValueError(
            f"Expected two arrays of shape (N, 10) with at least three rows, got {estimates.shape} and {truths.shape}."
        )
    (mean, rated_mean), (spread, rated_spread) = (
        (moment(estimates), moment(truths)) for moment in (mean_of, standard_deviation_of)
    )
    distance = earth_movers_distance(torch.from_numpy(estimates), torch.from_numpy(truths), r=1).numpy()
    same_side = ((mean > GOOD) == (rated_mean > GOOD)).astype(float)
    measures: dict[str, tuple[Callable[..., float], tuple[NDArray[np.floating[Any]], ...]]] = {
        "srcc_mean": (rank_correlation, (mean, rated_mean)),
        "lcc_mean": (_correlation, (mean, rated_mean)),
        "srcc_standard_deviation": (rank_correlation, (spread, rated_spread)),
        "lcc_standard_deviation": (_correlation, (spread, rated_spread)),
        "emd": (np.mean, (distance,)),
        "accuracy": (np.mean, (same_side,)),
    }
    rows = []
    for name, (statistic, samples) in measures.items():
        low, high = bootstrap_interval(statistic, samples, resamples, confidence)
        rows.append({"measure": name, "estimate": float(statistic(*samples)), "low": low, "high": high, "n": len(mean)})
    return pd.DataFrame(rows)


def mean_of(distributions: Float[np.ndarray, "n 10"]) -> NDArray[np.floating[Any]]:
    """Mean rating of each row."""
    return distributions @ RATINGS


def standard_deviation_of(distributions: Float[np.ndarray, "n 10"]) -> NDArray[np.floating[Any]]:
    """Standard deviation of the ratings of each row."""
    return np.sqrt(((RATINGS - mean_of(distributions)[:, None]) ** 2 * distributions).sum(1))


def calibration(predicted: Float[ArrayLike, "n 10"], rated: Float[ArrayLike, "n 10"], bins: int = 10) -> pd.DataFrame:
    """Photographs in `bins` equal groups by predicted mean: `predicted, rated, low, high, n`, the mean of each.

    `low` and `high` bound the group's rated mean by Student's t at 95 %.
    """
    estimates, truths = mean_of(np.asarray(predicted, float)), mean_of(np.asarray(rated, float))
    rows = []
    for group in np.array_split(np.argsort(estimates), bins):
        bounds = student_interval(truths[group])
        row = {"predicted": estimates[group].mean(), "rated": bounds.mean, "low": bounds.low, "high": bounds.high}
        rows.append({**row, "n": bounds.n})
    return pd.DataFrame(rows)


def rank_correlation(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> float:
    """Spearman's rank correlation; 0 where one of them is constant."""
    return _correlation(stats.rankdata(a), stats.rankdata(b))


def _correlation(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> float:
    if np.ptp(a) == 0 or np.ptp(b) == 0:  # no order among equals
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def bootstrap_interval(
    statistic: Callable[..., float],
    samples: tuple[NDArray[np.floating[Any]], ...],
    resamples: int = 1000,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Both ends of the interval of `statistic` over photographs, of which `samples` hold one number each."""
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            samples,
            statistic,
            paired=len(samples) > 1,
            vectorized=False,
            n_resamples=resamples,
            confidence_level=confidence,
            method="BCa" if len(samples[0]) <= MANY else "percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
    if np.isnan(found.low):  # the same in every resample, as for perfect predictions
        return (float(statistic(*samples)),) * 2
    return float(found.low), float(found.high)
