"""Every paired difference that a claim about the learned critic rests on, one row each.

A case is one operator, one network and one critic, at the weight that validation chose or at one that is asked for. It
is compared with the same network trained without the critic, or with the operator's target.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from lpie.evidence.evidence import Evidence
from lpie.evidence.gains import NEARER
from lpie.evidence.statistics import holm, paired_intervals, signed_rank_test, student_interval, welch_interval
from lpie.losses import FIDELITIES
from lpie.networks import FAMILIES

CASE = ["operator", "network", "critic"]


def comparisons(evidence: Evidence, configurations: pd.DataFrame | None = None) -> pd.DataFrame:
    """Every paired difference over test photos that a claim rests on, one row each.

    `configurations`, with the columns of `gains.CONFIGURATION`, are compared; those of chosen weights if not given.

    Columns: claim, the case, fidelity, against (what it is compared with), measure, difference with low and high (BCa
    across photos), seed_low and seed_high (across seeds, NaN where a side has one), n_photos, n_seeds, p and p_holm
    (adjusted over the claim's rows).
    """
    rows: list[dict[str, object]] = []
    for _, configuration in (evidence.chosen if configurations is None else configurations).iterrows():
        ours = evidence.rows(configuration)
        critic, fidelity = str(configuration["critic"]), str(configuration["fidelity"])

        def compare(claim: str, against: str, raters: Sequence[str], ours: pd.DataFrame = ours) -> None:
            theirs = None if against == "target" else evidence.without_critic(ours.iloc[0], against)
            if against == "target" or theirs is not None:
                measures = [f"gain_{name}" for name in raters] + [f"{NEARER}{name}" for name in evidence.nearing]
                rows.extend(_compared(evidence, claim, against, ours, theirs, measures))

        compare("C1", fidelity, evidence.judges)
        if fidelity == "l2":
            if configuration["operator"] != "pairs":  # where the target is what a person made
                compare("C2", "target", [critic, *evidence.judges])
            for baseline in (name for name in FIDELITIES if name not in ("l1", "l2")):
                compare("C7", baseline, evidence.judges)
    rows += _fidelity_comparisons(evidence)
    columns = ["claim", *CASE, "fidelity", "gamma", "against", "measure", "difference", "low", "high"]
    table = pd.DataFrame(rows, columns=[*columns, "seed_low", "seed_high", "n_photos", "n_seeds", "p"])
    table["p_holm"] = table.groupby("claim")["p"].transform(lambda p: holm(p.tolist()))
    return table


def _fidelity_comparisons(evidence: Evidence) -> Iterator[dict[str, object]]:
    """For C4, every weight of the ladder against no critic: what its critic gains and what it costs in PSNR."""
    for configuration, ours in evidence.configurations():
        if configuration["gamma"] > 0 and configuration["fidelity"] == "l2" and configuration["network"] in FAMILIES:
            plain = evidence.without_critic(configuration, "l2")
            if plain is not None:
                measures = [f"gain_{configuration['critic']}", "psnr", "ssim"]
                yield from _compared(evidence, "C4", "l2", ours, plain, measures)


def _compared(
    evidence: Evidence, claim: str, against: str, ours: pd.DataFrame, theirs: pd.DataFrame | None, measures: list[str]
) -> Iterator[dict[str, object]]:
    """Paired differences of photos, each averaged over seeds; the measures themselves where `theirs` is None.

    Of `theirs` the seeds that `ours` has: otherwise what a seed does would count as what the critic does.
    """
    differences = evidence.photo_means(ours)[measures]
    if theirs is not None:
        theirs = theirs[theirs["seed"].isin(ours["seed"])] if set(theirs["seed"]) > set(ours["seed"]) else theirs
        differences = differences - theirs.groupby("photo")[measures].mean()
    measures = [name for name in measures if differences[name].notna().any()]
    seeds = ours.groupby("seed")[measures].mean()
    if theirs is not None:
        their_seeds = theirs.groupby("seed")[measures].mean()
    for measure, interval in zip(measures, paired_intervals(differences[one] for one in measures), strict=True):
        across = (
            student_interval(seeds[measure]) if theirs is None else welch_interval(seeds[measure], their_seeds[measure])
        )
        yield {
            "claim": claim,
            **ours.iloc[0][[*CASE, "fidelity", "gamma"]],
            "against": against,
            "measure": measure,
            "difference": interval.mean,
            "low": interval.low,
            "high": interval.high,
            "seed_low": across.low,
            "seed_high": across.high,
            "n_photos": interval.n,
            "n_seeds": len(seeds),
            "p": signed_rank_test(differences[measure]),
        }
