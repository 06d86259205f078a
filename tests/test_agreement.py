"""Agreement with people's ratings: published values, and what must hold of any data."""

import numpy as np
import pytest

from lpie.critic_training.agreement import agreement, calibration
from lpie.critic_training.ratings import RATINGS


def random_distributions(count, seed=0):
    shares = np.random.default_rng(seed).gamma(1.0, size=(count, 10))
    return shares / shares.sum(1, keepdims=True)


def test_agreement_of_the_published_predictions_is_as_published(data):
    stored = np.load(data / "nima" / "ava_test_idealo_predictions.npz")
    table = agreement(stored["predictions"], stored["labels"], resamples=40).set_index("measure")
    assert table.loc["srcc_mean", "estimate"] == pytest.approx(0.59496, abs=2e-5)
    assert table.loc["lcc_mean", "estimate"] == pytest.approx(0.61297, abs=2e-5)
    assert table.loc["emd", "estimate"] == pytest.approx(0.05100, abs=2e-5)
    assert (table["low"] < table["estimate"]).all()
    assert (table["estimate"] < table["high"]).all()


def test_perfect_predictions_agree_perfectly():
    rated = random_distributions(50)
    table = agreement(rated, rated, resamples=50).set_index("measure")["estimate"]
    assert table[["srcc_mean", "lcc_mean", "srcc_standard_deviation", "accuracy"]].to_numpy() == pytest.approx(1)
    assert table["emd"] == 0


def test_intervals_cover_the_correlation_that_made_the_data():
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(20):
        quality = random.normal(size=60)
        estimate, truth = 0.7 * quality + 0.714 * random.normal(size=60), quality  # correlation 0.7
        middle, ends = np.eye(10)[4], np.eye(10)[8] - np.eye(10)[0]
        spread = 0.3 * middle + 0.35 * np.abs(ends)
        as_rows = [spread + 0.07 * v[:, None] * ends for v in (estimate, truth)]
        row = agreement(*as_rows, resamples=200).set_index("measure").loc["lcc_mean"]
        covered += row["low"] <= 0.7 <= row["high"]
    assert covered >= 16


def test_calibration_groups_hold_every_photograph_in_order():
    predicted, rated = random_distributions(103), random_distributions(103, 1)
    table = calibration(predicted, rated)
    assert table["n"].sum() == 103
    assert table["predicted"].is_monotonic_increasing
    assert (table["rated"] * table["n"]).sum() == pytest.approx((rated @ RATINGS).sum())


def test_two_photographs_are_too_few():
    with pytest.raises(ValueError, match="at least three rows"):
        agreement(random_distributions(2), random_distributions(2))
