"""What each instrument answers to the claims about what a critic adds, against margins set before: a row for each.

    answers(evidence)       # claim, instrument, role, verdict, how many cases, how many photographs would decide

An instrument counts where it has a role that says what is better: *preference*, or *human reference*, which says what
is nearer to a person's rendition of the same photo. The others are shown and do not count.
"""

from __future__ import annotations

from math import ceil

import numpy as np
import pandas as pd

from lpie.evidence.gains import NEARER
from lpie.evidence.statistics import Interval
from lpie.judges import JUDGES, Role

ASKED = ("C1", "C2", "C7")
"""The claims that say that something is better than something else."""

ANSWERS = ("supported", "contradicted", "no difference that matters", "undecided")
"""What a difference in one case says of the claim that it is one for the better."""


def answer(difference: Interval, margin: float) -> str:
    """One of ANSWERS: better by more than the margin, worse by more than it, within it, or none of these.

    `difference`: higher is better. The whole interval must lie beyond the margin, or within it.
    """
    if difference.low > margin:
        return "supported"
    if difference.high < -margin:
        return "contradicted"
    if -margin <= difference.low and difference.high <= margin:
        return "no difference that matters"
    return "undecided"


def photographs_needed(difference: Interval, margin: float) -> float:
    """Roughly how many photographs would decide, if mean and spread stayed; infinite for a mean at the margin.

    The interval narrows as one over the root of their number, and must end before the margin nearest to its mean.
    """
    half = max(difference.high - difference.mean, difference.mean - difference.low)
    room = abs(abs(difference.mean) - margin)
    return float(ceil(round(difference.n * (half / room) ** 2, 6))) if room and np.isfinite(half) else np.inf


def instrument_of(measure: str) -> tuple[str, Role | None]:
    """The judge or critic behind a measure of `comparisons`, and the role in which that measure counts, if any."""
    if measure.startswith(NEARER):
        return measure.removeprefix(NEARER), "human reference"
    name = measure.removeprefix("gain_")
    return name, "preference" if name in JUDGES and "preference" in JUDGES[name].roles else None


def answers(compared: pd.DataFrame) -> pd.DataFrame:
    """One row per claim of ASKED and instrument that took no part in training; `compared`: `comparisons`.

    Columns: claim, instrument, role (empty: shown, does not count), cases, one column per answer with its cases,
    verdict, photos, needed (photographs that would decide the open case that is nearest to it; NaN where none is open).

    The verdict is `supported` or `contradicted` where some case is and none is the other; `no difference that matters`
    where every case says so; else `undecided`.
    """
    rows = []
    asked = compared[compared["claim"].isin(ASKED)]
    for (claim, measure), cases in asked.groupby(["claim", "measure"], sort=False):
        name, role = instrument_of(str(measure))
        if name not in JUDGES:
            continue  # a critic says that training worked, not what is better
        margin = JUDGES[name].margin
        intervals = [interval_of(case) for _, case in cases.iterrows()]
        found = [answer(interval, margin) for interval in intervals]
        pairs = zip(intervals, found, strict=True)
        open_ = [photographs_needed(one, margin) for one, said in pairs if said == "undecided"]
        counts = {said: found.count(said) for said in ANSWERS}
        rows.append(
            {"claim": claim, "instrument": JUDGES[name].label, "role": role or "", "cases": len(found), **counts}
            | {
                "verdict": verdict_of(counts),
                "photos": int(cases["n_photos"].min()),
                "needed": min(open_, default=np.nan),
            }
        )
    columns = ["claim", "instrument", "role", "cases", *ANSWERS, "verdict", "photos", "needed"]
    return pd.DataFrame(rows, columns=columns)


def interval_of(case: pd.Series) -> Interval:
    """The difference of a row of `comparisons` with the wider of its bounds, across photos and across seeds."""
    low, high = np.nanmin([case["low"], case["seed_low"]]), np.nanmax([case["high"], case["seed_high"]])
    return Interval(float(case["difference"]), float(low), float(high), int(case["n_photos"]))


def verdict_of(counts: dict[str, int]) -> str:
    """The four words for several cases, from how many of them each was found in."""
    if bool(counts["supported"]) != bool(counts["contradicted"]):
        return "supported" if counts["supported"] else "contradicted"
    decided = counts["no difference that matters"] == sum(counts.values())
    return "no difference that matters" if decided else "undecided"
