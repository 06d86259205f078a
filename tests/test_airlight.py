"""The vote for the airlight against a literal count, exact scenes, and the dark channel prior beside it."""

from __future__ import annotations

import math

import pytest
import torch
from haze_scenes import haze_line_scene, psnr
from torch import Tensor

from lpie.imaging.color import luma
from lpie.imaging.resampling import resize
from lpie.operators.airlight import (
    CELLS,
    LINES,
    airlight_votes,
    color_counts,
    estimate_airlight,
    haze_presence,
    reached_color,
)
from lpie.photos.photographs import demo_photographs
from lpie.study.dark_channel import (
    brightest_pixel_airlight,
    dark_channel,
    dark_channel_airlight,
    dark_channel_dehaze,
    guided_maps,
)
from lpie.study.synthetic_haze import add_haze


def literal_votes(colors: list[tuple[float, float, float]]) -> Tensor:
    """The vote in one plane, a color, candidate and line at a time; a color is (first, second, share)."""
    votes = torch.zeros(CELLS + 1, CELLS + 1)
    for i in range(CELLS + 1):
        for j in range(CELLS + 1):
            lines = [0.0] * LINES
            for first, second, share in colors:
                right, up = i / CELLS - first, j / CELLS - second
                if right > 0 and up > 0:
                    line = int(math.atan2(up, right) / (math.pi / 2) * LINES)
                    lines[line] += share * (1 + 4 * math.exp(-math.hypot(right, up)))
            votes[i, j] = sum(line**2 for line in lines)
    return votes / votes.max()


def test_votes_equal_a_literal_count() -> None:
    cells = [(5, 9, 0.25), (20, 31, 0.5), (33, 12, 0.125), (41, 40, 0.125)]
    counts = torch.zeros(1, 3, CELLS, CELLS)
    for row, column, share in cells:
        counts[0, 1, row, column] = share
    counts[0, 0, 3, 3] = counts[0, 2, 7, 2] = 1.0
    expected = literal_votes([((row + 0.5) / CELLS, (column + 0.5) / CELLS, share) for row, column, share in cells])
    torch.testing.assert_close(airlight_votes(counts)[0, 1], expected, atol=1e-5, rtol=0)


def test_two_haze_lines_by_hand_meet_at_the_airlight() -> None:
    """Six colors on two lines through (0.8, 0.7), one shallow and one steep: no candidate gathers more."""
    counts = torch.zeros(1, 3, CELLS, CELLS)
    for first, second in ((0.2, 0.5), (0.38, 0.56), (0.56, 0.62), (0.7, 0.16), (0.74, 0.36), (0.76, 0.5)):
        counts[0, :, round(first * CELLS), round(second * CELLS)] = 1 / 6
    best = airlight_votes(counts)[0, 0].argmax().item()
    found = best // (CELLS + 1) / CELLS, best % (CELLS + 1) / CELLS
    assert math.dist(found, (0.8, 0.7)) < 0.05


def test_colors_are_counted_once_in_every_plane(small_photos: Tensor) -> None:
    counts = color_counts(small_photos)
    torch.testing.assert_close(counts.sum(dim=(2, 3)), torch.ones(3, 3))
    red, blue = (small_photos[1, 0] * CELLS).int(), (small_photos[1, 2] * CELLS).int()
    pixel = (red - blue).argmax()  # one whose red and blue differ
    row, column = red.flatten()[pixel], blue.flatten()[pixel]
    expected = ((red == row) & (blue == column)).float().mean()
    torch.testing.assert_close(counts[1, 2, row, column], expected)


@pytest.mark.parametrize("airlight", [(0.9, 0.86, 0.94), (0.82, 0.8, 0.8), (0.92, 0.8, 0.64)])
def test_airlight_of_exact_haze_lines_is_found(airlight: tuple[float, float, float]) -> None:
    clear = demo_photographs()["coffee"]
    transmission = torch.linspace(0.95, 0.05, 400)[:, None]
    color = torch.tensor([airlight])
    photo = transmission * clear + (1 - transmission) * color[..., None, None]
    assert (estimate_airlight(photo) - color).abs().max() < 0.061  # three candidates


def test_airlight_never_exceeds_what_five_percent_of_the_pixels_reach(small_photos: Tensor) -> None:
    dark = 0.2 * small_photos
    assert (estimate_airlight(dark) <= reached_color(dark)).all()
    share = (dark > reached_color(dark)[..., None, None]).float().mean(dim=(2, 3))
    assert share.max() <= 0.05 + 1e-6


def test_a_batch_has_the_airlights_of_its_members(small_photos: Tensor) -> None:
    alone = torch.cat([estimate_airlight(small_photos[k : k + 1]) for k in range(3)])
    assert torch.equal(estimate_airlight(small_photos), alone)


def test_swapping_channels_swaps_the_airlight() -> None:
    scene = haze_line_scene((0.9, 0.8, 0.7))
    swapped = estimate_airlight(scene.photo.flip(1)).flip(1)
    assert (swapped - estimate_airlight(scene.photo)).abs().max() <= 0.021  # ties go to the first cell


def test_presence_rises_with_haze() -> None:
    clear = demo_photographs()["coffee"]
    depth, color = torch.ones_like(clear[:, :1]), torch.full((1, 3), 0.8)
    hazy = [add_haze(clear, depth, color, density).photo for density in (0.0, 0.4, 1.5)]
    presence = [float(haze_presence(photo)) for photo in hazy]
    assert presence[0] == 0
    assert presence[0] <= presence[1] <= presence[2] == 1


@pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket", "flower"])
def test_presence_depends_on_neither_size_nor_color(name: str) -> None:
    photo = demo_photographs()[name]
    height, width = photo.shape[2:]
    seen = [resize(photo, round(height * scale), round(width * scale)) for scale in (1, 0.75, 0.5)]
    seen += [luma(one).expand_as(one) for one in seen]
    presence = [float(haze_presence(one)) for one in seen]
    assert max(presence) - min(presence) < 0.1
    assert name == "rocket" or max(presence) == 0  # which flies in the mist of its own steam


def test_dark_channel_equals_a_literal_minimum() -> None:
    photo = torch.rand(1, 3, 9, 11)
    dark = dark_channel(photo, patch=5)
    for row in range(9):
        for column in range(11):
            window = photo[0, :, max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
            assert dark[0, 0, row, column] == window.min()


def test_dark_channel_airlight_ignores_a_lamp_and_brightest_pixel_does_not() -> None:
    photo = torch.rand(1, 3, 60, 60) * 0.5
    photo[..., :30] = torch.tensor([0.7, 0.75, 0.8])[:, None, None]
    photo[..., 50:52, 50:52] = 1.0
    torch.testing.assert_close(dark_channel_airlight(photo), torch.tensor([[0.7, 0.75, 0.8]]))
    torch.testing.assert_close(brightest_pixel_airlight(photo), torch.ones(1, 3))


def test_guided_filter_equals_its_definition() -> None:
    values, guide, radius, epsilon = torch.rand(1, 1, 8, 9), torch.rand(1, 1, 8, 9), 2, 0.01
    lines = {}
    for row in range(8):
        for column in range(9):
            at = (slice(max(0, row - radius), row + radius + 1), slice(max(0, column - radius), column + radius + 1))
            p, i = values[0, 0][at].flatten().double(), guide[0, 0][at].flatten().double()
            slope = ((i * p).mean() - i.mean() * p.mean()) / ((i * i).mean() - i.mean() ** 2 + epsilon)
            lines[row, column] = slope, p.mean() - slope * i.mean()
    gain, offset = guided_maps(values, guide, radius, epsilon)
    filtered = gain * guide + offset
    for row in range(8):
        for column in range(9):
            near = [lines[k] for k in lines if abs(k[0] - row) <= radius and abs(k[1] - column) <= radius]
            slope, offset = (sum(each) / len(near) for each in zip(*near, strict=True))
            expected = float(slope * guide[0, 0, row, column] + offset)
            assert float(filtered[0, 0, row, column]) == pytest.approx(expected, abs=1e-5)


def test_dark_channel_prior_undoes_haze_where_the_prior_holds() -> None:
    clear = torch.rand(1, 3, 80, 80)
    clear[:, 0, ::4, ::4] = 0  # every patch has a black channel
    color, transmission = torch.tensor([[0.9, 0.9, 0.9]]), torch.full((1, 1, 80, 80), 0.5)
    photo = transmission * clear + (1 - transmission) * color[..., None, None]
    result = dark_channel_dehaze(photo, color)
    torch.testing.assert_close(result.transmission, 1 - 0.95 * (1 - transmission), atol=1e-4, rtol=0)
    assert psnr(result.photo, clear) > 20 > psnr(photo, clear)
    assert 0 <= result.photo.min() <= result.photo.max() <= 1


def test_airlight_is_nearer_to_the_published_ones_than_either_baseline(data: object) -> None:
    """A regression test: the estimate was tuned with these scenes in view."""
    from lpie.study.haze_checks import airlight_table

    errors = airlight_table().set_index("method")
    for statistic in ("distance, mean", "distance, median"):
        best = errors.loc["haze-lines", statistic]
        assert best < errors.loc["dark channel", statistic]
        assert best < errors.loc["brightest pixel", statistic]
