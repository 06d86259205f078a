"""What ships is measured as any trained network is, with the operators' own renditions beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from lpie.study import shipped
from lpie.study.settings import Lists, Photographs
from lpie.study.study_file import find_profile

SMALL = replace(
    find_profile("smoke"),
    operators=("tone",),
    critics=("compact",),
    judges=("technical", "niqe"),
    shortest_side=96,
    photographs=(Photographs(set="demo", split=Lists(("astronaut",), ("coffee",), ("china", "rocket"))),),
)


def test_what_ships_is_measured_on_the_photographs_that_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["dehaze-can24-plain", "tone-can24-nima", "tone-can24-plain"]
    monkeypatch.setattr(shipped, "shipped_names", lambda: names)
    evidence = shipped.measure_shipped(SMALL, tmp_path, "cpu")
    runs = pd.read_csv(tmp_path / "runs.csv").set_index("run")
    assert sorted(runs.index) == ["tone-can24-nima", "tone-can24-plain", "tone-input", "tone-target"]
    assert runs.loc["tone-can24-nima", "objective"] == "l2+0.0003compact"
    assert set(pd.read_csv(tmp_path / "scores.csv.xz")["photo"]) == {"china", "rocket"}
    compared = pd.read_csv(tmp_path / "comparisons.csv")
    assert set(compared["claim"]) == {"C1", "C2", "C4"}  # against the plain network, the operator, and in closeness
    means = evidence.scores.groupby("run")["psnr"].mean()
    assert means["tone-can24-plain"] > means["tone-can24-nima"] > means["tone-input"]
    assert (tmp_path / "answers.csv").exists()
