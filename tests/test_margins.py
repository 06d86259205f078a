"""Answers against a margin: what the whole interval says, by measure and by whichever direction is better."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lpie.evidence.answers import answer
from lpie.evidence.margins import compare, role_of
from lpie.evidence.statistics import Interval
from lpie.figures.pictures import PUBLISHED
from lpie.judges import JUDGES
from lpie.study.sources import find_sources
from lpie.study.study_file import find_profile


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.06, 0.2, "better"),
        (-0.2, -0.06, "worse"),
        (-0.04, 0.05, "no difference that matters"),
        (0.01, 0.03, "no difference that matters"),
        (0.04, 0.2, "undecided"),
        (-0.2, 0.2, "undecided"),
    ],
)
def test_the_whole_interval_must_lie_beyond_the_margin_or_within_it(low: float, high: float, expected: str) -> None:
    assert answer(Interval((low + high) / 2, low, high, 40), 0.05) == expected


def test_seeds_are_averaged_and_a_larger_distance_to_the_expert_is_worse() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, 30)
    measures = ("psnr", "color_shift", "score_compact", "score_ava", "score_robust", "score_technical", "score_niqe")
    rows = [
        {"run": run, "photo": f"{photo}", **dict.fromkeys(measures, 1.0), "expert_c": 9 + change + noise[photo]}
        for run, change in (("l2-s0", 0.0), ("l2-s1", 0.2), ("ours-s0", 0.5), ("ours-s1", 0.7))
        for photo in range(30)
    ]
    table = compare(pd.DataFrame(rows), ["ours-s0", "ours-s1"], ["l2-s0", "l2-s1"]).set_index("measure")
    assert table.loc["expert_c", "answer"] == "worse"
    assert table.loc["expert_c", "difference"].startswith("+0.5")
    assert table.loc["score_niqe", "answer"] == "no difference that matters"
    with pytest.raises(ValueError, match="No scores of nobody"):
        compare(pd.DataFrame(rows), ["nobody"], ["l2-s0"])


def test_an_answer_decides_only_where_its_instrument_has_the_role(monkeypatch: pytest.MonkeyPatch) -> None:
    published = pd.read_csv(PUBLISHED / "whole_photographs" / "comparisons.csv", keep_default_na=False)
    assert (published["answer"] != "").any()
    assert list(published["role"]) == [role_of(measure) for measure in published["measure"]]
    assert set(published["role"]) == {""}  # neither technical, NIQE nor CIEDE2000 has earned one
    for name, role in (("technical", "preference"), ("ciede2000", "human reference")):
        monkeypatch.setitem(JUDGES, name, replace(JUDGES[name], roles=(role,)))
    roles = {measure: role_of(measure) for measure in ("score_technical", "score_niqe", "expert_c", "psnr")}
    assert roles == {"score_technical": "preference", "score_niqe": "", "expert_c": "human reference", "psnr": ""}


def test_the_plan_counts_the_photographs_that_have_a_reference(data: Path) -> None:
    plan = tomllib.loads((PUBLISHED / "plan.toml").read_text(encoding="utf-8"))
    for operator, word in (("tone", "photographs, tone"), ("dehaze", "photographs, dehazing")):
        sources = find_sources(find_profile("study"), operator, ("test",))
        known = sum(source.other is not None for source in sources)
        assert f"{known} {word}" in plan["instruments"]["human_reference"]


def test_the_plan_states_the_margins_and_the_rule_that_the_code_keeps() -> None:
    plan = tomllib.loads((PUBLISHED / "plan.toml").read_text(encoding="utf-8"))
    assert plan["margins"] == {name: JUDGES[name].margin for name in plan["margins"]}
    assert str(JUDGES["unexplained"].plain) in plan["instruments"]["veto"]
    profile = find_profile("study")
    assert f"lose at most {profile.criteria['most_lost']:g} dB" in plan["weights"]["rule"]
    assert f"{profile.first_phases['can24'].steps:,}" in plan["training"]["can24"]
    assert f"{profile.own_schedules['can24'].steps:,}" in plan["training"]["can24"]


def test_what_the_readme_says_of_the_third_study_stands_in_its_tables() -> None:
    text = " ".join((PUBLISHED.parents[1] / "README.md").read_text(encoding="utf-8").split())
    ladder = pd.read_csv(PUBLISHED / "tone" / "ladder.csv").set_index(["network", "objective"]).loc["can24"]
    pleased, plain = ladder.loc["l2+0.001compact"], ladder.loc["l2"]
    gain = pleased["score_compact"] - plain["score_compact"]
    assert f"raises its score of CAN24 by {gain:.2f}, and {pleased['plain']:.0%}".replace("%", " %") in text
    assert pleased["score_technical"] > plain["score_technical"]  # "likes even that"

    answers = pd.read_csv(PUBLISHED / "tone" / "answers.csv").set_index(["claim", "instrument"]).loc["C1"]
    within = answers["no difference that matters"]
    assert within[["SSIM", "MS-SSIM", "LPIPS", "ColorVideoVDP"]].tolist() == [6, 6, 6, 5]
    assert answers.loc["ColorVideoVDP", ["cases", "undecided"]].tolist() == [6, 1]

    runs = pd.read_csv(PUBLISHED / "tone" / "dehazing_runs.csv")
    psnr = (
        runs[runs["objective"] == "l2"]
        .groupby("network")["validation_psnr"]
        .agg(["count", "min", "max", "mean"])
        .round(1)
    )
    (seeds, low, high, _), grid = psnr.loc["can24"], psnr.loc["grid"]
    assert seeds == grid["count"] == 5
    assert f"{low} to {high} dB to the operator on validation photographs" in text
    assert f"of the grid to {grid['min']} to {grid['max']}" in text
    assert f"comes to {psnr.loc['parameters', 'mean']}" in text
