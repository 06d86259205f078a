"""Figures: they show what the tables hold, refuse what they do not, and are the same bytes each time."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image
from synthetic_records import invent_study

from lpie.critic import CRITICS
from lpie.evidence import Evidence, labels
from lpie.evidence.gains import RIVALS
from lpie.figures.gains import frontier_figure, gamma_figure, spectrum_figure, training_figure
from lpie.figures.style import look_of, save_figure
from lpie.figures.tiles import WITH_CRITIC, Tile, crop_groups, rendition_runs, show_crops
from lpie.networks import FAMILIES

LOSSES = [row.label for row in labels.FIDELITIES.values()]


@pytest.fixture(scope="module")
def study() -> Evidence:
    return Evidence(*invent_study(operators=("tone",), seeds=2))


def texts(figure: Figure) -> list[str]:
    """Every piece of text in a figure."""
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def test_the_same_table_gives_the_same_bytes_and_both_files(study: Evidence, tmp_path: Path) -> None:
    first, second = (save_figure(frontier_figure(study), tmp_path / name) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert first.with_suffix(".pdf").read_bytes() == second.with_suffix(".pdf").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pdf", "a.png", "b.pdf", "b.png"]


def test_a_changed_number_changes_the_picture(study: Evidence, tmp_path: Path) -> None:
    raised = study.scores["run"].str.contains("l2\\+0.01compact")
    moved = Evidence(study.runs, study.scores.assign(score_compact=study.scores["score_compact"] + 0.2 * raised))
    first, second = (save_figure(frontier_figure(one), tmp_path / n) for n, one in (("a", study), ("b", moved)))
    assert first.read_bytes() != second.read_bytes()


def test_the_frontier_has_every_family_and_both_critics(study: Evidence) -> None:
    shown = texts(frontier_figure(study))
    for name in ("CAN32", "operator parameters", "trivial edit", "universal attack", "CNN attack"):
        assert name in shown
    assert {"tone mapping, critic: compact", "tone mapping, critic: ava"} <= set(shown)


def test_a_ladder_is_drawn_where_the_table_says(study: Evidence) -> None:
    panel = frontier_figure(study).axes[0]
    line = next(line for line in panel.get_lines() if line.get_label() == "operator parameters")
    front = study.frontier
    rows = front[(front["network"] == "parameters") & (front["critic"] == "compact") & (front["fidelity"] == "l2")]
    rows = rows.sort_values("psnr")
    np.testing.assert_allclose(line.get_xydata(), rows[["psnr", "gain_compact"]])


def test_each_family_rival_and_rater_has_a_look_of_its_own_that_color_blind_readers_tell_apart() -> None:
    from skimage.color import deltaE_ciede2000, rgb2lab

    groups = {"family": list(FAMILIES), "rater": [*CRITICS, *labels.JUDGES], "rival": list(RIVALS)}
    looks = {name: look_of(name) for names in groups.values() for name in names}
    assert len({look.color for look in looks.values()}) == len(looks)
    # Machado, Oliveira and Fernandes 2009, Table 1 at severity 1, on linear values: without red, without green cones
    blind = [
        np.eye(3),
        np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
        np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    ]
    for group in ("family", "rater"):
        linear = np.array([to_rgb(looks[name].color) for name in groups[group]]) ** 2.2
        for seen in blind:
            lab = rgb2lab(np.clip(linear @ seen.T, 0, 1) ** (1 / 2.2))
            apart = deltaE_ciede2000(lab[:, None], lab[None]) + 100 * np.eye(len(lab))
            assert apart.min() > 9, (group, apart.round(1))


def test_a_family_and_a_rater_from_outside_get_a_look_that_nobody_else_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "kin", replace(FAMILIES["grid"], name="kin", label="kin of the grid"))
    monkeypatch.setitem(CRITICS, "own", replace(CRITICS["ava"], name="own", label="NIMA (own)"))
    looks = [look_of(name) for name in (*FAMILIES, *CRITICS, *labels.JUDGES, *RIVALS)]
    assert len({(look.color, look.marker) for look in looks}) == len(looks)


def test_the_chosen_weight_is_marked(study: Evidence) -> None:
    figure = gamma_figure(study, "tone")
    dotted = [line for line in figure.axes[0].get_lines() if line.get_linestyle() == ":"]
    assert [line.get_xdata()[0] for line in dotted] == [1e-2]


def test_nothing_to_draw_is_an_error_that_says_what_is_missing(study: Evidence) -> None:
    plain = Evidence(study.runs[study.runs["gamma"] == 0], study.scores)
    with pytest.raises(ValueError, match="no networks trained with a critic"):
        frontier_figure(plain)
    with pytest.raises(ValueError, match="no ladder of weights for tone"):
        gamma_figure(plain, "tone")
    logs = pd.DataFrame({"run": ["unknown"], "step": [1], "fidelity": [0.1]})
    with pytest.raises(ValueError, match="no training log"):
        training_figure(logs, study.runs)
    with pytest.raises(ValueError, match="no configuration at a chosen weight"):
        spectrum_figure(plain)


def test_spectrum_shares_sum_to_one(study: Evidence) -> None:
    figure = spectrum_figure(study)
    lines = [line for line in figure.axes[0].get_lines() if len(line.get_ydata())]
    assert len(lines) == 4 + 3  # two networks with two critics each, three rivals
    for line in lines:
        assert line.get_ydata().sum() == pytest.approx(1)


def test_training_curves_are_one_line_a_run_in_its_panel(study: Evidence) -> None:
    runs = study.runs
    trained = runs[runs["network"] == "can32"]["run"]
    logs = pd.DataFrame([{"run": run, "step": step, "fidelity": term, "score": 5.0, "validation_psnr": psnr}
                         for run in trained
                         for step, term, psnr in ((1, 0.5, None), (5, 0.3, None), (10, None, 33.0))])  # fmt: skip
    panel = training_figure(logs, runs).axes[0]
    assert len(panel.get_lines()) == len(trained)
    assert {label for line in panel.get_lines() for label in [line.get_label()]} == {*LOSSES, "with NIMA"}
    np.testing.assert_allclose(panel.get_lines()[0].get_xydata(), [[1, 1], [5, 0.4 / 0.5]])


@pytest.fixture
def crops(study: Evidence, tmp_path: Path) -> Evidence:
    """The same evidence with a folder with one crop of every run of CAN32, gray by its place in the table."""
    for shade, run in enumerate(study.runs["run"]):
        place = tmp_path / "runs" / run / "crops"
        place.mkdir(parents=True)
        Image.new("RGB", (32, 32), (shade, shade, shade)).save(place / "tone-test-3.png")
    return replace(study, folder=tmp_path)


def pixels_of(tile: Tile) -> np.ndarray:
    """What a browser would draw of a tile."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(tile.image.partition(",")[2]))))


def test_crops_show_input_target_and_every_loss_with_their_scores(crops: Evidence) -> None:
    scores = crops.scores
    group = next(group for group in crop_groups(crops) if group.name == "crops-tone-can32")
    tiles = {tile.label: tile for tile in group.tiles}
    assert list(tiles) == ["input", "target", *LOSSES, "L1 + critic", WITH_CRITIC, "change by the critic, x4"]
    row = scores[(scores["run"] == "tone-can32-l2+0.01compact-s0") & (scores["photo"] == "tone-test-3")].iloc[0]
    said = [("PSNR", f"{row['psnr']:.1f} dB"), ("SSIM", f"{row['ssim']:.3f}"), ("MS-SSIM", f"{row['ms_ssim']:.3f}")]
    said += [("compact", f"{row['score_compact']:.2f}"), ("technical", f"{row['score_technical']:.2f}")]
    assert tiles[WITH_CRITIC].scores == [*said, ("NIQE", f"{-row['score_niqe']:.2f}")]
    order = list(crops.runs["run"])
    with_critic, plain = (order.index(f"tone-can32-l2{term}-s0") for term in ("+0.01compact", ""))
    assert abs(int(pixels_of(tiles[WITH_CRITIC])[0, 0, 0]) - with_critic) <= 1
    change = pixels_of(tiles["change by the critic, x4"])[0, 0, 0]
    assert abs(int(change) - (128 + 4 * (with_critic - plain))) <= 1
    names = [tile.name for group in crop_groups(crops) for tile in group.tiles]
    assert len(names) == len(set(names))


def test_crops_in_a_notebook_have_words_for_each_picture(crops: Evidence, tmp_path: Path) -> None:
    shown = show_crops(crops, "tone").data
    words = re.findall(r'alt="([^"]+)"', shown)
    assert len(words) == len(set(words)) == shown.count("<img") == 2 * (len(LOSSES) + 5)
    nothing = show_crops(replace(crops, folder=tmp_path / "elsewhere"), "tone").data
    assert nothing == "<p>No windows of photographs are kept of tone mapping.</p>"


def test_a_rendition_that_was_not_trained_is_left_out(crops: Evidence) -> None:
    plain = crops.runs[(crops.runs["fidelity"] != "mix") & (crops.runs["gamma"] == 0)]
    found = rendition_runs(replace(crops, runs=plain), "tone", "can32")
    assert list(found) == ["input", "target", *(name for name in LOSSES if name != "mix")]
    with pytest.raises(ValueError, match="target of tone"):
        rendition_runs(replace(crops, runs=plain[plain["network"] != "target"]), "tone", "can32")


def test_a_rendition_is_of_the_first_seed_that_kept_a_crop(study: Evidence, tmp_path: Path) -> None:
    evidence = replace(study, folder=tmp_path)
    assert rendition_runs(evidence, "tone", "can32")["L2"] == "tone-can32-l2-s0"
    kept = tmp_path / "crops" / "tone-can32-l2-s1" / "tone-test-3.webp"
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert rendition_runs(evidence, "tone", "can32")["L2"] == "tone-can32-l2-s1"
