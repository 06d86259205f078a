"""Study files: what is wrong is named with its line and near miss; photographs, pairs, splits, own operators."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lpie.engine.run_all import run_all
from lpie.networks import build
from lpie.study import sources as sources_module
from lpie.study.experiments import run_studies
from lpie.study.pairs import aligned
from lpie.study.settings import Lists, Photographs, Schedule, Shares, Study, fidelity_studies, ladder_studies
from lpie.study.sources import deal, find_overlaps, find_sources, match_pairs
from lpie.study.study_check import check_study
from lpie.study.study_file import asked_profile, find_profile, profile_names, read_study
from lpie.study.study_init import init_study
from lpie.study.targets import Scene, load_scenes
from lpie.study.training import load_network, train

START = 'operators = ["tone"]\nnetworks = ["grid"]\nshortest_side = 48\nschedule = { sides = [48] }\n'


def save(folder: Path, names: list[str], seed: int = 0, size: tuple[int, int] = (72, 54)) -> Path:
    """Photographs of smooth random colors: no two alike."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        coarse = np.random.default_rng([seed, index]).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(folder / name)
    return folder


def write(folder: Path, text: str) -> Path:
    path = folder / "study.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (START.replace("grid", "grdi"), r"line 2: networks.0: Unknown network 'grdi', did you mean 'grid'"),
        (START + "gamas = [0.1]\n", r"line 5: there is no setting gamas here\. Did you mean 'gammas'"),
        (START + "gammas = [-0.1]\n", r"line 5: gammas.0: expected a number greater than 0, got -0.1"),
        (START + "gammas = []\n", r"line 5: 'gammas' is empty: give the critics weights, such as .*, or set critics"),
        (START + "seeds = [0, 0]\n", r"line 5: seeds: expected each of them once, got \[0, 0\]"),
        (START + "smoothness = -1\n", r"line 5: smoothness: expected a number greater than or equal to 0, got -1"),
        (START.replace("= 48", "= 5"), r"line 3: shortest_side: expected at least 16 px, or 0 for no change, got 5"),
        (START.replace("[48]", "[8]"), r"line 4: schedule.sides.0: expected a number greater than or equal to 16, got"),
        (START.replace('["grid"]', '"grid"'), r'line 2: networks: expected a list, such as \["grid"\], got \'grid\''),
        (
            START.replace("tone", "tome"),
            r"line 1: .*'tome', did you mean 'tone'\? .*tone, dehaze, pairs, module:function",
        ),
        (START + "[options]\ngrid = ['ledd']\n", r"line 6: Unknown option of grid 'ledd'"),
        (START + "name = '../../evil'\n", r"line 5: name: expected a folder in results, not a path .*--output.*, got"),
        (START + "name = ''\n", r"line 5: name: expected a folder in results, not a path .*, got ''"),
        (START + "steps = 3\n", r"line 5: there is no setting steps here\.$"),
        (START + "judges = ['niqee']\n", r"line 5: judges.0: Unknown judge 'niqee', did you mean 'niqe'"),
        (START + "[settings.tone]\nalhpa = 0.3\n", r"Unknown setting of tone 'alhpa', did you mean 'alpha'"),
        (START + "[criteria]\nsafe_gian = 0.3\n", r"Unknown criterion 'safe_gian', did you mean 'safe_gain'"),
        (START + '[[photographs]]\nset = "demo"\nsplt = "train"\n', r"line 7: .*splt here\. Did you mean 'split'"),
        (START + '[[photographs]]\nset = "demo"\nsplit = "trian"\n', r"line 7: .*'trian', did you mean 'train'"),
        (START + '[[photographs]]\ninput = "a"\n', "either a set, or a folder, or both an input and a target"),
        (START + "networks = 3\n", "line 5"),
        ("operators = [", "at line "),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_the_near_miss(tmp_path: Path, text: str, said: str) -> None:
    has_photographs = "photographs" in text
    text += "" if has_photographs else '\n[[photographs]]\nset = "demo"\nsplit = "train"\n'
    with pytest.raises(ValueError, match=said) as raised:
        read_study(write(tmp_path, text))
    assert str(tmp_path / "study.toml") in str(raised.value)


def test_every_built_in_profile_is_a_study_file() -> None:
    for name in profile_names():
        assert find_profile(name).name == name
    with pytest.raises(ValueError, match="did you mean 'demo'"):
        find_profile("dmeo")
    with pytest.raises(FileNotFoundError, match="study init"):
        find_profile("nowhere.toml")


def test_parameters_change_the_profile_and_leave_the_rest() -> None:
    demo = find_profile("demo")
    assert asked_profile({"profile": "demo", "networks": None}) == (demo, {})
    given = {
        "profile": "demo",
        "networks": "['grid']",
        "gammas": "[0.003, 0.02]",
        "steps": 5,
        "alpha": 0.3,
        "operator": "tone",
    }
    profile, changes = asked_profile(given)
    assert (profile.networks, profile.gammas, profile.schedule.steps) == (("grid",), (0.003, 0.02), 5)
    assert profile.settings_of("tone").alpha == 0.3
    assert profile.judges == demo.judges
    assert set(changes) == {"networks", "gammas", "steps", "alpha"}
    with pytest.raises(ValueError, match="did you mean 'grid'"):
        asked_profile({"profile": "demo", "networks": ["gird"]})
    with pytest.raises(ValueError, match="greater than 0"):
        asked_profile({"profile": "demo", "gammas": -1})


def test_a_folder_of_photographs_becomes_a_study_with_init_and_is_checked(tmp_path: Path) -> None:
    save(tmp_path, [f"{index}.png" for index in range(10)])
    path = init_study(tmp_path)
    profile = read_study(path)
    assert Counter(source.split for source in find_sources(profile, "tone")) == {"train": 6, "validation": 2, "test": 2}
    lines, problems = check_study(profile)
    assert problems == []
    assert "6 train, 2 validation, 2 test" in lines[0]
    assert "fewer than 10 test photographs decide nothing" in lines[1]
    assert "5 networks (grid) of 6 that `lpie study train --list` names" in lines[2]
    with pytest.raises(FileExistsError, match="study check"):
        init_study(tmp_path)


def test_photographs_too_small_for_the_schedule_are_named_with_the_side_that_fits(tmp_path: Path) -> None:
    save(tmp_path, [f"{index}.png" for index in range(4)], size=(72, 54))
    profile = read_study(write(tmp_path, START.replace("[48]", "[64]") + '[[photographs]]\nfolder = "."\n'))
    assert any("`sides` of at most 48" in problem for problem in check_study(profile)[1])


def test_a_photograph_in_two_splits_stops_the_run_as_it_stops_the_check(tmp_path: Path) -> None:
    save(tmp_path / "train", ["a.png", "b.png"])
    save(tmp_path / "other", ["c.png", "d.png"], seed=1)
    Image.open(tmp_path / "train" / "b.png").resize((60, 45)).save(tmp_path / "other" / "c.png")
    rows = [f'[[photographs]]\nfolder = "{split}"\nsplit = "{split}"\n' for split in ("train",)]
    rows += ['[[photographs]]\nfolder = "other"\nsplit = { validation = ["c"], test = ["d"] }\n']
    path = write(tmp_path, START + "".join(rows))
    said = r"train-b \(train\) and other-c \(validation\) show the same"
    assert any("show the same" in problem for problem in check_study(read_study(path))[1])
    with pytest.raises(ValueError, match=said):
        run_all(path, tmp_path / "results")
    assert not (tmp_path / "results").exists()
    with pytest.raises(ValueError, match=said):
        load_scenes(read_study(path), "tone", tmp_path / "targets")


def test_ppr10k_is_read_as_it_comes_with_the_photographs_of_a_person_in_one_split(tmp_path: Path) -> None:
    names = [f"{person}_{shot}.png" for person in range(12) for shot in range(2)]
    save(tmp_path / "source", names)
    for expert in "abc":
        save(tmp_path / f"target_{expert}", names)
    profile = read_study(init_study(tmp_path))
    sources = find_sources(profile, "pairs")
    assert {source.other.parent.name for source in sources} == {"target_a"}
    splits = {source.name: source.split for source in sources}
    assert all(splits[f"source-{person}_0"] == splits[f"source-{person}_1"] for person in range(12))
    assert len(set(splits.values())) == 3


def test_init_knows_which_folder_holds_the_retouches_or_asks(tmp_path: Path) -> None:
    save(tmp_path / "summer", [f"{index}.png" for index in range(6)])
    save(tmp_path / "winter", [f"{index}.png" for index in range(6)])
    with pytest.raises(ValueError, match="name the untouched photographs first"):
        init_study(tmp_path)
    profile = read_study(init_study(tmp_path / "summer", tmp_path / "winter"))
    assert profile.operators == ("pairs",)
    assert all(source.other.parent.name == "winter" for source in find_sources(profile, "pairs"))


@pytest.mark.parametrize(
    ("names", "said"),
    [([], "holds no photograph"), (["one.png"], "1 photograph.* cannot be dealt out to 3 splits")],
)
def test_too_few_photographs_are_said_to_be_so(tmp_path: Path, names: list[str], said: str) -> None:
    save(tmp_path / "photos", names)
    profile = read_study(write(tmp_path, START + '[[photographs]]\nfolder = "photos"\n'))
    assert any(said.split(".*")[0] in problem for problem in check_study(profile)[1])


def test_the_same_photograph_in_two_splits_is_found_also_at_another_size(tmp_path: Path) -> None:
    save(tmp_path / "train", ["a.png", "b.png", "c.png"])
    save(tmp_path / "test", ["d.png"], seed=1)
    Image.open(tmp_path / "train" / "b.png").resize((48, 36)).save(tmp_path / "test" / "other.jpg")
    rows = [f'[[photographs]]\nfolder = "{split}"\nsplit = "{split}"\n' for split in ("train", "test")]
    sources = find_sources_of(read_study(write(tmp_path, START + "".join(rows))))
    found = [{one.name, other.name} for one, other in find_overlaps(sources)]
    assert found == [{"train-b", "test-other"}]


def find_sources_of(profile: object) -> list:
    from lpie.study.sources import photographs_in

    return [source for rows in profile.photographs for source in photographs_in(rows)]  # type: ignore[attr-defined]


def test_groups_share_a_split_and_shares_are_kept() -> None:
    names = [f"{person}_{shot}" for person in range(20) for shot in range(3)]
    splits = deal(names, Shares(train=0.5, validation=0.25, test=0.25), r"^\d+_")
    assert Counter(splits.values()) == {"train": 30, "validation": 15, "test": 15}
    assert all(len({splits[f"{person}_{shot}"] for shot in range(3)}) == 1 for person in range(20))


def test_only_photographs_of_the_splits_asked_for_are_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []

    def fetch_all(names: list[str]) -> list[Path]:
        fetched.extend(names)
        return [Path("cache") / name for name in names]

    monkeypatch.setattr(sources_module, "fetch_all", fetch_all)
    rows = Photographs(set="kodak24", split=Lists(train=("01",), test=("03", "02")))
    (found,) = sources_module.photographs_in(rows, ("train",))
    assert fetched == ["kodak24/01.png"]
    assert (found.name, found.split, found.path) == ("kodak24-01", "train", Path("cache/kodak24/01.png"))


@pytest.mark.slow
def test_the_study_of_an_experts_retouches_runs_from_training_to_nearness(data: Path, tmp_path: Path) -> None:
    profile, _ = asked_profile({"profile": "pairs", "steps": 2, "seeds": [0]})
    sources = find_sources(profile, "pairs")
    assert Counter(source.split for source in sources) == {"train": 15, "validation": 3, "test": 9}
    few = [study for study in fidelity_studies(profile, "pairs") if study.fidelity == "l2"]
    _, scores = run_studies(profile, few, tmp_path, "cpu")
    assert scores.query("run == 'pairs-target'")["near_ssim"].eq(1).all()
    assert scores.query("run == 'pairs-input'")["near_ssim"].between(0, 0.999).all()


def test_pairs_are_matched_by_name_and_lonely_ones_are_named() -> None:
    files = {name: Path(name) for name in ("a1_input", "a2 input", "a3")}
    targets = {name: Path(name) for name in ("a1", "a2", "a3", "a10")}
    assert {name: path.name for name, path in match_pairs(files, targets).items()} == {
        "a1_input": "a1",
        "a2 input": "a2",
        "a3": "a3",
    }
    assert match_pairs({"27_hazy": Path("h"), "3_hazy": Path("i")}, {"27_GT": Path("g"), "3_GT": Path("f")})[
        "27_hazy"
    ] == Path("g")
    with pytest.raises(ValueError, match=r"1 of 3 inputs have no target of their name: a3"):
        match_pairs(files, {name: path for name, path in targets.items() if name != "a3"})


def test_check_names_every_pair_that_training_would_refuse_and_times_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lpie.study.study_check.seconds_of", lambda studies: pytest.fail("timed"))
    names = [f"{index}.jpg" for index in range(9)]
    save(tmp_path / "input", names, size=(720, 540))
    shutil.copytree(tmp_path / "input", tmp_path / "retouched")
    kept = Image.open(tmp_path / "input" / "3.jpg").crop((0, 0, 706, 530))  # a little: alignment finds it
    kept.save(tmp_path / "retouched" / "3.jpg")
    for name, change in (
        ("4", lambda photo: photo.rotate(90, expand=True)),
        ("5", lambda photo: photo.crop((0, 0, 720, 300))),
        ("6", lambda photo: Image.open(tmp_path / "input" / "7.jpg")),
    ):
        path = tmp_path / "retouched" / f"{name}.jpg"
        change(Image.open(path).copy()).save(path)
    (tmp_path / "retouched" / "8.jpg").write_bytes(b"no picture")
    profile = read_study(init_study(tmp_path / "input", tmp_path / "retouched"))
    problems = check_study(profile)[1]
    named = sorted(problem.split(":")[0].rpartition("-")[2].rpartition("/")[2] for problem in problems)
    assert named == [*"456", "8.jpg"]
    with pytest.raises(ValueError, match="Pair input-"):
        load_scenes(profile, "pairs", tmp_path / "targets")


def test_check_names_every_photograph_that_cannot_be_read_and_init_does_not_count_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, [f"{index}.jpg" for index in range(8)], size=(200, 150))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    path = init_study(tmp_path)
    assert "8 photographs" in path.read_text()
    assert "broken.jpg" in caplog.text
    whole = (tmp_path / "3.jpg").read_bytes()
    half = whole[: len(whole) // 2]
    (tmp_path / "3.jpg").write_bytes(half)
    (tmp_path / "4.jpg").write_bytes(half + b"\xff\xd9")  # an end, and no middle
    place = whole.index(b"\xff\xc0") + 5
    (tmp_path / "vast.jpg").write_bytes(whole[:place] + bytes([156, 64, 156, 64]) + whole[place + 4 :])  # 40000 px
    damaged = {"3.jpg", "4.jpg", "broken.jpg", "vast.jpg"}
    problems = check_study(read_study(path))[1]
    assert {Path(problem.split(":")[0]).name for problem in problems} == damaged
    path.unlink()
    caplog.clear()
    assert "6 photographs" in init_study(tmp_path).read_text()
    assert all(name in caplog.text for name in damaged)
    assert all(problem.endswith("Remove it, or put a whole one in its place.") for problem in problems)


def test_a_validation_that_never_comes_is_warned_of_and_long_trainings_are_told_in_days(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lpie.study.study_check.seconds_of", lambda studies: 1914.3 * 3600)
    save(tmp_path / "photos", [f"{index}.png" for index in range(10)])
    text = START.replace("sides", "steps = 20, validate_every = 30, sides") + '[[photographs]]\nfolder = "photos"\n'
    lines, problems = check_study(read_study(write(tmp_path, text)))
    assert problems == []
    assert "warning: validate_every is above steps = 20: validated once, at the end" in lines
    assert "80 days (it wants a GPU)" in lines[-1]


def test_pairs_of_slightly_different_size_are_laid_over_each_other(small_photos: torch.Tensor) -> None:
    photo = small_photos[:1]
    input_, target = aligned(photo[..., 1:, :-2], (0.8 * photo + 0.1)[..., :-1, 1:], "pair")
    assert input_.shape == target.shape
    assert input_.shape[-2:] == (62, 93)
    torch.testing.assert_close(0.8 * input_ + 0.1, target)
    with pytest.raises(ValueError, match="Pair other: input and target do not show the same"):
        aligned(photo, small_photos[1:2], "other")
    with pytest.raises(ValueError, match="Pair cut: 96x64 and 64x64 px differ in shape"):
        aligned(photo, photo[..., :64], "cut")


def test_a_study_of_retouches_trains_on_the_retouches(tmp_path: Path, small_photos: torch.Tensor) -> None:
    save(tmp_path / "input", [f"{index}.png" for index in range(4)])
    shutil.copytree(tmp_path / "input", tmp_path / "expert_c")
    for path in (tmp_path / "expert_c").iterdir():
        Image.open(path).point(lambda value: value // 2 + 60).save(path)
    path = init_study(tmp_path)
    assert 'operators = ["pairs"]' in path.read_text()
    profile = replace(read_study(path), shortest_side=0, schedule=replace(read_study(path).schedule, sides=(36,)))
    scenes = load_scenes(profile, "pairs", tmp_path / "targets")
    assert {scene.split for scene in scenes} == {"train", "validation", "test"}
    whole = [scene for scene in scenes if scene.split != "train"]
    assert all((scene.photo // 2 + 60 == scene.target).all() for scene in whole)


@pytest.mark.parametrize("folders", [("fivek_deeplpf", "fivek_curl", "fivek_uegan")])
def test_retouches_of_an_expert_become_scenes(data: Path, tmp_path: Path, folders: tuple[str, ...]) -> None:
    rows = "".join(
        f'[[photographs]]\nsplit = "{split}"\n'
        f'input = "{data}/pairs/{name}/input"\ntarget = "{data}/pairs/{name}/expert_c"\n'
        for name, split in zip(folders, ("train", "validation", "test"), strict=True)
    )
    profile = read_study(write(tmp_path, START.replace("tone", "pairs") + rows))
    scenes = load_scenes(profile, "pairs", tmp_path / "targets")
    assert Counter(scene.split for scene in scenes) == {"train": 7, "validation": 2, "test": 4}
    assert all(scene.photo.shape == scene.target.shape for scene in scenes)


def test_networks_and_schedules_of_the_second_study_can_be_said(tmp_path: Path) -> None:
    text = START.replace('["grid"]', '["grid", "can24"]') + (
        "smoothness = 0.1\n[options]\ngrid = ['luminance_led']\ncan24 = ['mirrored']\n[first_phases.can24]\nsteps = 3\n"
    )
    rows = '[[photographs]]\nset = "demo"\nsplit = "train"\n'
    studies = fidelity_studies(read_study(write(tmp_path, text + rows)), "tone")
    grid, can = (next(study for study in studies if study.network == network) for network in ("grid", "can24"))
    assert (grid.options, grid.smoothness, grid.first) == (("luminance_led",), 0.1, None)
    assert (can.options, can.first.schedule.steps, can.first.objective) == (("mirrored",), 3, "l2")
    assert len({study.first.name for study in studies if study.first}) == 1  # for every objective
    with pytest.raises(ValueError, match=r"Unknown option of can24 'mirored', did you mean 'mirrored'"):
        read_study(write(tmp_path, text.replace("mirrored", "mirored") + rows))


def test_a_network_goes_on_from_its_first_phase(tmp_path: Path, small_photos: torch.Tensor) -> None:
    photo = (small_photos[0] * 255).to(torch.uint8)
    scenes = [Scene(name, name, photo, 255 - photo) for name in ("train", "validation")]
    schedule = Schedule(steps=2, batch=1, sides=(64,), learning_rate=1e-3)
    study = Study(network="grid", fidelity="l1", schedule=replace(schedule, learning_rate=1e-9), first_phase=schedule)
    (network,) = train([study], scenes, tmp_path, "cpu")
    first = load_network(study.first, tmp_path)
    untrained = build("grid", "tone")
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, first.state_dict()[name], rtol=0, atol=1e-7)
    assert any((tensor != untrained.state_dict()[name]).any() for name, tensor in first.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("folders", [("fivek_deeplpf", "fivek_curl", "fivek_uegan")])
def test_a_study_of_an_experts_retouches_trains_and_is_evaluated(
    data: Path, tmp_path: Path, folders: tuple[str, ...]
) -> None:
    rows = "".join(
        f'[[photographs]]\nsplit = "{split}"\n'
        f'input = "{data}/pairs/{name}/input"\ntarget = "{data}/pairs/{name}/expert_c"\n'
        for name, split in zip(folders, ("train", "validation", "test"), strict=True)
    )
    rows += '[[photographs]]\nsplit = "test"\ninput = "fivek/local_laplacian/input"\n'
    rows += 'target = "fivek/local_laplacian/expert_c"\n'
    text = START.replace("tone", "pairs") + "fidelities = ['l2']\ngammas = [0.01]\njudges = []\n"
    profile = read_study(write(tmp_path, text.replace("sides", "steps = 2, batch = 1, sides") + rows))
    studies = (*fidelity_studies(profile, "pairs"), *ladder_studies(profile, "pairs"))
    runs, scores = run_studies(profile, studies, tmp_path / "results", "cpu")
    assert set(runs["objective"]) == {"input", "target", "l2", "l2+0.01compact"}
    test = scores[scores["split"] == "test"].groupby("run").size()
    assert set(test) == {13}


OWN = """
def brighten(photo):
    return (photo * 1.2).clamp(0, 1)

def breaks(photo):
    raise KeyError("no such curve")

def crops(photo):
    return photo[..., 1:, :]
"""


def test_an_operator_of_ones_own_makes_the_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_operators.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    save(tmp_path / "photos", [f"{index}.png" for index in range(4)])
    rows = '[[photographs]]\nfolder = "photos"\n'

    def scenes_with(name: str) -> list:
        profile = read_study(write(tmp_path, START.replace('"tone"', f'"own_operators:{name}"') + rows))
        return load_scenes(profile, f"own_operators:{name}", tmp_path / "targets")

    scene = scenes_with("brighten")[0]
    expected = (scene.photo.float() / 255 * 1.2).clamp(0, 1) * 255
    assert (scene.target.float() - expected).abs().max() <= 1.2
    with pytest.raises(ValueError, match=r"Operator own_operators:breaks fails on photograph .*KeyError"):
        scenes_with("breaks")
    with pytest.raises(ValueError, match="expected a photo of the same shape"):
        scenes_with("crops")
    with pytest.raises(ValueError, match="has no function 'nothing'"):
        scenes_with("nothing")


def test_two_photographs_of_one_name_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "photos", ["a.png", "a.jpg"])
    with pytest.raises(ValueError, match="have one name"):
        find_sources_of(replace(find_profile("smoke"), photographs=(Photographs(folder=str(tmp_path / "photos")),)))
