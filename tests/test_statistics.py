"""Intervals and tests against hand-made examples, other definitions and their own promise of coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lpie.evidence import statistics
from lpie.evidence.statistics import (
    Interval,
    holm,
    paired_interval,
    paired_ratio_interval,
    signed_rank_test,
    student_interval,
    welch_interval,
)


def test_students_interval_of_one_two_three_is_the_textbook_one() -> None:
    interval = student_interval([1.0, 2.0, 3.0])
    half = 4.302652730 / np.sqrt(3)  # t(0.975, 2), standard deviation 1
    assert [interval.mean, interval.low, interval.high] == pytest.approx([2, 2 - half, 2 + half])
    assert interval.n == 3


def test_students_interval_covers_the_truth_as_often_as_it_promises() -> None:
    draws = np.random.default_rng(1).normal(0.3, 2.0, size=(2000, 3))
    covered = [interval.low <= 0.3 <= interval.high for interval in map(student_interval, draws)]
    assert 0.94 <= np.mean(covered) <= 0.96 + 0.005


def test_one_seed_has_no_interval() -> None:
    interval = student_interval([0.7])
    assert interval.mean == 0.7
    assert np.isnan([interval.low, interval.high]).all()


def _literal_bca(numbers: np.ndarray, resamples: int, seed: int) -> tuple[float, float]:
    """Efron's equations, term by term."""
    random = np.random.default_rng(seed)
    count = len(numbers)
    means = np.sort([random.choice(numbers, count).mean() for _ in range(resamples)])
    bias = stats.norm.ppf((means < numbers.mean()).mean())
    without_one = np.array([np.delete(numbers, i).mean() for i in range(count)])
    spread = without_one.mean() - without_one
    acceleration = (spread**3).sum() / (6 * (spread**2).sum() ** 1.5)
    ends = []
    for tail in stats.norm.ppf([0.025, 0.975]):
        level = stats.norm.cdf(bias + (bias + tail) / (1 - acceleration * (bias + tail)))
        ends.append(float(np.quantile(means, level)))
    return ends[0], ends[1]


def test_the_paired_interval_follows_efrons_equations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 20_000)
    numbers = np.random.default_rng(3).exponential(1.0, 40)
    interval = paired_interval(numbers)
    low, high = _literal_bca(numbers, 20_000, seed=4)
    assert interval.mean == pytest.approx(numbers.mean())
    assert [interval.low, interval.high] == pytest.approx([low, high], abs=0.012)
    assert interval.high - interval.mean > interval.mean - interval.low  # the skew shows


def test_the_paired_interval_is_the_same_each_time_and_turns_with_the_sign() -> None:
    numbers = np.random.default_rng(5).normal(0.1, 1, 25)
    assert paired_interval(numbers) == paired_interval(numbers)
    mirrored = paired_interval(-numbers)
    assert [-mirrored.high, -mirrored.low] == pytest.approx(
        [paired_interval(numbers).low, paired_interval(numbers).high], abs=0.02
    )


def test_equal_differences_have_an_interval_of_no_width() -> None:
    assert paired_interval([0.25] * 7) == Interval(0.25, 0.25, 0.25, 7)


def test_unknown_values_are_left_out_and_infinite_ones_refused() -> None:
    assert paired_interval([1.0, np.nan, 1.0]).n == 2
    with pytest.raises(ValueError, match="finite numbers"):
        paired_interval([1.0, np.inf])
    with pytest.raises(ValueError, match="at least one number"):
        student_interval([np.nan])


def test_the_signed_rank_test_of_all_above_zero_is_exact() -> None:
    assert signed_rank_test([0.1, 0.2, 0.3, 0.4, 0.5]) == pytest.approx(2 / 2**5)
    assert signed_rank_test([0.0, 0.0]) == 1.0


def test_holms_adjustment_is_the_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_constant_ratio_has_an_interval_of_no_width() -> None:
    whole = np.random.default_rng(6).uniform(0.5, 1.5, 30)
    exact = paired_ratio_interval(0.8 * whole, whole)
    assert [exact.mean, exact.low, exact.high] == pytest.approx([0.8, 0.8, 0.8])


def test_bootstrapped_intervals_cover_the_truth_as_often_as_they_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 999)
    random = np.random.default_rng(8)
    covered = []
    for _ in range(200):
        whole = random.uniform(0.5, 1.5, 40)
        part = 0.8 * whole + random.normal(0, 0.2, 40)
        ratio, difference = paired_ratio_interval(part, whole), paired_interval(part)
        covered.append([ratio.low <= 0.8 <= ratio.high, difference.low <= 0.8 <= difference.high])
    assert ((np.mean(covered, axis=0) > 0.9) & (np.mean(covered, axis=0) < 0.99)).all()


def test_the_ratio_is_of_the_means_not_the_mean_of_ratios() -> None:
    assert paired_ratio_interval([1.0, 1.0, 2.0], [1.0, 2.0, 2.0]).mean == pytest.approx(4 / 5)


def test_a_ratio_to_a_mean_that_may_be_zero_has_no_interval_and_gives_no_warning() -> None:
    part = 0.5 + 0.1 * np.arange(8)
    for whole in ([1.0, 1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -0.9]):
        ratio = paired_ratio_interval(part, whole)
        assert ratio.mean == pytest.approx(part.mean() / np.mean(whole))
        assert np.isnan([ratio.low, ratio.high]).all()


def test_seeds_of_two_networks_differ_by_welchs_interval() -> None:
    ours, theirs = [3.0, 3.2, 3.1], [1.0, 2.0, 1.2, 1.9, 1.4]
    interval = welch_interval(ours, theirs)
    half = interval.high - interval.mean
    assert interval.mean == pytest.approx(np.mean(ours) - np.mean(theirs))
    assert interval.mean - interval.low == pytest.approx(half)
    edge = stats.ttest_ind(ours, np.add(theirs, interval.low), equal_var=False).pvalue  # where the test just rejects
    assert edge == pytest.approx(0.05)
    assert interval.n == 8
    assert np.isnan(welch_interval([1.0], theirs).low)
    assert welch_interval([1.0, 1.0], [3.0, 3.0]) == Interval(-2.0, -2.0, -2.0, 4)
