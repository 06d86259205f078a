"""What an enhancement must pass, and which configurations pass it.

Read off the test photos at weights that validation chose, by the bounds of `Evidence.criteria`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lpie.evidence.evidence import UNKNOWN, Evidence
from lpie.evidence.gains import CONFIGURATION
from lpie.evidence.statistics import Interval, paired_interval, paired_ratio_interval


def recipe_check(evidence: Evidence, configuration: pd.Series) -> pd.DataFrame:
    """Whether a configuration is an enhancement: one row per criterion, with value, bound, interval and `passed`.

    Read off the test photos. A judge is not below the target when the lower bound of its gain is at least
    `criteria.judge_slack`, above it when that bound is positive. The trivial edit compared with has the largest PSNR
    that is not above the configuration's, so that it may change as much or more. Where an edit was not evaluated, the
    comparison counts as not passed and says so; where the critic gains nothing, so does what is left of the gain.
    """
    criteria = evidence.criteria
    rows, critic, across = evidence.rows(configuration), evidence.own_critic(configuration), evidence.across_photos
    checks = [_check("critic's gain over the target", across(rows, f"gain_{critic}"), criteria.enough_gain, "mean")]
    judged = {name: across(rows, f"gain_{name}") for name in evidence.judges}
    checks += [
        _check(f"{name} not below the target", gain, criteria.judge_slack, "low") for name, gain in judged.items()
    ]
    best = max(judged.items(), key=lambda item: np.nan_to_num(item[1].low, nan=-np.inf))
    checks.append(_check(f"some judge above the target ({best[0]})", best[1], 0.0, "above"))
    means = evidence.photo_means(rows)
    prefix = f"kept_{critic}_"
    for column in (name for name in map(str, means) if name.startswith(prefix)):
        gained = means[f"gain_{critic}"].mean() > 0  # of a loss, a share says nothing
        share = paired_ratio_interval(means[column], means[f"gain_{critic}"]) if gained else UNKNOWN
        checks.append(_check(f"gain left after {column.removeprefix(prefix)}", share, criteria.surviving_share, "mean"))
    detail, color = across(rows, "detail_energy"), across(rows, "color_shift")
    checks.append(_check("fine-detail energy, at least", detail, criteria.least_detail, "mean"))
    checks.append(_check("fine-detail energy, at most", detail, criteria.most_detail, "most"))
    checks.append(_check("color shift, at most", color, criteria.largest_color_shift, "most"))
    if "unexplained" in rows and rows["unexplained"].notna().any():  # results before it was measured have none
        unexplained = across(rows, "unexplained")
        checks.append(_check("unexplained change, at most", unexplained, criteria.most_unexplained, "most"))
    checks += _check_trivial(evidence, rows, critic)
    return pd.DataFrame(checks)


def _check(criterion: str, value: Interval, bound: float, rule: str) -> dict[str, object]:
    passed = {
        "mean": value.mean >= bound,
        "low": value.low >= bound,
        "above": value.low > bound,
        "most": value.mean <= bound,
    }[rule]
    row = {"criterion": criterion, "value": value.mean, "low": value.low, "high": value.high}
    return row | {"rule": rule, "bound": bound, "n": value.n, "passed": bool(passed)}


def _check_trivial(evidence: Evidence, rows: pd.DataFrame, critic: str) -> list[dict[str, object]]:
    edit = trivial_at(evidence.gains, rows, critic)
    checks = []
    for name in (critic, *evidence.judges):
        if edit is None:
            difference, note = UNKNOWN, " (not evaluated)"
        else:
            theirs = edit.groupby("photo")[f"gain_{name}"].mean()
            difference = paired_interval(evidence.photo_means(rows)[f"gain_{name}"] - theirs)
            note = f" at {edit['psnr'].mean():.1f} dB"
        checks.append(_check(f"{name} above the trivial edit{note}", difference, 0.0, "above"))
    return checks


def trivial_at(gains: pd.DataFrame, rows: pd.DataFrame, critic: str) -> pd.DataFrame | None:
    """Rows of the trivial edit tuned for `critic` with the largest mean PSNR not above that of `rows`, if any."""
    edits = gains[
        (gains["network"] == "trivial") & (gains["critic"] == critic) & (gains["operator"] == rows["operator"].iloc[0])
    ]
    means = edits.groupby("run")["psnr"].mean()
    means = means[means <= rows["psnr"].mean()]
    return None if means.empty else edits[edits["run"] == means.idxmax()]


def recipe_table(evidence: Evidence) -> pd.DataFrame:
    """`recipe_check` of every configuration with a critic, its columns first; `chosen`: validation chose its weight.

    Only rows with `chosen` are evidence for a recipe; the others say how close another weight would have come.
    """
    chosen = {tuple(row) for row in evidence.chosen.itertuples(index=False)}
    tables = []
    for _, configuration in evidence.taught.iterrows():
        known = {**configuration, "chosen": tuple(configuration) in chosen}
        check = recipe_check(evidence, configuration)
        tables.append(pd.DataFrame([known] * len(check)).join(check))
    return (
        pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=[*CONFIGURATION, "chosen", "passed"])
    )


def recipe_summary(checks: pd.DataFrame) -> pd.DataFrame:
    """One row per configuration of `recipe_table`: how many criteria it passes, of how many, and which it fails.

    Sorted: chosen weights first, those that pass most first.
    """
    rows = []
    for key, group in checks.groupby([*CONFIGURATION, "chosen"], sort=False):
        failed = ", ".join(group.loc[~group["passed"], "criterion"])
        passed = {"passed": int(group["passed"].sum()), "criteria": len(group), "fails": failed}
        rows.append(dict(zip([*CONFIGURATION, "chosen"], key, strict=True)) | passed)
    table = pd.DataFrame(rows, columns=[*CONFIGURATION, "chosen", "passed", "criteria", "fails"])
    return table.sort_values(["operator", "chosen", "passed"], ascending=[False, False, False], kind="stable")
