"""The checks of the tone operator find what is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from lpie.imaging.color import luma
from lpie.operators.local_laplacian import filtered_luminance
from lpie.study import tone_checks
from lpie.study.tone_checks import Setting, remap_curves, setting_renditions, step_profiles


def test_fit_finds_the_setting_that_made_the_renditions(small_photos: Tensor) -> None:
    made_with = Setting(0.7, 0.8, 0.25)
    before = luma(0.2 + 0.6 * small_photos[..., :48, :48])
    pairs = [(one, filtered_luminance(one, **made_with._asdict())) for one in before.split(1)]
    assert np.allclose(tone_checks.fitted(pairs), made_with, rtol=0.05)


def test_remapping_crosses_its_center_and_the_edges_of_detail() -> None:
    curves = remap_curves(Setting(0.5, 0.7, 0.2))
    at = curves[np.isclose(curves["before"], 0.7) & (curves["parameter"] != "sigma_r")]
    assert np.allclose(at["after"], 0.7)
    assert np.allclose(curves[np.isclose(curves["before"], 0.5)]["after"], 0.5)


def test_step_keeps_its_texture_where_tone_is_compressed() -> None:
    profiles = step_profiles(Setting(0.5, 0.3, 0.2)).pivot_table("value", "place", "what")
    before, compressed = profiles["photo"], profiles["tone compressed"]
    assert compressed[90:110].std() == pytest.approx(before[90:110].std(), rel=0.1)
    assert compressed[90:110].mean() - compressed[20:40].mean() < 0.95 * (before[90:110].mean() - before[20:40].mean())


def test_one_row_for_each_parameter_swept(small_photos: Tensor) -> None:
    rows = setting_renditions(small_photos[:1, :, :8, :9], Setting(0.5, 0.7, 0.2))
    assert {name: len(row) for name, row in rows.items()} == {"alpha": 4, "beta": 4, "sigma_r": 4}
    for row in rows.values():
        assert all(picture.shape == (8, 9, 3) for picture in row.values())


def test_published_outputs_are_closer_to_ours_than_to_the_photo(data: Path) -> None:
    compressed = tone_checks.published_outputs().query("beta < 1")
    assert (compressed["log"] > compressed["input"] + 3).all()


def test_published_renditions_are_closer_to_ours_than_to_the_photo(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On scenes that took no part in the fit, here a short one on small copies."""
    whole = tone_checks.published_renditions()[:2]
    small = [(name, *(torch.nn.functional.avg_pool2d(x, 4) for x in pair)) for name, *pair in whole]
    monkeypatch.setattr(tone_checks, "published_renditions", lambda: small)
    monkeypatch.setattr(tone_checks, "FIT_STEPS", 5)
    tone_checks.fitted_setting.cache_clear()
    held_out = tone_checks.rendition_table().query("not fitted")
    tone_checks.fitted_setting.cache_clear()
    assert (held_out["ours"] > held_out["input"] + 3).all()


def test_a_table_that_was_made_is_read_back_so_that_a_killed_notebook_goes_on(tmp_path: Path) -> None:
    made = tone_checks.kept(tmp_path, "errors", lambda: pd.DataFrame({"samples": [8, 16], "error": [0.5, 0.25]}))
    again = tone_checks.kept(tmp_path, "errors", lambda: pytest.fail("made twice"))
    pd.testing.assert_frame_equal(again, made)
    with pytest.raises(KeyError, match="another table"):
        tone_checks.kept(tmp_path, "others", lambda: {}["another table"])  # type: ignore[return-value]
