"""What an enhancement must pass, role by role, and which configurations pass it.

Measured on the test photos at weights that validation chose, against the bounds of `Evidence.criteria`. A criterion
uses the instruments that have its role (`lpie.judges.JUDGES`); where none of them was measured, it is not passed.
"""

from __future__ import annotations

import pandas as pd

from lpie.evidence.evidence import UNKNOWN, Evidence
from lpie.evidence.gains import CONFIGURATION, NEARER
from lpie.evidence.statistics import Interval, paired_interval
from lpie.judges import JUDGES


def recipe_check(evidence: Evidence, configuration: pd.Series) -> pd.DataFrame:
    """Whether a configuration is an enhancement: one row per criterion, with value, bound, interval and `passed`.

    Veto: little unexplained change. Visible difference: near enough to the operator's target. Human reference: not
    farther from a person's rendition than the target, by more than a margin. Preference: every judge not below the
    target, some above it, and above the trivial edit with the largest PSNR that is not above the configuration's, so
    that it may change as much or more.
    """
    criteria, rows, across = evidence.criteria, evidence.rows(configuration), evidence.across_photos
    checks = []
    for role, name, column, bound in (
        ("veto", "unexplained", "unexplained", criteria.most_unexplained),
        ("visible difference", "ciede2000", "color_shift", criteria.largest_color_shift),
    ):
        measured = column in rows and rows[column].notna().any()
        value = across(rows, column) if measured else UNKNOWN
        text = f"{role}: {JUDGES[name].label}, at most" + ("" if measured else " (not measured)")
        checks.append(_check(text, value, bound, "most"))
    nearing = [name for name in evidence.nearing if rows[f"{NEARER}{name}"].notna().any()]  # scenes may have no truth
    for name in nearing:
        text = f"human reference: not farther than the target ({JUDGES[name].label})"
        checks.append(_check(text, across(rows, f"{NEARER}{name}"), -JUDGES[name].margin, "low"))
    if not nearing:
        checks.append(_check("human reference: not farther than the target (not measured)", UNKNOWN, 0.0, "most"))
    judged = {name: across(rows, f"gain_{name}") for name in evidence.preferring}
    if not judged:
        checks.append(_check("preference: above the target (no instrument)", UNKNOWN, 0.0, "above"))
    for name, gain in judged.items():
        checks.append(_check(f"preference: {name} not below the target", gain, criteria.judge_slack, "low"))
    if judged:
        name, gain = max(judged.items(), key=lambda item: item[1].low)
        checks.append(_check(f"preference: some judge above the target ({name})", gain, 0.0, "above"))
    return pd.DataFrame(checks + _check_trivial(evidence, rows))


def _check(criterion: str, value: Interval, bound: float, rule: str) -> dict[str, object]:
    passed = {"low": value.low >= bound, "above": value.low > bound, "most": value.mean <= bound}[rule]
    row = {"criterion": criterion, "value": value.mean, "low": value.low, "high": value.high}
    return row | {"rule": rule, "bound": bound, "n": value.n, "passed": bool(passed)}


def _check_trivial(evidence: Evidence, rows: pd.DataFrame) -> list[dict[str, object]]:
    edit = trivial_at(evidence.gains, rows, evidence.own_critic(rows.iloc[0]))
    checks = []
    for name in evidence.preferring:
        if edit is None:
            difference, note = UNKNOWN, " (not evaluated)"
        else:
            theirs = edit.groupby("photo")[f"gain_{name}"].mean()
            difference = paired_interval(evidence.photo_means(rows)[f"gain_{name}"] - theirs)
            note = f" at {edit['psnr'].mean():.1f} dB"
        checks.append(_check(f"preference: {name} above the trivial edit{note}", difference, 0.0, "above"))
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
    for _, configuration in evidence.trained_with_critic.iterrows():
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
