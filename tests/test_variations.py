"""The photographs a critic learns from, and their variations."""

import numpy as np
import pytest
import torch
from PIL import Image

from lpie.critic_training import variations
from lpie.critic_training.variations import (
    VARIATIONS,
    add_noise,
    darken,
    draw_views,
    haze,
    sharpen,
    training_photographs,
    vary,
)
from lpie.imaging.color import to_linear


def test_most_varied_photos_differ_and_all_stay_in_range(small_photos):
    torch.manual_seed(0)
    photo = small_photos[:1].expand(8, -1, -1, -1)
    varied = vary(photo)
    assert ((varied - photo).abs().mean((1, 2, 3)) > 1e-3).sum() >= 5
    assert (varied >= 0).all()
    assert (varied <= 1).all()


def test_haze_of_density_zero_changes_nothing_and_thick_haze_leaves_airlight_above(small_photos):
    none, airlight = torch.zeros(len(small_photos)), torch.full((len(small_photos),), 0.8)
    torch.testing.assert_close(haze(small_photos, none, airlight), small_photos, atol=1e-5, rtol=0)
    thick = haze(small_photos, none + 20, airlight)
    assert (thick[:, :, 0] - 0.8).abs().max() < 1e-3
    torch.testing.assert_close(thick[:, :, -1], small_photos[:, :, -1], atol=1e-5, rtol=0)


def test_views_are_squares_in_range_of_photographs_of_any_size():
    photographs = [torch.full((3, 40, 90), 50, dtype=torch.uint8), torch.full((3, 70, 33), 200, dtype=torch.uint8)]
    torch.manual_seed(1)
    views = draw_views(photographs, 12, 48)
    assert views.shape == (12, 3, 48, 48)
    assert views.min() >= 0
    assert views.max() <= 1
    plain = [view for view in views if view.std() < 1e-6]
    assert {round(float(view.mean() * 255)) for view in plain} >= {50, 200}


@pytest.mark.parametrize("limit", [0, 1])
def test_further_photographs_join_those_of_the_registry(tmp_path, monkeypatch, limit):
    for shade, name in enumerate(("one.png", "two.png", "notes.txt")):
        (Image.fromarray(np.full((20, 600, 3), 20 * shade, np.uint8)).save(tmp_path / name, "PNG"))
    monkeypatch.setattr(variations, "files_of", lambda folder: [tmp_path / "one.png"])
    monkeypatch.setattr(variations, "photographs_in", lambda rows: [])
    found = training_photographs([tmp_path], "cpu", limit)
    assert [tuple(photo.shape) for photo in found] == [(3, 17, 496)] * (6 + (limit or 2))
    assert [int(photo[0, 0, 0]) for photo in found][-1] == (0 if limit else 20)


@pytest.mark.parametrize("name", VARIATIONS)
def test_a_variation_of_no_strength_changes_nothing_and_the_strongest_much(name, small_photos):
    change, strengths = VARIATIONS[name]
    assert strengths[0] == 0
    assert torch.allclose(change(small_photos, 0.0), small_photos, atol=1e-5)
    assert (change(small_photos, strengths[-1]) - small_photos).abs().mean() > 0.02


def test_variations_do_what_they_are_named_for(small_photos):
    assert torch.allclose(to_linear(darken(small_photos, 1.0)), to_linear(small_photos) / 2, atol=1e-6)
    assert small_photos.var() < sharpen(small_photos, 2.0).var()
    assert (add_noise(torch.full((1, 3, 64, 64), 0.5), 0.05) - 0.5).std() == pytest.approx(0.05, rel=0.05)
