"""Intervals and tests: Student's t across seeds, the bias-corrected bootstrap across photos, Holm over several tests.

Seeds are few and their means are nearly normal; photos are many and their differences are not. A photo seen by two
networks is one pair: every comparison is of paired differences.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 5000
FEWEST_RESAMPLED = 5  # photos; resampling fewer says little
MANY = 2000  # photos above which the percentile bootstrap is as good as BCa, whose jackknife then takes minutes
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Interval:
    """A mean with the bounds of its 95 % confidence interval, from `n` numbers; bounds are NaN where n is 1."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def student_interval(values: ArrayLike) -> Interval:
    """The mean of independent `values`, such as one per seed, with Student's t interval.

    Source: Student, The probable error of a mean, Biometrika 1908. A bootstrap of 3 or 5 numbers covers too little.
    """
    numbers = _numbers(values)
    mean = float(numbers.mean())
    if len(numbers) == 1:
        return Interval(mean, np.nan, np.nan, 1)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(numbers) - 1) * stats.sem(numbers))
    return Interval(mean, mean - half, mean + half, len(numbers))


def welch_interval(ours: ArrayLike, theirs: ArrayLike) -> Interval:
    """The difference of two means of independent numbers, such as one per seed each; `n` counts both.

    Bounds are NaN where a side has one number. Source: Welch, The generalization of Student's problem when several
    different population variances are involved, Biometrika 1947.
    """
    first, second = _numbers(ours), _numbers(theirs)
    mean, count = float(first.mean() - second.mean()), len(first) + len(second)
    if min(len(first), len(second)) < 2:
        return Interval(mean, np.nan, np.nan, count)
    if np.ptp(first) == np.ptp(second) == 0:
        return Interval(mean, mean, mean, count)
    bounds = stats.ttest_ind(first, second, equal_var=False).confidence_interval(CONFIDENCE)
    return Interval(mean, float(bounds.low), float(bounds.high), count)


def paired_interval(differences: ArrayLike) -> Interval:
    """The mean of paired `differences`, one per photo, with the bias-corrected and accelerated bootstrap interval.

    The same numbers give the same interval: the resampling starts from a fixed seed. Where all differences are equal
    the interval is that number; fewer than FEWEST_RESAMPLED have Student's interval, one has none (NaN).

    Source: Efron, Better Bootstrap Confidence Intervals, JASA 1987, section 4 (BCa), by scipy.stats.bootstrap.
    """
    return paired_intervals([differences])[0]


def paired_intervals(several: Iterable[ArrayLike]) -> list[Interval]:
    """`paired_interval` of each of `several`, resampled together, which is a quarter of the work."""
    columns = [_numbers(differences) for differences in several]
    waiting: dict[int, dict[bytes, np.ndarray]] = defaultdict(dict)
    for numbers in columns:
        if (key := numbers.tobytes()) not in _BOUNDS and len(numbers) >= FEWEST_RESAMPLED and not _constant(numbers):
            waiting[len(numbers)][key] = numbers
    for group in waiting.values():
        low, high = bootstrap_bounds(np.mean, (np.stack(list(group.values())),), RESAMPLES)
        _BOUNDS.update(zip(group, zip(low.tolist(), high.tolist(), strict=True), strict=True))
    return [_known_interval(numbers) for numbers in columns]


_BOUNDS: dict[bytes, tuple[float, float]] = {}
"""Both ends of intervals that were computed; several tables ask for the same one."""


def _known_interval(numbers: np.ndarray) -> Interval:
    if len(numbers) < FEWEST_RESAMPLED:
        return student_interval(numbers)
    mean = float(numbers.mean())
    return Interval(mean, *((mean, mean) if _constant(numbers) else _BOUNDS[numbers.tobytes()]), len(numbers))


def _constant(numbers: np.ndarray) -> bool:
    """Whether the spread, by which BCa divides, is nothing."""
    return bool(np.ptp(numbers) <= 1e-12 * max(1.0, abs(float(numbers.mean()))))


def bootstrap_bounds(statistic: Callable[..., Any], samples: Sequence[np.ndarray], resamples: int) -> Any:
    """Both ends of the BCa interval of `statistic` over photos, along the last axis; percentile above MANY photos.

    Where the statistic is the same in every resample they are NaN.
    """
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        return stats.bootstrap(
            samples,
            statistic,
            axis=-1,
            paired=len(samples) > 1,
            n_resamples=resamples,
            confidence_level=CONFIDENCE,
            method="BCa" if samples[0].shape[-1] <= MANY else "percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval


def paired_ratio_interval(part: ArrayLike, whole: ArrayLike) -> Interval:
    """The mean of `part` divided by the mean of `whole`, pairs of one photo each, with its BCa interval.

    Meaningful while the mean of `whole` is well away from 0: where its own interval holds 0, the ratio has none (NaN),
    nor has it with fewer than FEWEST_RESAMPLED pairs.
    """
    parts, wholes = np.asarray(part, dtype=float).ravel(), np.asarray(whole, dtype=float).ravel()
    known = ~(np.isnan(parts) | np.isnan(wholes))
    parts, wholes = _numbers(parts[known]), _numbers(wholes[known])
    ratio = float(parts.mean() / wholes.mean()) if wholes.mean() else np.nan
    bottom = paired_interval(wholes)
    if len(parts) < FEWEST_RESAMPLED or bottom.low <= 0 <= bottom.high or np.isnan(ratio):
        return Interval(ratio, np.nan, np.nan, len(parts))
    if np.ptp(parts - ratio * wholes) <= 1e-12 * max(1.0, abs(ratio)):
        return Interval(ratio, ratio, ratio, len(parts))

    def ratio_of_means(top: np.ndarray, bottom: np.ndarray, axis: int) -> Any:
        return top.mean(axis=axis) / bottom.mean(axis=axis)

    low, high = bootstrap_bounds(ratio_of_means, (parts, wholes), RESAMPLES)
    return Interval(ratio, float(low), float(high), len(parts))


def signed_rank_test(differences: ArrayLike) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test that the differences lie evenly about 0; all zero gives 1."""
    numbers = _numbers(differences)
    return float(stats.wilcoxon(numbers).pvalue) if np.any(numbers != 0) else 1.0


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's linear correlation; 0 where one of them is constant, since there is no order among equals."""
    return 0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else float(np.corrcoef(a, b)[0, 1])


def rank_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation; 0 where one of them is constant."""
    return correlation(stats.rankdata(a), stats.rankdata(b))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for their number: those below a level can be called significant together at that level.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 1979.
    """
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty(len(values))
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, values[order] * np.arange(len(values), 0, -1)))
    return adjusted.tolist()


def _numbers(values: ArrayLike) -> np.ndarray:
    """`values` as a flat float array without NaN; raises ValueError if none is left or one is infinite."""
    numbers = np.asarray(values, dtype=float).ravel()
    numbers = numbers[~np.isnan(numbers)]
    if not len(numbers):
        raise ValueError("Expected at least one number to take the mean of, got none.")
    if np.isinf(numbers).any():
        raise ValueError("Expected finite numbers, got an infinite one: leave out photos equal to their target.")
    return numbers
