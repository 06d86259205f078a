"""Training: the draws, whole photographs, exact resume, and that it learns."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from lpie.networks.bilateral_grid import roughness
from lpie.records import read_tensors, write_tensors
from lpie.study import training
from lpie.study.photograph_pool import PhotographPool, draw_photographs
from lpie.study.settings import Schedule, Study
from lpie.study.targets import Scene

SHORT = Schedule(steps=6, batch=2, sides=(32, 24), learning_rate=3e-3, checkpoint_every=2, validate_every=3)
STUDY = Study(network="grid", schedule=SHORT)


@pytest.fixture
def scenes() -> list[Scene]:
    """Smooth random photographs of several sizes; the target is half as bright."""
    generator = torch.Generator().manual_seed(7)
    made = []
    for index, (height, width) in enumerate([(32, 48), (48, 32), (24, 36), (24, 36), (36, 41)]):
        coarse = torch.rand((1, 3, 4, 4), generator=generator)
        photo = (torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0] * 255).to(torch.uint8)
        split = "validation" if index == 4 else "train"
        transmission = torch.full((1, height, width), 128, dtype=torch.uint8)
        made.append(Scene(f"scene{index}", split, photo, photo // 2, torch.full((3,), 0.8), transmission))
    return made


def test_a_batch_is_the_named_photographs_mirrored_where_said(scenes: list[Scene]) -> None:
    pool = PhotographPool(scenes, False, torch.device("cpu"))
    small = next(frame for frame in pool.frames if frame.side == 24)
    photo, target, estimate = small.batch(torch.tensor([1, 0]), torch.tensor([0, 1]))
    assert estimate is None
    assert torch.equal(photo[0], scenes[3].photo.float() / 255)
    assert torch.equal(target[1], scenes[2].target.flip(-1).float() / 255)


def test_every_side_is_drawn_as_often_and_every_photograph_of_a_side_too() -> None:
    frames = [(24, 1), (32, 30), (32, 10), (99, 5)]
    draws = draw_photographs(0, Schedule(steps=4000, batch=2, sides=(24, 32)), frames)
    share = torch.tensor(draws.frames).bincount(minlength=4) / 4000
    assert share[:3] == pytest.approx([1 / 2, 3 / 8, 1 / 8], abs=0.03)
    assert share[3] == 0
    upright = draws.photos[torch.tensor(draws.frames) == 2].flatten()
    assert upright.unique().tolist() == list(range(10))
    assert draws.mirrored.float().mean() == pytest.approx(0.5, abs=0.03)


def test_a_side_that_no_photograph_has_is_refused(scenes: list[Scene], tmp_path: Path) -> None:
    study = replace(STUDY, schedule=replace(SHORT, sides=(64,)))
    with pytest.raises(ValueError, match=r"No training photograph has a shorter side of 64 px: .*\[24, 32\]"):
        training.train([study], scenes, tmp_path, "cpu")


def test_an_interrupted_run_ends_with_the_bytes_of_an_undisturbed_one(
    scenes: list[Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training.train([STUDY], scenes, tmp_path / "whole", "cpu")
    step = training.Run.one_step

    def stop_at_five(run: training.Run, frame: int) -> None:
        if run.step == 5:
            raise KeyboardInterrupt
        step(run, frame)

    monkeypatch.setattr(training.Run, "one_step", stop_at_five)
    with pytest.raises(KeyboardInterrupt):
        training.train([STUDY], scenes, tmp_path / "broken", "cpu")
    assert not (tmp_path / "broken" / STUDY.name / "run.json").exists()
    monkeypatch.undo()
    training.train([STUDY], scenes, tmp_path / "broken", "cpu")
    for name in ("weights.safetensors", "log.csv"):
        whole, resumed = (tmp_path / kind / STUDY.name / name for kind in ("whole", "broken"))
        assert whole.read_bytes() == resumed.read_bytes()


@pytest.mark.slow
def test_a_killed_training_ends_with_the_bytes_of_an_undisturbed_one(scenes: list[Scene], tmp_path: Path) -> None:
    training.train([STUDY], scenes, tmp_path / "whole", "cpu")
    for scene in scenes:
        parts = {name: part for name, part in vars(scene).items() if isinstance(part, torch.Tensor)}
        write_tensors(tmp_path / f"{scene.name}.safetensors", parts, {"split": scene.split})
    script = textwrap.dedent(f"""
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_training import STUDY, training
        from lpie.records import read_tensors
        from lpie.study.targets import Scene

        here, scenes = Path({str(tmp_path)!r}), []
        for path in sorted(here.glob("scene*.safetensors")):
            parts, about = read_tensors(path)
            scenes.append(Scene(path.stem, about["split"], **parts))
        step = training.Run.one_step

        def killed_at_five(run, frame):
            if run.step == 5:
                os.kill(os.getpid(), signal.SIGKILL)
            step(run, frame)

        training.Run.one_step = killed_at_five
        training.train([STUDY], scenes, here / "killed", "cpu")
    """)
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "killed" / STUDY.name / "checkpoint.safetensors").exists()
    training.train([STUDY], scenes, tmp_path / "killed", "cpu")
    for name in ("weights.safetensors", "log.csv"):
        whole, resumed = (tmp_path / kind / STUDY.name / name for kind in ("whole", "killed"))
        assert whole.read_bytes() == resumed.read_bytes()


def test_a_full_disk_is_named_with_the_file(
    scenes: list[Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="The disk is full") as caught:
        training.train([STUDY], scenes, tmp_path, "cpu")
    assert caught.value.filename.endswith("checkpoint.safetensors")


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
    assert record["study"] == json.loads(json.dumps(asdict(STUDY)))
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
    with pytest.raises(ValueError, match="belongs to a training with"):
        training.train([STUDY], scenes, tmp_path, "cpu")


def test_a_run_goes_on_with_the_threads_it_began_with(scenes: list[Scene], tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        run = training.Run(STUDY, scenes, tmp_path / STUDY.name, "cpu", {})
        run.advance()
        run._save_checkpoint()
        torch.set_num_threads(1)
        training.train([STUDY], scenes, tmp_path, "cpu")
        assert torch.get_num_threads() == 2
        assert json.loads((tmp_path / STUDY.name / "run.json").read_text())["threads"] == 2
    finally:
        torch.set_num_threads(threads)


def test_smoothness_makes_a_smoother_grid(scenes: list[Scene], tmp_path: Path) -> None:
    rough = replace(STUDY, schedule=replace(SHORT, steps=40, learning_rate=1e-2))
    smooth = replace(rough, smoothness=1.0)
    photo = scenes[0].photo[None].float() / 255
    roughnesses = []
    for network in training.train([rough, smooth], scenes, tmp_path, "cpu"):
        with torch.no_grad():
            roughnesses.append(float(roughness(network.predict_grid(network.thumbnail_of(photo)))))
    assert roughnesses[1] < roughnesses[0] / 2


def test_a_damaged_checkpoint_is_named(scenes: list[Scene], tmp_path: Path) -> None:
    run = training.Run(STUDY, scenes, tmp_path / STUDY.name, "cpu", {})
    run.advance()
    run._save_checkpoint()
    path = tmp_path / STUDY.name / "checkpoint.safetensors"
    tensors, metadata = read_tensors(path)
    write_tensors(path, {"counter": tensors["counter"]}, metadata)
    with pytest.raises(ValueError, match="is damaged"):
        training.train([STUDY], scenes, tmp_path, "cpu")


@pytest.mark.parametrize(
    "position", [None, "null", "[]", '{"step": 1}', "[" * 5000, '{"step": Infinity, "seconds": 0, "threads": 1}']
)
def test_a_checkpoint_whose_position_is_damaged_is_named(
    scenes: list[Scene], tmp_path: Path, position: str | None
) -> None:
    run = training.Run(STUDY, scenes, tmp_path / STUDY.name, "cpu", {})
    run._save_checkpoint()
    path = tmp_path / STUDY.name / "checkpoint.safetensors"
    tensors, metadata = read_tensors(path)
    kept = {"study": metadata["study"]} | ({"position": position} if position else {})
    write_tensors(path, tensors, kept)
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors is damaged.*remove it"):
        training.train([STUDY], scenes, tmp_path, "cpu")
    write_tensors(path, tensors, {"position": metadata["position"]})
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors belongs to a training with None"):
        training.train([STUDY], scenes, tmp_path, "cpu")
