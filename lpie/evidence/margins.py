"""Differences between two sets of runs, held against margins that were set before.

    python -m lpie.evidence.margins results/published/whole_photographs

The folder holds `test.csv` and `confirmation.csv` (a row per run and photo) and `groups.csv` (which runs are compared
with which: label, runs, controls; several seeds, separated by spaces, are averaged photo by photo).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import typer

from lpie.evidence.answers import answer
from lpie.evidence.statistics import Interval, paired_interval
from lpie.judges import JUDGES

MARGINS = {f"score_{name}": JUDGES[name].margin for name in ("technical", "niqe")} | {"expert_c": 0.1}
"""Less than this is no difference that matters: points, points, CIEDE2000 (lower is better there)."""
SHOWN = ("psnr", "color_shift", "score_compact", "score_ava", "score_robust")
"""Measures that are shown without a verdict."""
LOWER_IS_BETTER = ("expert_c", "color_shift")


def compare(scores: pd.DataFrame, runs: list[str], controls: list[str]) -> pd.DataFrame:
    """A row per measure: the paired difference of `runs` to `controls` over photos, its interval, answer and role.

    Where `role` is empty, the instrument has none in which its answer decides a claim: it is a difference, no verdict.
    Raises ValueError for runs that `scores` does not have.
    """
    if missing := sorted({*runs, *controls} - set(scores["run"])):
        raise ValueError(f"No scores of {', '.join(missing)}.")
    ours, theirs = (
        scores[scores["run"].isin(some)].groupby("photo").mean(numeric_only=True) for some in (runs, controls)
    )
    rows = []
    for measure in (*SHOWN, *MARGINS):
        change = (ours[measure] - theirs[measure]).replace([float("inf"), float("-inf")], float("nan")).dropna()
        if len(change) < 2:
            continue
        found = paired_interval(change.to_numpy())
        better = Interval(-found.mean, -found.high, -found.low, found.n) if measure in LOWER_IS_BETTER else found
        verdict = answer(better, MARGINS[measure]) if measure in MARGINS else ""
        row = {"measure": measure, "difference": str(found), "photos": found.n, "answer": verdict}
        rows.append(row | {"role": role_of(measure)})
    return pd.DataFrame(rows)


def role_of(measure: str) -> str:
    """The role in which an answer about `measure` decides, if its instrument has it; expert C's is by CIEDE2000."""
    role, name = ("human reference", "ciede2000") if measure == "expert_c" else ("preference", measure[len("score_") :])
    return role if name in JUDGES and role in JUDGES[name].roles else ""


def main(folder: Path) -> None:
    """Print the comparisons of a folder and write them as `comparisons.csv` there."""
    tables = []
    for name in ("test", "confirmation"):
        scores = pd.read_csv(folder / f"{name}.csv")
        for group in pd.read_csv(folder / "groups.csv").itertuples(index=False):
            runs, controls = str(group.runs).split(), str(group.controls).split()
            if {*runs, *controls} <= set(scores["run"]):
                tables.append(compare(scores, runs, controls).assign(photographs=name, label=str(group.label)))
    table = pd.concat(tables, ignore_index=True)
    table.to_csv(folder / "comparisons.csv", index=False)
    with pd.option_context("display.width", 200, "display.max_rows", None):
        wide = table.pivot_table("difference", ["photographs", "label"], "measure", aggfunc="first")
        print(wide[list(dict.fromkeys(table["measure"]))].to_string())
        judged = table[table["answer"] != ""].pivot_table(
            "answer", ["photographs", "label"], "measure", aggfunc="first"
        )
        print(judged.to_string())


if __name__ == "__main__":
    typer.run(main)
