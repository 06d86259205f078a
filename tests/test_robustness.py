"""Attacks against a score whose best attack is known, and what the transformations keep."""

import pytest
import torch

from lpie.judges.robustness import (
    EPSILON,
    INVARIANCE,
    SURVIVAL,
    jpeg,
    octave_energy,
    projected_gradient_ascent,
    score_gradient,
    universal_perturbation,
)

SIGNS = torch.randn(1, 3, 24, 20, generator=torch.Generator().manual_seed(0)).sign()


def linear(photo):
    """A score whose steepest change within epsilon is epsilon in the direction of SIGNS."""
    return (photo * SIGNS).mean((1, 2, 3))


def some_photos(count=2, height=24, width=20):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1)) * 0.8 + 0.1


def test_ascent_finds_the_best_attack_on_a_linear_score():
    photo = some_photos()
    attacked = projected_gradient_ascent(linear, photo)
    assert torch.allclose(attacked, photo + EPSILON * SIGNS, atol=1e-6)


def test_attacked_photo_stays_a_photo_within_epsilon():
    photo = some_photos().round()  # black and white values, where the range ends
    attacked = projected_gradient_ascent(linear, photo, epsilon=0.1)
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    assert (attacked - photo).abs().max() <= 0.1 + 1e-6


def test_ascent_never_scores_below_the_photo():
    def jagged(photo):  # signed steps overshoot its narrow peaks
        return torch.cos(4000 * photo.mean((1, 2, 3)))

    photo = some_photos(8)
    assert (jagged(projected_gradient_ascent(jagged, photo)) >= jagged(photo)).all()


def test_universal_perturbation_carries_over_to_other_photos():
    perturbation = universal_perturbation(linear, some_photos(5), steps=20, batch=3)
    assert perturbation.shape == (1, 3, 24, 20)
    others = some_photos(3).flip(0)
    assert linear(others + perturbation) == pytest.approx(linear(others) + EPSILON, abs=1e-5)


def test_gradient_of_a_score_leaves_the_photo_as_it_was():
    photo = some_photos()
    with torch.no_grad():
        assert torch.allclose(score_gradient(linear, photo), SIGNS.expand_as(photo) / SIGNS.numel())
    assert not photo.requires_grad


@pytest.mark.parametrize(("cycles_per_pixel", "octave"), [(0.45, 0), (0.2, 1), (0.1, 2), (0.05, 3)])
def test_a_wave_has_its_energy_in_its_octave(cycles_per_pixel, octave):
    wave = torch.cos(2 * torch.pi * cycles_per_pixel * torch.arange(200.0)).expand(1, 3, 180, 200)
    energy = octave_energy(wave)[0]
    assert energy.argmax() == octave
    assert energy[octave] > 0.98 * energy.sum()


def test_octaves_of_noise_hold_its_energy_but_for_the_lowest_frequencies():
    noise = torch.randn(1, 3, 128, 96, generator=torch.Generator().manual_seed(2))
    assert octave_energy(noise).sum() == pytest.approx(noise.square().sum().item(), rel=0.01)


@pytest.mark.parametrize("height_width", [(24, 20), (1, 1), (3, 50)])
@pytest.mark.parametrize("name", [*SURVIVAL, "rounding"])
def test_transformed_photo_keeps_its_size_and_range(name, height_width):
    photo = some_photos(2, *height_width)
    moved = {**SURVIVAL, **INVARIANCE}[name](photo)
    assert moved.shape == photo.shape
    assert moved.min() >= 0
    assert moved.max() <= 1


@pytest.mark.parametrize("name", [*SURVIVAL, "rounding"])
def test_constant_photo_stays_constant(name):
    photo = torch.full((1, 3, 17, 19), 102 / 255)
    assert torch.allclose({**SURVIVAL, **INVARIANCE}[name](photo), photo, atol=1.01 / 255)


def test_shift_moves_each_pixel_down_and_right():
    photo = some_photos()
    assert torch.equal(SURVIVAL["shift"](photo)[..., 1:, 1:], photo[..., :-1, :-1])


def test_half_size_and_back_removes_the_finest_checkerboard():
    checkerboard = (torch.arange(16)[:, None] + torch.arange(16)) % 2
    photo = checkerboard.float().expand(1, 3, 16, 16)
    assert (SURVIVAL["half"](photo)[..., 2:-2, 2:-2] - 0.5).abs().max() < 0.02


def test_worse_jpeg_differs_more():
    photo = some_photos(1, 64, 64)
    differences = [(jpeg(photo, quality) - photo).abs().mean() for quality in (95, 60, 20)]
    assert differences == sorted(differences)
