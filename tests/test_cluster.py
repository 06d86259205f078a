"""A study on a Dask cluster: the same tables as in one process, resumable; a lost scheduler is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from lpie.study.experiments import run_studies
from lpie.study.settings import Schedule, fidelity_studies, ladder_studies, preview_studies
from lpie.study.study_file import find_profile

distributed = pytest.importorskip("distributed")

from lpie.engine import cluster  # noqa: E402 - without Dask there is nothing to test

SMALL = replace(
    find_profile("smoke"),
    operators=("tone",),
    fidelities=("l2",),
    gammas=(0.01,),
    judges=("niqe",),
    shortest_side=48,
    schedule=Schedule(steps=2, batch=1, sides=(32,), checkpoint_every=2, validate_every=2),
)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_workers_make_the_tables_of_one_process_and_a_second_start_does_nothing(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    studies = [study for kind in (fidelity_studies, preview_studies, ladder_studies) for study in kind(SMALL, "tone")]
    run_studies(SMALL, studies, here, "cpu")
    cluster.train_on("local:2", SMALL, there)
    names = {path.name for path in (here / "runs").iterdir()}
    assert names <= {path.name for path in (there / "runs").iterdir()}
    for name in names:
        for part in ("scores.csv", "weights.safetensors", "log.csv"):
            one, other = here / "runs" / name / part, there / "runs" / name / part
            assert one.exists() == other.exists()
            assert not one.exists() or one.read_bytes() == other.read_bytes(), (name, part)
    _, scores = run_studies(SMALL, studies, there, "cpu")
    assert set(scores["run"]) >= names
    before = {path: path.stat().st_mtime_ns for path in there.rglob("*.safetensors")}
    cluster.train_on("local:2", SMALL, there)
    assert {path: path.stat().st_mtime_ns for path in there.rglob("*.safetensors")} == before


def test_a_scheduler_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "ANSWER_WITHIN", 1)
    with pytest.raises(ConnectionError, match=r"tcp://127\.0\.0\.1:9 does not answer"):
        cluster.train_on("tcp://127.0.0.1:9", SMALL, tmp_path)


def test_a_run_that_came_back_is_whole_only_with_its_record(tmp_path: Path) -> None:
    cluster._keep(tmp_path / "run", {"run.json": json.dumps({}).encode(), "crops/a.png": b"x", "scores.csv": b"run\n"})
    assert pd.read_csv(tmp_path / "run" / "scores.csv").empty
    assert (tmp_path / "run" / "crops" / "a.png").read_bytes() == b"x"
