"""Training: the draws, the crops, exact resume, and that it learns."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from lpie.records import read_tensors
from lpie.study import training
from lpie.study.crops import CropPool, draw_crops
from lpie.study.settings import Schedule, Study
from lpie.study.targets import Scene

SHORT = Schedule(steps=6, batch=2, crop=24, learning_rate=3e-3, checkpoint_every=2, validate_every=3)
STUDY = Study(network="grid", schedule=SHORT)


@pytest.fixture
def scenes() -> list[Scene]:
    """Smooth random photographs of several sizes; the target is half as bright."""
    generator = torch.Generator().manual_seed(7)
    made = []
    for index, (height, width) in enumerate([(32, 40), (40, 32), (33, 47), (30, 30), (36, 36)]):
        coarse = torch.rand((1, 3, 4, 4), generator=generator)
        photo = (torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0] * 255).to(torch.uint8)
        split = "validation" if index == 4 else "train"
        transmission = torch.full((1, height, width), 128, dtype=torch.uint8)
        made.append(Scene(f"scene{index}", split, photo, photo // 2, torch.full((3,), 0.8), transmission))
    return made


def test_crops_are_the_named_windows_mirrored_where_said(scenes: list[Scene]) -> None:
    pool = CropPool(scenes, False, torch.device("cpu"))
    draws = torch.tensor([[1, 5, 2, 0], [2, 3, 7, 1]])
    photo, target, estimate = pool.crops(draws, 20)
    assert estimate is None
    assert torch.equal(photo[0], scenes[1].photo[:, 5:25, 2:22].float() / 255)
    assert torch.equal(target[1], scenes[2].target[:, 3:23, 7:27].flip(-1).float() / 255)


def test_draws_stay_inside_every_scene_and_reach_its_borders() -> None:
    sizes = torch.tensor([[24, 30], [26, 24], [10, 90]])
    draws = draw_crops(0, Schedule(steps=500, batch=4, crop=24), sizes).reshape(-1, 4)
    ends = draws[:, 1:3] + 24
    assert (ends <= sizes[draws[:, 0]]).all()
    assert set(draws[:, 0].tolist()) == {0, 1}  # the third is too small
    assert draws[draws[:, 0] == 0, 2].unique().tolist() == list(range(7))


def test_a_crop_larger_than_every_scene_is_refused(scenes: list[Scene], tmp_path: Path) -> None:
    study = replace(STUDY, schedule=replace(SHORT, crop=64))
    with pytest.raises(ValueError, match="use a smaller crop"):
        training.train([study], scenes, tmp_path, "cpu")


def test_an_interrupted_run_ends_with_the_bytes_of_an_undisturbed_one(
    scenes: list[Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training.train([STUDY], scenes, tmp_path / "whole", "cpu")
    step = training.Run._one_step

    def stop_at_five(run: training.Run) -> None:
        if run.step == 5:
            raise KeyboardInterrupt
        step(run)

    monkeypatch.setattr(training.Run, "_one_step", stop_at_five)
    with pytest.raises(KeyboardInterrupt):
        training.train([STUDY], scenes, tmp_path / "broken", "cpu")
    assert not (tmp_path / "broken" / STUDY.name / "run.json").exists()
    monkeypatch.undo()
    training.train([STUDY], scenes, tmp_path / "broken", "cpu")
    for name in ("weights.safetensors", "log.csv"):
        whole, resumed = (tmp_path / kind / STUDY.name / name for kind in ("whole", "broken"))
        assert whole.read_bytes() == resumed.read_bytes()


def test_runs_trained_together_equal_runs_trained_alone(scenes: list[Scene], tmp_path: Path) -> None:
    other = replace(STUDY, fidelity="l1", seed=1)
    training.train([STUDY, other], scenes, tmp_path / "together", "cpu")
    for study in (STUDY, other):
        training.train([study], scenes, tmp_path / "alone", "cpu")
        together, alone = (
            (tmp_path / kind / study.name / "weights.safetensors").read_bytes() for kind in ("together", "alone")
        )
        assert together == alone


def test_the_seed_changes_the_result(scenes: list[Scene], tmp_path: Path) -> None:
    other = replace(STUDY, seed=1)
    training.train([STUDY, other], scenes, tmp_path, "cpu")
    first, second = (read_tensors(tmp_path / study.name / "weights.safetensors")[0] for study in (STUDY, other))
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_training_learns_a_simple_target(scenes: list[Scene], tmp_path: Path) -> None:
    study = replace(STUDY, schedule=replace(SHORT, steps=120, learning_rate=1e-2, validate_every=60))
    training.train([study], scenes, tmp_path, "cpu")
    log = pd.read_csv(tmp_path / study.name / "log.csv")
    loss = log["loss"].dropna()
    assert loss.iloc[-1] < loss.iloc[0] / 10
    assert log["validation_psnr"].dropna().iloc[-1] > 25


def test_a_finished_run_records_its_study_and_is_not_trained_again(scenes: list[Scene], tmp_path: Path) -> None:
    training.train([STUDY], scenes, tmp_path, "cpu")
    record = json.loads((tmp_path / STUDY.name / "run.json").read_text())
    assert Study(**{**record["study"], "schedule": SHORT, "tone": STUDY.tone, "haze": STUDY.haze}) == STUDY
    before = (tmp_path / STUDY.name / "weights.safetensors").stat().st_mtime_ns
    training.train([STUDY], scenes, tmp_path, "cpu")
    assert (tmp_path / STUDY.name / "weights.safetensors").stat().st_mtime_ns == before


def test_a_finished_run_without_its_weights_is_trained_again(scenes: list[Scene], tmp_path: Path) -> None:
    training.train([STUDY], scenes, tmp_path, "cpu")
    weights = tmp_path / STUDY.name / "weights.safetensors"
    before = weights.read_bytes()
    weights.unlink()
    training.train([STUDY], scenes, tmp_path, "cpu")
    assert weights.read_bytes() == before


def test_a_run_that_diverges_is_named_and_the_others_end(scenes: list[Scene], tmp_path: Path) -> None:
    wild = replace(STUDY, seed=1, schedule=replace(SHORT, learning_rate=1e30))
    others = [replace(STUDY, seed=seed) for seed in (0, 2)]
    with pytest.raises(FloatingPointError, match=f"{wild.name} diverged"):
        training.train([others[0], wild, others[1]], scenes, tmp_path, "cpu")
    assert [training.is_trained(study, tmp_path) for study in (others[0], wild, others[1])] == [True, False, True]


def test_another_study_cannot_continue_from_a_checkpoint(scenes: list[Scene], tmp_path: Path) -> None:
    folder = tmp_path / STUDY.name
    other = replace(STUDY, seed=3)
    run = training.Run(other, scenes, folder, "cpu", {})
    run.advance()
    run._save_checkpoint()
    with pytest.raises(ValueError, match="belongs to another study"):
        training.train([STUDY], scenes, tmp_path, "cpu")
