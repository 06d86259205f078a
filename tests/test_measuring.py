"""Measuring in processes of their own, beside a training."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from lpie.judges import load_rater
from lpie.study import measuring as module
from lpie.study.evaluation import measure
from lpie.study.measuring import measuring
from lpie.study.targets import Scene


def scenes_of(count: int) -> list[Scene]:
    generator = torch.Generator().manual_seed(5)
    photos = (torch.rand((count, 3, 48, 40), generator=generator) * 255).to(torch.uint8)
    return [Scene(f"photo{i}", "test", photo, photo // 2 + 30, truth=photo // 3) for i, photo in enumerate(photos)]


def test_processes_measure_what_measure_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 2)
    scenes = scenes_of(5)
    outputs = [scene.photo // 2 + 60 for scene in scenes]
    judges = {"compact": load_rater("compact", "cpu")}
    with measuring(tuple(judges), 1) as beside:
        for run in ("first", "second"):
            beside.submit(tmp_path / f"{run}.csv", run, outputs, scenes)
    for run in ("first", "second"):
        expected = measure(run, outputs, scenes, judges, "cpu")
        pd.testing.assert_frame_equal(pd.read_csv(tmp_path / f"{run}.csv"), expected, rtol=1e-5, check_dtype=False)


def test_an_error_in_a_process_is_raised_and_nothing_is_written(tmp_path: Path) -> None:
    scenes = scenes_of(2)
    with pytest.raises(ValueError, match="photo1"), measuring((), 1) as beside:
        beside.submit(tmp_path / "scores.csv", "run", [scenes[0].photo, scenes[1].photo[:, :20]], scenes)
    assert not (tmp_path / "scores.csv").exists()
