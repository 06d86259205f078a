"""Every paired difference that a claim about the learned critic rests on, one row each.

A case is one operator, one network and one critic, at the weight that validation chose or at one that is asked for. It
is compared with the same network trained without the critic, or with the operator's target.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from lpie.evidence.gains import FAMILIES, chosen_configurations, gained_names, photo_gains, select
from lpie.evidence.statistics import holm, paired_interval, signed_rank_test, student_interval, welch_interval

CASE = ["operator", "network", "critic"]


def comparisons(runs: pd.DataFrame, scores: pd.DataFrame, configurations: pd.DataFrame | None = None) -> pd.DataFrame:
    """Every paired difference over test photos that a claim rests on, one row each.

    `configurations`, with the columns of `evidence.CONFIGURATION`, are compared; those of chosen weights if not given.

    Columns: claim, the case, fidelity, against (what it is compared with), measure, difference with low and high (BCa
    across photos), seed_low and seed_high (across seeds, NaN where a side has one), n_photos, n_seeds, p and p_holm
    (adjusted over the claim's rows).
    """
    gains = photo_gains(runs, scores)
    rows: list[dict[str, object]] = []
    if configurations is None:
        configurations = pd.concat([chosen_configurations(runs, scores, fidelity) for fidelity in ("l2", "l1")])
    for _, configuration in configurations.iterrows():
        ours = select(gains, configuration)
        judges = gained_names(gains)[1]
        critic, fidelity = str(configuration["critic"]), str(configuration["fidelity"])
        plain = _without_critic(gains, configuration, fidelity)
        if plain is not None:
            rows += [_compare("C1", configuration, fidelity, ours, plain, f"gain_{name}") for name in judges]
        if fidelity != "l2":
            continue
        rows += [_compare("C2", configuration, "target", ours, None, f"gain_{name}") for name in (critic, *judges)]
        for baseline in ("ssim", "ms_ssim", "mix"):
            plain = _without_critic(gains, configuration, baseline)
            if plain is not None:
                rows += [_compare("C7", configuration, baseline, ours, plain, f"gain_{name}") for name in judges]
    rows += _fidelity_comparisons(gains)
    columns = ["claim", *CASE, "fidelity", "gamma", "against", "measure", "difference", "low", "high"]
    table = pd.DataFrame(rows, columns=[*columns, "seed_low", "seed_high", "n_photos", "n_seeds", "p"])
    table["p_holm"] = table.groupby("claim")["p"].transform(lambda p: holm(p.tolist()))
    return table


def _fidelity_comparisons(gains: pd.DataFrame) -> Iterator[dict[str, object]]:
    """For C4, every weight of the ladder against no critic: what its critic gains and what it costs in PSNR."""
    ladder = gains[(gains["gamma"] > 0) & (gains["fidelity"] == "l2") & gains["network"].isin(FAMILIES)]
    for _, ours in ladder.groupby([*CASE, "gamma"], sort=False):
        plain = _without_critic(gains, ours.iloc[0], "l2")
        if plain is not None:
            for measure in (f"gain_{ours['critic'].iloc[0]}", "psnr", "ssim"):
                yield _compare("C4", ours.iloc[0], "l2", ours, plain, measure)


def _without_critic(gains: pd.DataFrame, configuration: pd.Series, fidelity: str) -> pd.DataFrame | None:
    same = (gains["operator"] == configuration["operator"]) & (gains["network"] == configuration["network"])
    rows = gains[same & (gains["fidelity"] == fidelity) & (gains["gamma"] == 0)]
    return None if rows.empty else rows


def _compare(
    claim: str, case: pd.Series, against: str, ours: pd.DataFrame, theirs: pd.DataFrame | None, measure: str
) -> dict[str, object]:
    """Paired differences of photos, each averaged over seeds; against nothing, of the measure itself."""
    differences = ours.groupby("photo")[measure].mean()
    if theirs is not None:
        differences = (differences - theirs.groupby("photo")[measure].mean()).dropna()
    interval, seeds = paired_interval(differences), ours.groupby("seed")[measure].mean()
    across = (
        student_interval(seeds) if theirs is None else welch_interval(seeds, theirs.groupby("seed")[measure].mean())
    )
    return {
        "claim": claim,
        **case[[*CASE, "fidelity", "gamma"]],
        "against": against,
        "measure": measure,
        "difference": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "seed_low": across.low,
        "seed_high": across.high,
        "n_photos": interval.n,
        "n_seeds": ours["seed"].nunique(),
        "p": signed_rank_test(differences),
    }
