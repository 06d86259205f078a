"""Taking finished networks to photographs that nobody has looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

from lpie.evidence.results import read_results
from lpie.imaging.color import to_uint8
from lpie.judges import JUDGES
from lpie.study import confirmation, experiments, rivals
from lpie.study.confirmation import confirm
from lpie.study.rivals import GlobalEdit
from lpie.study.settings import STUDIED, Schedule, Study
from lpie.study.sources import find_sources
from lpie.study.study_file import find_profile
from lpie.study.targets import Scene

SHORT = Schedule(steps=2, batch=1, sides=(40,), checkpoint_every=2, validate_every=2)
STUDIES = tuple(Study(network="grid", critic="compact", gamma=0.01, seed=seed, schedule=SHORT) for seed in (0, 1))


def brightness(photo: Tensor) -> Tensor:
    return 10 * photo.mean(dim=(1, 2, 3))


def scenes_of(splits: tuple[str, ...], seed: int) -> list[Scene]:
    photos = to_uint8(torch.rand((len(splits), 3, 40, 48), generator=torch.Generator().manual_seed(seed)))
    return [
        Scene(f"photo{seed}-{index}", split, photo, photo // 2 + 40)  # type: ignore[arg-type]
        for index, (split, photo) in enumerate(zip(splits, photos, strict=True))
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished study of two seeds and four trivial edits; photographs and judges are invented."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield invent_study(tmp_path_factory.mktemp("study"), monkeypatch)


def invent_study(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    seen = scenes_of(("train", "validation", "test", "test"), 1)
    judges = {"compact": brightness, "technical": lambda photo: -brightness(photo)}
    monkeypatch.setattr(experiments, "load_judges", lambda *_: judges)
    for module in (experiments, rivals):
        monkeypatch.setattr(module, "load_scenes", lambda *_: seen)
    monkeypatch.setattr(confirmation, "load_scenes", lambda *_, **__: scenes_of(("confirmation",) * 6, 2))
    experiments.run_studies(find_profile("smoke"), STUDIES, folder, "cpu")
    reported = [scene for scene in seen if scene.split != "train"]
    for decibels, stops in ((16, 0.5), (22, 0.2), (28, 0.1), (34, 0.05)):
        edited = [to_uint8(GlobalEdit(stops)(scene.target[None].float() / 255))[0] for scene in reported]
        experiments.Results(folder, judges, "cpu").add(
            "tone", f"trivial-compact-{decibels}dB", edited, reported, network="trivial", critic="compact",
            decibels=decibels, exposure=stops, contrast=1.0, saturation=1.0,
        )  # fmt: skip
    monkeypatch.setitem(JUDGES, "technical", replace(JUDGES["technical"], roles=("preference",)))
    return folder


@pytest.fixture(scope="module")
def table(folder: Path) -> pd.DataFrame:
    return confirm(folder, "grid", ["l2+0.01compact"], "cpu")


def test_networks_and_their_nearest_edits_are_judged_on_the_fresh_photographs_alone(
    folder: Path, table: pd.DataFrame
) -> None:
    runs, scores = read_results(folder / "confirmation")
    assert set(scores["photo"]) == {f"photo2-{index}" for index in range(6)}
    assert set(runs["network"]) == {"input", "target", "grid", "trivial"}
    assert (runs["network"] == "trivial").sum() == 3
    assert {study.name for study in STUDIES} <= set(runs["run"])
    pd.testing.assert_frame_equal(pd.read_csv(folder / "confirmation.csv"), table, check_dtype=False, atol=1e-4)
    gain = table.set_index("criterion").loc["preference: technical not below the target"]
    means = scores.groupby("run")["score_technical"].mean()
    ours = means[[study.name for study in STUDIES]].mean() - means["tone-target"]
    assert gain["value"] == pytest.approx(ours, abs=1e-4)
    assert gain["n"] == 6


@pytest.mark.usefixtures("table")
def test_what_was_judged_is_not_judged_again(folder: Path) -> None:
    written = {path: path.stat().st_mtime_ns for path in (folder / "confirmation" / "runs").rglob("*.csv")}
    confirm(folder, "grid", ["l2+0.01compact"], "cpu")
    assert {path: path.stat().st_mtime_ns for path in (folder / "confirmation" / "runs").rglob("*.csv")} == written


def test_an_objective_that_was_not_trained_is_named(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no tone by grid with l2\+0.5ava"):
        confirm(folder, "grid", ["l2+0.01compact", "l2+0.5ava"], "cpu")


def test_fresh_photographs_are_none_of_the_study(data: Path) -> None:
    profile = find_profile("study")
    study, fresh = (
        {source.path for source in find_sources(profile, "tone", kind)} for kind in (STUDIED, ("confirmation",))
    )
    assert len(fresh) == 140 + 150
    assert not study & fresh
