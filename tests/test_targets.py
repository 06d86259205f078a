"""Scenes: splits that do not leak, targets that are the operator's, a cache that is read back."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lpie.imaging.color import from_uint8
from lpie.imaging.resampling import reduced
from lpie.operators import OPERATORS, ToneSettings
from lpie.operators.local_laplacian import local_laplacian
from lpie.photos import photographs
from lpie.photos.photographs import demo_photographs, write_photo
from lpie.study import targets
from lpie.study.settings import Photographs, Profile, Shares
from lpie.study.sources import deal, find_sources
from lpie.study.study_file import find_profile

SMALL = replace(find_profile("smoke"), shortest_side=64)


def test_every_split_of_the_demo_has_scenes_and_no_scene_is_in_two(tmp_path: Path) -> None:
    scenes = targets.load_scenes(SMALL, "tone", tmp_path)
    assert {scene.split for scene in scenes} == {"train", "validation", "test"}
    assert len({scene.name for scene in scenes}) == len(scenes) == 7


def test_what_trains_is_the_middle_of_the_photo_at_every_side_it_covers(tmp_path: Path) -> None:
    profile = replace(SMALL, schedule=replace(SMALL.schedule, sides=(320, 64)))
    scenes = {scene.name: scene for scene in targets.load_scenes(profile, "tone", tmp_path) if scene.split == "train"}
    assert set(scenes) == {"astronaut@320", "flower@320", "astronaut@64", "chelsea@64", "flower@64"}
    assert {scene.photo.shape for scene in scenes.values()} == {(3, 320, 480), (3, 64, 96)}
    whole = reduced(photographs.demo_photographs()["astronaut"], 96)
    shown = from_uint8(scenes["astronaut@64"].photo[None])
    assert (shown - whole[..., 16:80, :]).abs().max() <= 0.5 / 255 + 1e-6


def test_photographs_are_dealt_out_by_their_names() -> None:
    names, shares = [f"{index:04d}" for index in range(20)], Shares(train=0.6, validation=0.15, test=0.25)
    splits = deal(names, shares)
    assert [list(splits.values()).count(split) for split in ("train", "validation", "test")] == [12, 3, 5]
    assert deal(names[::-1], shares) == splits


def test_the_tone_target_is_the_local_laplacian_of_the_reduced_photo(tmp_path: Path) -> None:
    scene = next(scene for scene in targets.load_scenes(SMALL, "tone", tmp_path) if scene.split == "test")
    tone = ToneSettings()
    photo = reduced(photographs.demo_photographs()[scene.name], 64)
    expected = local_laplacian(photo, alpha=tone.alpha, beta=tone.beta, sigma_r=tone.sigma_r)
    assert (from_uint8(scene.target[None]) - expected).abs().max() <= 0.5 / 255 + 1e-6
    assert min(scene.photo.shape[-2:]) == 64


def test_another_alpha_makes_other_targets(tmp_path: Path) -> None:
    photo = reduced(photographs.demo_photographs()["coffee"], 64)
    expected = local_laplacian(photo, alpha=0.3, beta=0.7, sigma_r=0.2)
    targets.load_scenes(SMALL, "tone", tmp_path)
    scene = targets.load_scenes(replace(SMALL, settings={"tone": {"alpha": 0.3}}), "tone", tmp_path)[0]
    assert scene.name == "coffee"
    assert (from_uint8(scene.target[None]) - expected).abs().max() <= 0.5 / 255 + 1e-6


def retouched(tmp_path: Path) -> Profile:
    """A study of photographs and what a person made of them: a fifth brighter."""
    photo = demo_photographs()["coffee"][..., :200, :300]
    for folder, rendition in (("camera", photo), ("retouched", (1.2 * photo).clamp(max=1))):
        (tmp_path / folder).mkdir()
        for index, name in enumerate(("one", "two", "three")):
            write_photo(rendition.roll(31 * index, -1), tmp_path / folder / f"{name}.png")
    pairs = Photographs(
        input=str(tmp_path / "camera"),
        target=str(tmp_path / "retouched"),
        split={"train": ["one"], "validation": ["two"], "test": ["three"]},
    )
    return replace(SMALL, photographs=(pairs,), shortest_side=0)


def test_a_tone_scene_keeps_what_a_person_made_of_it_beside_the_operators_target(tmp_path: Path) -> None:
    scenes = targets.load_scenes(retouched(tmp_path), "tone", tmp_path / "targets")
    scene = next(one for one in scenes if one.split == "test")
    assert scene.truth is not None
    assert (from_uint8(scene.truth[None]) - (1.2 * from_uint8(scene.photo[None])).clamp(max=1)).abs().max() < 1.5 / 255
    assert not torch.equal(scene.target, scene.truth)


def test_nearness_to_a_person_is_measured_where_the_target_is_the_persons_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OPERATORS, "pairs", replace(OPERATORS["tone"], name="pairs"))  # as a study file brings it
    scenes = targets.load_scenes(retouched(tmp_path), "pairs", tmp_path / "targets")
    scene = next(one for one in scenes if one.split == "test")
    assert scene.truth is not None
    assert torch.equal(scene.target, scene.truth)


def test_targets_are_made_again_when_what_the_operators_import_changes() -> None:
    rests_on = targets.operator_source()
    assert {"operators/local_laplacian.py", "imaging/pyramids.py", "fast/local_laplacian_cpu.py"} <= rests_on.keys()


def test_scenes_read_back_equal_scenes_computed(tmp_path: Path) -> None:
    first = targets.load_scenes(SMALL, "dehaze", tmp_path)
    second = targets.load_scenes(SMALL, "dehaze", tmp_path)
    for made, read in zip(first, second, strict=True):
        assert made.name == read.name
        for field in ("photo", "target", "airlight", "transmission", "truth"):
            assert torch.equal(getattr(made, field), getattr(read, field))


@pytest.mark.slow
def test_scenes_made_in_processes_are_those_made_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = targets.load_scenes(SMALL, "tone", tmp_path / "here")
    monkeypatch.setattr(targets, "MANY", 1)
    there = targets.load_scenes(SMALL, "tone", tmp_path / "there")
    for one, other in zip(here, there, strict=True):
        assert one.name == other.name
        assert (one.target.int() - other.target.int()).abs().max() <= 1  # threads add up in another order
        assert torch.equal(one.photo, other.photo)


@pytest.mark.slow
def test_scenes_are_made_in_processes_for_a_script_without_a_main_guard(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(
        "from pathlib import Path\nfrom lpie.study import targets\nfrom lpie.study.study_file import find_profile\n"
        "targets.MANY = 1\nprint(len(targets.load_scenes(find_profile('smoke'), 'tone', Path('targets'))))\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr


def test_synthetic_haze_brightens_the_dark_and_keeps_its_truth(tmp_path: Path) -> None:
    for scene in targets.load_scenes(SMALL, "dehaze", tmp_path):
        assert scene.truth is not None
        assert scene.photo.float().quantile(0.02) > scene.truth.float().quantile(0.02)


def test_two_versions_of_a_hazy_scene_fall_into_one_split_and_reported_ones_do_not_train(data: Path) -> None:
    splits = {source.name: source.split for source in find_sources(find_profile("study"), "dehaze")}
    for scene in ("lviv", "ny12", "stadium", "buildings"):
        assert len({split for name, split in splits.items() if scene in name.lower()}) == 1
    assert splits["real-bahat__cityscape_skyLess"] == "test"  # known_airlight holds it, and it reports


def test_study_scenes_never_share_a_photograph_between_splits(data: Path) -> None:
    for operator in OPERATORS:
        split_of: dict[str, str] = {}
        for source in find_sources(find_profile("study"), operator):
            assert split_of.setdefault(source.name, source.split) == source.split
        assert {"train", "validation", "test"} == set(split_of.values())
        assert len(split_of) > 300


def test_the_fivek_profile_says_which_folder_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LPIE_FIVEK", raising=False)
    with pytest.raises(FileNotFoundError, match="LPIE_FIVEK"):
        targets.load_scenes(find_profile("fivek"), "tone", tmp_path)
