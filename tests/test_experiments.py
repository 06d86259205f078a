"""Running the rows of a table: each once, whatever was interrupted, and what is left on disk."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor

from lpie.evidence import Evidence
from lpie.evidence.results import RUN_COLUMNS, crop_path, read_logs, read_results
from lpie.operators import ToneSettings
from lpie.study import experiments
from lpie.study.experiments import (
    Results,
    crop_corner,
    run_studies,
    shown_scenes,
)
from lpie.study.settings import Schedule, Study, headline_at, headline_studies, ladder_studies, preview_studies
from lpie.study.study_file import find_profile
from lpie.study.targets import Scene

SHORT = Schedule(steps=2, batch=1, sides=(40,), checkpoint_every=2, validate_every=2)
STUDIES = (Study(network="grid", schedule=SHORT), Study(network="grid", fidelity="l1", seed=1, schedule=SHORT))


def make_scenes() -> list[Scene]:
    generator = torch.Generator().manual_seed(3)
    splits = ("train", "validation", "test", "test", "test", "test")
    made = []
    for index, split in enumerate(splits):
        photo = (torch.rand((3, 40, 48), generator=generator) * 255).to(torch.uint8)
        made.append(Scene(f"photo{index}", split, photo, photo // 2 + 40))  # type: ignore[arg-type]
    return made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results folder; photographs and judges are invented, all else is the real thing."""
    scenes = make_scenes()
    monkeypatch.setattr(experiments, "load_scenes", lambda *_: scenes)
    monkeypatch.setattr(experiments, "load_judges", lambda *_: {"compact": brightness, "oasis": brightness})
    return tmp_path


def brightness(photo: Tensor) -> Tensor:
    return 10 * photo.mean(dim=(1, 2, 3))


def test_runs_and_scores_come_back_whole_and_lie_on_disk(folder: Path) -> None:
    runs, scores = run_studies(find_profile("smoke"), STUDIES, folder, "cpu")
    assert list(runs.columns) == RUN_COLUMNS
    assert set(runs["run"]) == {"tone-input", "tone-target", STUDIES[0].name, STUDIES[1].name}
    assert set(scores["photo"]) == {f"photo{index}" for index in range(1, 6)}
    assert len(scores) == 4 * 5
    row = runs.set_index("run").loc[STUDIES[1].name]
    assert (row["fidelity"], row["seed"], row["steps"], row["objective"]) == ("l1", 1, 2, "l1")
    pd.testing.assert_frame_equal(pd.read_csv(folder / "scores.csv"), read_results(folder)[1])
    assert set(read_logs(folder)["run"]) == {study.name for study in STUDIES}


def test_studies_of_another_target_do_not_mix_with_those_of_a_folder(folder: Path) -> None:
    smoke = find_profile("smoke")
    run_studies(smoke, STUDIES[:1], folder, "cpu")
    other = replace(STUDIES[0], settings=ToneSettings(alpha=0.3))
    with pytest.raises(ValueError, match="other settings than the profile"):
        run_studies(smoke, [other], folder, "cpu")
    with pytest.raises(ValueError, match="name another folder"):
        run_studies(replace(smoke, settings={"tone": {"alpha": 0.3}}), [other], folder, "cpu")


def test_a_finished_run_is_neither_trained_nor_scored_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_studies(find_profile("smoke"), STUDIES, folder, "cpu")
    before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/**/*") if path.is_file()}
    monkeypatch.setattr(experiments, "load_scenes", lambda *_: pytest.fail("nothing is left to do"))
    run_studies(find_profile("smoke"), STUDIES, folder, "cpu")
    assert {path: path.stat().st_mtime_ns for path in folder.glob("runs/**/*") if path.is_file()} == before


def test_a_run_that_was_trained_but_not_scored_is_scored_from_its_weights(folder: Path) -> None:
    _, first = run_studies(find_profile("smoke"), STUDIES[:1], folder, "cpu")
    place = folder / "runs" / STUDIES[0].name
    weights = (place / "weights.safetensors").stat().st_mtime_ns
    (place / "scores.csv").unlink()
    _, second = run_studies(find_profile("smoke"), STUDIES[:1], folder, "cpu")
    assert (place / "weights.safetensors").stat().st_mtime_ns == weights
    pd.testing.assert_frame_equal(first, second)


def test_a_new_judge_scores_every_run_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_studies(find_profile("smoke"), STUDIES[:1], folder, "cpu")
    monkeypatch.setattr(experiments, "load_judges", lambda *_: {"compact": brightness, "niqe": brightness})
    _, scores = run_studies(find_profile("smoke"), STUDIES[:1], folder, "cpu")
    assert scores["score_niqe"].notna().all()


def test_results_are_read_in_the_order_in_which_they_are_shown(folder: Path) -> None:
    study = STUDIES[0]
    with_critic = replace(study, critic="compact", gamma=1e-3)
    runs, scores = run_studies(find_profile("smoke"), [with_critic, STUDIES[1], study], folder, "cpu")
    trained = [STUDIES[1].name, study.name, with_critic.name]
    assert runs["run"].tolist() == [*trained, "tone-input", "tone-target"]
    assert scores["run"].unique().tolist() == runs["run"].tolist()


def test_a_half_written_run_counts_as_not_there(folder: Path) -> None:
    run_studies(find_profile("smoke"), STUDIES[:1], folder, "cpu")
    (folder / "runs" / STUDIES[0].name / "run.json").unlink()
    assert not Results(folder, {}, "cpu").have(STUDIES[0].name)
    assert STUDIES[0].name not in set(read_results(folder)[0]["run"])


def test_a_folder_without_results_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no finished run"):
        read_results(tmp_path / "empty")


def test_results_of_several_processes_are_read_as_one(folder: Path) -> None:
    """Another process has finished the second run: its folder appears, nobody was told."""
    run_studies(find_profile("smoke"), STUDIES, folder, "cpu")
    (folder / "runs" / STUDIES[1].name).rename(folder / "elsewhere")
    run_studies(find_profile("smoke"), STUDIES[:1], folder, "cpu")
    assert STUDIES[1].name not in set(pd.read_csv(folder / "runs.csv")["run"])
    (folder / "elsewhere").rename(folder / "runs" / STUDIES[1].name)
    assert STUDIES[1].name in set(read_results(folder)[0]["run"])


def test_crops_are_kept_of_three_test_photos_by_the_first_seed_only(folder: Path) -> None:
    run_studies(find_profile("smoke"), STUDIES, folder, "cpu")
    kept = sorted(path.stem for path in (folder / "runs" / STUDIES[0].name / "crops").glob("*.png"))
    assert len(kept) == 3
    assert not (folder / "runs" / STUDIES[1].name / "crops").exists()
    scene = make_scenes()[int(kept[0].removeprefix("photo"))]
    stored = Image.open(crop_path(folder, "tone-target", scene.name))
    assert np.array_equal(np.asarray(stored), scene.target.permute(1, 2, 0).numpy())


def test_the_window_lies_where_the_operator_changes_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments, "CROP", 32)
    photo = torch.zeros(3, 100, 120, dtype=torch.uint8)
    target = photo.clone()
    target[:, 50:80, 66:96] = 200
    assert crop_corner(Scene("a", "test", photo, target)) == (48, 64)
    small = torch.zeros(3, 20, 10, dtype=torch.uint8)
    assert crop_corner(Scene("b", "test", small, small)) == (0, 0)


def test_shown_photos_are_spread_over_the_test_split() -> None:
    scenes = [replace(make_scenes()[2], name=str(index)) for index in range(12)]
    assert shown_scenes(scenes) == [2, 6, 10]
    assert shown_scenes(scenes[:1]) == [0]
    assert shown_scenes([replace(scene, public=index in (3, 4)) for index, scene in enumerate(scenes)]) == [3, 4]
    assert shown_scenes([replace(scenes[0], split="train")]) == []


def test_unavailable_judges_are_named_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(experiments, "available_raters", lambda: ("niqe",))
    monkeypatch.setattr(experiments, "load_rater", lambda *_: brightness)
    with caplog.at_level(logging.WARNING, "lpie"):
        judges = experiments.load_judges(find_profile("study"), "cpu")
    assert judges == {"niqe": brightness}
    assert "compact, robust, technical" in caplog.text


def test_the_headline_has_l2_at_every_seed_and_l1_at_fewer_at_the_chosen_weight() -> None:
    profile = find_profile("study")
    studies = headline_studies(profile, "dehaze", "grid", "ava", 0.25)
    wanted = {("l2", seed) for seed in profile.seeds} | {("l1", seed) for seed in profile.fewer_seeds}
    assert {(study.fidelity, study.seed) for study in studies} == wanted
    assert {(study.operator, study.network, study.critic, study.gamma) for study in studies} == {
        ("dehaze", "grid", "ava", 0.25)
    }


def test_the_preview_is_part_of_the_ladder() -> None:
    profile = find_profile("demo")
    previewed = [study for study in preview_studies(profile, "tone") if study.fidelity == "l2"]
    assert set(previewed) <= set(ladder_studies(profile, "tone"))


def test_the_headline_stage_follows_the_ladders_choice(folder: Path) -> None:
    profile = replace(find_profile("smoke"), schedule=SHORT)
    ladder = [replace(study, schedule=SHORT) for study in ladder_studies(profile, "tone")]
    for study, gain in zip(ladder, (0.1, 0.2), strict=True):  # as if trained: only records and scores are read
        place = folder / "runs" / study.name
        place.mkdir(parents=True)
        record = {"run": study.name, "study": json.loads(json.dumps(vars(study), default=vars))}
        (place / "run.json").write_text(json.dumps(record))
        rows = {"run": study.name, "photo": "a", "split": "validation", "psnr": 30.0, "score_compact": 5 + gain}
        pd.DataFrame([rows]).to_csv(place / "scores.csv", index=False)
    place = folder / "runs" / "tone-target"
    place.mkdir()
    (place / "run.json").write_text(json.dumps({"run": "tone-target", "operator": "tone", "network": "target"}))
    target = {"run": "tone-target", "photo": "a", "split": "validation", "psnr": 99.0, "score_compact": 5.0}
    pd.DataFrame([target]).to_csv(place / "scores.csv", index=False)
    assert Evidence.read(folder).choices["gamma"].tolist() == [1e-2]
    studies = experiments.chosen_studies(profile, "tone", folder)
    assert {study.gamma for study in studies} == {1e-2}
    for others in ({"networks": ("can32",)}, {"critics": ("robust",)}):
        assert not experiments.chosen_studies(replace(profile, **others), "tone", folder)


def test_the_headline_can_be_had_at_a_weight_that_validation_did_not_choose() -> None:
    profile = replace(find_profile("study"), networks=("grid",), critics=("robust",), gammas=(0.02,), seeds=(1, 4))
    studies = headline_at(profile, "tone")
    assert [(study.fidelity, study.seed) for study in studies] == [
        ("l2", 1),
        ("l2", 4),
        ("l1", 0),
        ("l1", 1),
        ("l1", 2),
    ]
    assert {(study.network, study.critic, study.gamma) for study in studies} == {("grid", "robust", 0.02)}
