"""Widgets: they work without a front end and follow their controls."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from synthetic_records import invent_study
from torch import Tensor

from lpie.explore import PREVIEW_SIDE, explore_gamma, explore_operator
from lpie.operators.local_laplacian import local_laplacian
from lpie.photos.photographs import to_pixels
from lpie.records import write_csv

pytest.importorskip("ipywidgets")


def pixels(widget: object) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(widget.value)))  # type: ignore[attr-defined]


def test_a_slider_applies_the_operator(small_photos: Tensor) -> None:
    photo = small_photos[:1]
    box = explore_operator(photo, "tone")
    alpha, beta, sigma_r, pictures = box.children
    before, after = pictures.children
    assert np.array_equal(pixels(before), to_pixels(photo, 8))
    alpha.value, beta.value, sigma_r.value = 1.5, 0.4, 0.3
    expected = to_pixels(local_laplacian(photo, alpha=1.5, beta=0.4, sigma_r=0.3), 8)
    assert np.array_equal(pixels(after), expected)


def test_a_large_photo_is_previewed_small(small_photos: Tensor) -> None:
    large = small_photos[:1].repeat(1, 1, 8, 8)
    before = explore_operator(large, "tone").children[-1].children[0]
    assert max(pixels(before).shape) == PREVIEW_SIDE


def test_an_unknown_operator_is_named(small_photos: Tensor) -> None:
    with pytest.raises(ValueError, match="choose one of tone, dehaze"):
        explore_operator(small_photos[:1], "blur")


def test_the_weights_slider_shows_the_kept_crop_and_its_scores(tmp_path: Path) -> None:
    runs, scores = invent_study(operators=("tone",), networks=("parameters",), seeds=1, rivals=False)
    write_csv(tmp_path / "runs.csv", runs)
    write_csv(tmp_path / "scores.csv", scores)
    for shade, run in enumerate(runs["run"]):
        (tmp_path / "crops" / run).mkdir(parents=True)
        Image.new("RGB", (8, 8), (shade, 0, 0)).save(tmp_path / "crops" / run / "tone-test-2.png")
    _, photo, weight, pictures, caption = explore_gamma(tmp_path).children
    assert [label for label, _ in weight.options] == ["0", "0.001", "0.01", "0.1"]
    weight.value = dict(weight.options)["0.1"]
    assert pixels(pictures.children[1])[0, 0, 0] == list(runs["run"]).index("tone-parameters-l2+0.1compact-s0")
    row = scores[(scores["run"] == weight.value) & (scores["photo"] == photo.value)].iloc[0]
    assert f"{row['psnr']:.1f} dB" in caption.value
    assert f"oasis {row['score_oasis']:.2f}" in caption.value
    with pytest.raises(ValueError, match="holds no ladder"):
        explore_gamma(tmp_path, network="grid")


def test_without_the_extra_the_error_says_what_to_install(
    small_photos: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(ImportError, match=r"lpie\[lab\]"):
        explore_operator(small_photos[:1])
