"""The rivals: a trivial edit and two attacks, each at the PSNR it was asked for."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lpie.evidence.results import read_results
from lpie.imaging.color import to_uint8
from lpie.judges.full_reference import psnr
from lpie.judges.robustness import universal_perturbation
from lpie.study import experiments, rivals
from lpie.study.rivals import GlobalEdit, add_universal, run_rivals, train_perturbation, tune_trivial_edit
from lpie.study.study_file import find_profile
from lpie.study.targets import Scene


def contrast_of(photo: Tensor) -> Tensor:
    """A critic that likes contrast and nothing else."""
    return 10 * photo.std(dim=(1, 2, 3))


def redness(photo: Tensor) -> Tensor:
    return 10 * (photo[:, 0] - photo[:, 1:].mean(dim=1)).mean(dim=(1, 2))


@pytest.fixture
def scenes(small_photos: Tensor) -> list[Scene]:
    photos = to_uint8(small_photos)
    splits = ("train", "validation", "test")
    return [Scene(f"p{i}", split, p, p) for i, (p, split) in enumerate(zip(photos, splits, strict=True))]  # type: ignore[arg-type]


def test_an_edit_that_is_set_to_nothing_changes_nothing(small_photos: Tensor) -> None:
    torch.testing.assert_close(GlobalEdit()(small_photos), small_photos, atol=1e-5, rtol=0)


def test_knobs_do_what_their_names_say(small_photos: Tensor) -> None:
    assert (GlobalEdit(exposure=1.0)(small_photos).mean((1, 2, 3)) > small_photos.mean((1, 2, 3))).all()
    assert (contrast_of(GlobalEdit(contrast=1.4)(small_photos)) > contrast_of(small_photos)).all()
    gray = GlobalEdit(saturation=0.0)(small_photos)
    torch.testing.assert_close(gray[:, 0], gray[:, 2], atol=1e-5, rtol=0)


def test_the_tuned_edit_has_the_psnr_and_turns_the_knob_the_critic_likes(scenes: list[Scene]) -> None:
    edit = tune_trivial_edit(scenes, contrast_of, 28.0, "cpu", directions=40)
    photos = [scene.target[None].float() / 255 for scene in scenes]
    reached = torch.stack([psnr(edit(photo), photo) for photo in photos]).mean()
    assert float(reached) == pytest.approx(28.0, abs=0.3)
    assert edit.contrast > 1.05
    assert tune_trivial_edit(scenes, redness, 28.0, "cpu", directions=40).saturation > 1.1


def test_a_trained_perturbation_raises_its_critic_at_its_psnr(small_photos: Tensor) -> None:
    network = train_perturbation(small_photos, redness, 30.0, steps=25, batch=2, learning_rate=1e-2)
    with torch.no_grad():
        attacked = network(small_photos)
    assert (redness(attacked) > redness(small_photos) + 0.1).all()
    assert (psnr(attacked, small_photos) - 30).abs().max() < 1.5
    assert attacked.min() >= 0
    assert attacked.max() <= 1


def test_a_universal_perturbation_fits_photos_of_other_sizes(small_photos: Tensor) -> None:
    common = universal_perturbation(redness, small_photos[:, :, :48, :48], epsilon=0.03, steps=8)
    for height, width in ((64, 96), (31, 50)):
        photo = small_photos[:1, :, :height, :width]
        attacked = add_universal(photo, common, 30.0)
        assert float(psnr(attacked, photo)) == pytest.approx(30, abs=1.5)
        assert float(redness(attacked)) > float(redness(photo))


def test_every_rung_is_a_run_of_its_own_and_made_once(
    scenes: list[Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Critic:
        def to(self, _: str) -> Critic:
            return self

        mean_score = staticmethod(redness)

    monkeypatch.setattr(rivals.NIMA, "from_pretrained", lambda _: Critic())
    monkeypatch.setattr(experiments, "load_judges", lambda *_: {"compact": redness, "oasis": contrast_of})
    monkeypatch.setattr(rivals, "load_scenes", lambda *_: scenes)
    profile, ladders = find_profile("smoke"), {"trivial": (26, 34), "universal": (30,)}
    run_rivals(profile, "tone", tmp_path, ("compact", "ava"), "cpu", ladders)
    runs, scores = read_results(tmp_path)
    names = ("trivial-compact-26dB", "trivial-compact-34dB", "universal-compact-30dB")
    assert set(runs["run"]) == {f"tone-{name}" for name in names}
    assert set(runs["network"]) == {"trivial", "universal"}
    tuned = scores[(scores["run"] == "tone-trivial-compact-26dB") & (scores["split"] == "validation")]
    assert tuned["psnr"].tolist() == pytest.approx([26], abs=0.3)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.csv")}
    run_rivals(profile, "tone", tmp_path, ("compact",), "cpu", ladders)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.csv")} == before
    assert experiments.Results(tmp_path, {"oasis": contrast_of}, "cpu").have("tone-trivial-compact-26dB")
    monkeypatch.setattr("time.sleep", lambda _: None)
    with open(tmp_path / ".lock", "a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)  # as a run of notebooks does
        with pytest.raises(BlockingIOError, match="Another run is at work"):
            run_rivals(profile, "tone", tmp_path, ("compact",), "cpu", ladders)
