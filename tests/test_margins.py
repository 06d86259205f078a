"""Answers against a margin, and whether plan, README and tables agree."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pandas as pd
import pytest

from lpie.evidence.answers import answer
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


def test_what_the_readme_says_of_the_study_stands_in_its_tables() -> None:
    text = " ".join((PUBLISHED.parents[1] / "README.md").read_text(encoding="utf-8").split())
    ladder = pd.read_csv(PUBLISHED / "ladder.csv").set_index(["operator", "network", "objective"]).loc["tone", "can24"]
    pleased, plain = ladder.loc["l2+0.001compact"], ladder.loc["l2"]
    gain = pleased["score_compact"] - plain["score_compact"]
    assert f"raises its score of CAN24 by {gain:.2f}, and {pleased['plain']:.0%}".replace("%", " %") in text
    assert pleased["score_technical"] > plain["score_technical"]  # "likes even that"

    answers = pd.read_csv(PUBLISHED / "answers.csv")
    asked = answers[(answers["claim"] == "C1") & (answers["role"] == "human reference")]
    within, cases = (int(asked[column].sum()) for column in ("no difference that matters", "cases"))
    assert f"less than their margins in {within} of {cases} cases" in text

    runs = pd.read_csv(PUBLISHED / "runs.csv")
    alone = runs[(runs["objective"] == "l2") & (runs["operator"] == "dehaze")].groupby("network")["validation_psnr"]
    psnr = alone.agg(["count", "min", "max", "mean"]).round(1)
    (seeds, low, high, _), grid = psnr.loc["can24"], psnr.loc["grid"]
    assert f"{('one', 'two', 'three', 'four', 'five')[int(seeds) - 1]} seeds of CAN24" in text
    assert f"{low} to {high} dB to the operator on validation photographs" in text
    assert f"five of the grid to {grid['min']} to {grid['max']}" in text
    assert grid["count"] == 5
    assert f"comes to {psnr.loc['parameters', 'mean']}" in text
