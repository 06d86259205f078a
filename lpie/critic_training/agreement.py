"""How well predicted score distributions agree with people's, each number with its interval over photographs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray

from lpie.critic.nima import mean_score, score_standard_deviation
from lpie.evidence.statistics import bootstrap_bounds, correlation, rank_correlation, student_interval
from lpie.losses.fidelity import earth_movers_distance

GOOD = 5.0  # a mean above it makes a photograph good, in the two-class accuracy of the AVA literature
Numbers = NDArray[np.floating[Any]]


def agreement(
    predicted: Float[ArrayLike, "n 10"], rated: Float[ArrayLike, "n 10"], resamples: int = 1000
) -> pd.DataFrame:
    """One row per measure: `measure, estimate, low, high, n`.

    SRCC and LCC of the distributions' means and standard deviations, mean earth mover's distance with r = 1, and the
    share of photographs that both put on the same side of a mean of 5. Intervals are bootstrapped over photographs:
    BCa, or percentile above 2,000 photographs.
    Raises ValueError for other shapes or fewer than three photographs.

    Source: Talebi & Milanfar, NIMA, TIP 2018, section III-A, for the measures; Efron, Better Bootstrap Confidence
    Intervals, JASA 1987.
    """
    estimates, truths = (torch.from_numpy(np.array(some, float)) for some in (predicted, rated))
    if estimates.shape != truths.shape or estimates.ndim != 2 or estimates.shape[1] != 10 or len(estimates) < 3:
        raise ValueError(
            "Expected two arrays of shape (N, 10) with at least three rows, got "
            f"{tuple(estimates.shape)} and {tuple(truths.shape)}."
        )
    measures: dict[str, tuple[Callable[..., float], tuple[Numbers, ...]]] = {}
    for name, moment in (("mean", mean_score), ("standard_deviation", score_standard_deviation)):
        pair = (moment(estimates).numpy(), moment(truths).numpy())
        measures |= {f"srcc_{name}": (rank_correlation, pair), f"lcc_{name}": (correlation, pair)}
    same_side = (mean_score(estimates) > GOOD) == (mean_score(truths) > GOOD)
    measures["emd"] = (np.mean, (earth_movers_distance(estimates, truths, r=1).numpy(),))
    measures["accuracy"] = (np.mean, (same_side.double().numpy(),))
    rows = []
    for name, (statistic, samples) in measures.items():
        low, high = bootstrap_interval(statistic, samples, resamples)
        found = {"estimate": float(statistic(*samples)), "low": low, "high": high, "n": len(estimates)}
        rows.append({"measure": name, **found})
    return pd.DataFrame(rows)


def calibration(predicted: Float[ArrayLike, "n 10"], rated: Float[ArrayLike, "n 10"], bins: int = 10) -> pd.DataFrame:
    """Photographs in `bins` equal groups by predicted mean: `predicted, rated, low, high, n`, the mean of each.

    `low` and `high` bound the group's rated mean by Student's t at 95 %.
    """
    estimates, truths = (mean_score(torch.from_numpy(np.array(some, float))).numpy() for some in (predicted, rated))
    rows = []
    for group in np.array_split(np.argsort(estimates), bins):
        bounds = student_interval(truths[group])
        row = {"predicted": estimates[group].mean(), "rated": bounds.mean, "low": bounds.low, "high": bounds.high}
        rows.append({**row, "n": bounds.n})
    return pd.DataFrame(rows)


def bootstrap_interval(
    statistic: Callable[..., float], samples: tuple[Numbers, ...], resamples: int = 1000
) -> tuple[float, float]:
    """Both ends of the interval of `statistic` over photographs, of which `samples` hold one number each."""
    found = bootstrap_bounds(statistic, samples, resamples)
    if np.isnan(found.low):  # the same in every resample, as for perfect predictions
        return (float(statistic(*samples)),) * 2
    return float(found.low), float(found.high)
