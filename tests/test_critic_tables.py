"""Tables and figures of the aesthetic-score notebook, on a critic small enough to run here."""

import pandas as pd
import pytest
import torch

from lpie.critic.nima import NIMA
from lpie.critic_training import tables
from lpie.critic_training.tables import (
    ease_of_fooling,
    failure_curves,
    gradient_octaves,
    photographs_to_judge,
    read_published,
    scores_of,
)
from lpie.critic_training.variations import VARIATIONS
from lpie.figures.critics import calibration_figure, failure_figure, octave_figure, price_figure
from lpie.figures.style import save_figure


@pytest.fixture(scope="module")
def critics():
    torch.manual_seed(2)
    return {"compact": NIMA("mobilenet_v1", input_size=32).freeze()}


@pytest.fixture
def photos(small_photos):
    return {"astronaut": small_photos[:1], "chelsea": small_photos[1:2, :, :50, :70], "coffee": small_photos[2:]}


def brightness(photo):
    return photo.mean((1, 2, 3))


def test_curves_start_at_nothing_and_follow_the_judge(photos):
    curves = failure_curves({"brightness": brightness}, photos)
    assert len(curves) == 3 * sum(len(strengths) for _, strengths in VARIATIONS.values())
    assert curves.loc[curves["strength"] == 0, "change"].abs().max() == 0
    dark = curves[curves["variation"] == "dark (stops)"].groupby("strength")["change"].mean()
    assert dark.is_monotonic_decreasing


def test_attack_gains_and_rounding_hardly_matters(critics, photos):
    row = ease_of_fooling(critics, photos, universal_steps=2).set_index("critic").loc["compact"]
    assert row["attack"] > 0
    assert row["rounding"] < row["attack"]
    assert list(row.index) == ["attack", "universal", "jpeg90", "half", "shift", "rounding"]


def test_shares_of_the_octaves_sum_to_one(critics, photos):
    table = gradient_octaves(critics, photos)
    assert table["share"].sum() == pytest.approx(1)
    assert table["cycles_per_pixel"].tolist() == [1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64]


def test_every_judge_scores_every_photograph(photos):
    table = scores_of({"brightness": brightness}, photos)
    assert table.loc["coffee", "brightness"] == pytest.approx(float(photos["coffee"].mean()))


def test_smoke_judges_two_small_photographs():
    photos = photographs_to_judge("smoke")
    assert len(photos) == 2
    assert max(max(photo.shape) for photo in photos.values()) == 176


def test_figures_are_drawn_from_the_tables(critics, photos, tmp_path):
    curves = pd.concat([failure_curves({name: brightness}, photos) for name in ("compact", "niqe")])
    groups = {"dataset": "AVA test", "network": "ava", "predicted": [4.0, 5.0], "rated": [4.2, 5.1]}
    calibration = pd.DataFrame({**groups, "low": [4.1, 5.0], "high": [4.3, 5.2]})
    figures = (
        failure_figure(curves),
        octave_figure(gradient_octaves(critics, photos)),
        calibration_figure(calibration),
        price_figure(read_published("critic_variants")),
    )
    for number, figure in enumerate(figures):
        assert save_figure(figure, tmp_path / str(number)).stat().st_size > 5000
    assert [len(panel.get_xlabel()) > 0 for panel in figures[0].axes] == [False] * 5 + [True] * 5


def test_figure_without_rows_says_what_is_missing():
    with pytest.raises(ValueError, match="the tables hold no curves"):
        failure_figure(pd.DataFrame({"variation": []}))


def test_the_price_figure_colors_critics_by_what_they_learned_from_and_names_the_shipped():
    splits = {
        "critic": ["a (shipped as robust)", "a (shipped as robust)", "b", "c"],
        "learned_from": [10, 10, 10, 2000],
    }
    gains = {"attack_in_standard_deviations": [2, 3, 4, 5], "ava_attack_in_standard_deviations": 9}
    table = pd.DataFrame(
        {**splits, "split": ["test", "train", "test", "test"], "srcc_clean": [0.7, 0.9, 0.8, 0.6], **gains}
    )
    figure = price_figure(table)
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown[:3] == ["learned from 10 photographs", "learned from 2,000 photographs", "AVA network"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["robust", "robust"]
    corner = figure.axes[0].collections[0].get_datalim(figure.axes[0].transData)
    assert (corner.x1, corner.y0) == pytest.approx((9 / 5, 0.85))
    assert (
        price_figure(table.assign(srcc_clean=[0.7, 0.9, 0.8, None])).legends[0].get_texts()[1].get_text()
        == "AVA network"
    )


def test_missing_table_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(tables, "PUBLISHED", tmp_path)
    with pytest.raises(FileNotFoundError, match="No table critic_variants"):
        read_published("critic_variants")


def test_committed_agreement_of_the_ava_network_is_the_published_one():
    table = read_published("critic_agreement").set_index(["dataset", "network", "measure"])["estimate"]
    assert table["AVA test", "ava", "srcc_mean"] == pytest.approx(0.59496, abs=1e-4)
    assert table["AVA test", "ava", "lcc_mean"] == pytest.approx(0.61297, abs=1e-4)
