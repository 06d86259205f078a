"""Non-local dehazing against its definition, exact scenes and a sparse direct solve."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from haze_scenes import haze_line_scene, psnr
from scipy import sparse
from scipy.sparse.linalg import spsolve
from torch import Tensor

from lpie.imaging.color import luma
from lpie.operators import smoothing as solver
from lpie.operators.haze_lines import (
    LINES,
    fibonacci_sphere,
    line_statistics,
    nearest_directions,
    transmission_along_lines,
)
from lpie.operators.nonlocal_dehazing import dehaze, estimate_transmission, restore
from lpie.operators.smoothing import gradient_links, weighted_least_squares
from lpie.photos.photographs import demo_depth, demo_photographs
from lpie.study.haze_checks import display_stretch
from lpie.study.synthetic_haze import add_haze

KERNELS_AGREE = Path(__file__).with_name("gpu_kernels_agree.py")
AIRLIGHT = (0.9, 0.85, 0.95)


# The last equation


def test_restoring_without_haze_kept_inverts_the_equation_of_haze() -> None:
    scene = haze_line_scene(AIRLIGHT)
    restored = restore(scene.photo, scene.transmission, scene.airlight, haze_kept=0.0)
    torch.testing.assert_close(restored, scene.clear, atol=1e-5, rtol=0)


def test_haze_kept_adds_that_share_of_the_airlight_behind_thick_haze() -> None:
    scene = haze_line_scene(AIRLIGHT)
    kept = restore(scene.photo, scene.transmission, scene.airlight, haze_kept=0.06)
    thick = (scene.transmission < 0.9).expand_as(kept)
    expected = scene.clear + 0.06 * scene.airlight[..., None, None]
    torch.testing.assert_close(kept[thick], expected[thick], atol=1e-5, rtol=0)


def test_full_transmission_returns_the_photo(small_photos: Tensor) -> None:
    ones = torch.ones_like(small_photos[:, :1])
    assert torch.equal(restore(small_photos, ones, torch.rand(3, 3)), small_photos)


def test_transmission_below_the_floor_is_divided_by_the_floor(small_photos: Tensor) -> None:
    thin, airlight = torch.full_like(small_photos[:, :1], 0.05), torch.full((3, 3), 0.8)
    restored = restore(small_photos, thin, airlight, floor=0.2, haze_kept=0.0)
    torch.testing.assert_close(restored, (small_photos - 0.95 * 0.8) / 0.2)


def test_restoring_is_differentiable_in_all_its_arguments() -> None:
    random = torch.Generator().manual_seed(0)

    def uniform(*shape: int, low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(*shape, generator=random, dtype=torch.float64)).requires_grad_()

    arguments = (
        uniform(2, 3, 3, 4, low=0, high=1),
        uniform(2, 1, 3, 4, low=0.05, high=0.8),
        uniform(2, 3, low=0.5, high=1),
        uniform(2, low=0.2, high=0.4),
        uniform(2, low=0.05, high=0.1),
    )
    assert torch.autograd.gradcheck(
        lambda photo, t, airlight, floor, kept: restore(photo, t, airlight, floor=floor, haze_kept=kept), arguments
    )


def test_floor_and_haze_kept_may_differ_from_photo_to_photo(small_photos: Tensor) -> None:
    transmission, airlight = torch.full_like(small_photos[:, :1], 0.2), torch.full((3, 3), 0.8)
    floors, kept = torch.tensor([0.1, 0.3, 0.5]), torch.tensor([0.0, 0.1, 0.2])
    together = restore(small_photos, transmission, airlight, floor=floors, haze_kept=kept)
    for k in range(3):
        one = slice(k, k + 1)
        alone = restore(
            small_photos[one], transmission[one], airlight[one], floor=float(floors[k]), haze_kept=float(kept[k])
        )
        torch.testing.assert_close(together[one], alone)


@pytest.mark.usefixtures("unchecked_shapes")
def test_another_number_of_floors_is_refused(small_photos: Tensor) -> None:
    with pytest.raises(ValueError, match="one per photo"):
        restore(small_photos, torch.ones_like(small_photos[:, :1]), torch.rand(3, 3), floor=torch.rand(2))


# Haze-lines


def test_fibonacci_directions_are_quasi_uniform() -> None:
    directions = fibonacci_sphere(LINES)
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(LINES, dtype=torch.float64))
    spacing = math.sqrt(4 * math.pi / LINES * 2 / math.sqrt(3))  # of a hexagonal lattice on the same area
    nearest = torch.cdist(directions, directions).fill_diagonal_(9).amin(dim=1)
    assert nearest.min() > 0.75 * spacing
    assert nearest.max() < spacing
    random = torch.nn.functional.normalize(torch.randn(20_000, 3, dtype=torch.float64), dim=1)
    assert torch.cdist(random, directions).amin(dim=1).max() < 0.85 * spacing  # no hole
    torch.testing.assert_close(directions.mean(dim=0), torch.zeros(3, dtype=torch.float64), atol=2e-3, rtol=0)


def test_nearest_direction_is_the_one_of_the_largest_cosine() -> None:
    offsets = torch.randn(500, 3) * torch.rand(500, 1)
    cosines = torch.nn.functional.normalize(offsets, dim=1).double() @ fibonacci_sphere(LINES).T
    assert torch.equal(nearest_directions(offsets), cosines.argmax(dim=1))


def test_line_statistics_equal_a_literal_loop() -> None:
    radius, line = torch.rand(300), torch.randint(20, (300,))
    line[line == 7] = 8  # an empty line
    line[0] = 19
    farthest, deviation, count = line_statistics(radius, line, 20)
    for k in range(20):
        members = [float(r) for r, which in zip(radius, line, strict=True) if which == k]
        assert count[k] == len(members)
        assert float(farthest[k]) == pytest.approx(max(members, default=0), abs=1e-6)
        expected = np.std(members, ddof=1) if len(members) > 1 else 0
        assert float(deviation[k]) == pytest.approx(expected, abs=1e-5)


def test_transmission_and_trust_equal_a_literal_loop(small_photos: Tensor) -> None:
    crop, color = small_photos[2:, :, :40, :40], torch.tensor([AIRLIGHT])
    photo, airlight = crop[0].permute(1, 2, 0).reshape(-1, 3).double(), color[0].double()
    lines: dict[int, list[int]] = {}
    for index, line in enumerate(nearest_directions((photo - airlight).float()).tolist()):
        lines.setdefault(line, []).append(index)
    radius = (photo - airlight).norm(dim=1)
    deviations = {line: float(radius[members].std()) if members[1:] else 0.0 for line, members in lines.items()}
    transmission, trust = transmission_along_lines(crop, color)
    for line, members in lines.items():
        share = min(1, len(members) / 50)
        spread = min(1, 3 * max(0.001, deviations[line] / max(deviations.values()) - 0.1))
        for index in members:
            bound = 1 - float((photo[index] / airlight).min())
            expected = min(1, max(0.1, float(radius[index] / radius[members].max()), bound))
            assert float(transmission.flatten()[index]) == pytest.approx(expected, abs=1e-5)
            assert float(trust.flatten()[index]) == pytest.approx(share * spread, abs=1e-4)


# The solver


def direct_solution(values: Tensor, weight: Tensor, links: tuple[Tensor, Tensor]) -> Tensor:
    """The naive way: one sparse matrix, one direct solve, in float64."""
    height, width = values.shape[2:]
    index = np.arange(height * width).reshape(height, width)
    first = np.concatenate([index[:, :-1].ravel(), index[:-1].ravel()])
    second = np.concatenate([index[:, 1:].ravel(), index[1:].ravel()])
    link = np.concatenate([each.double().numpy().ravel() for each in links])
    joined = sparse.coo_matrix((link, (first, second)), shape=(index.size, index.size)).tocsr()
    joined = joined + joined.T
    data = weight.double().numpy().ravel()
    matrix = sparse.diags(np.asarray(joined.sum(axis=1)).ravel() + data) - joined
    solution = spsolve(matrix.tocsc(), data * values.double().numpy().ravel())
    return torch.from_numpy(np.asarray(solution)).reshape(1, 1, height, width).float()


@pytest.mark.parametrize("size", [(64, 96), (61, 83), (1, 40), (7, 1), (13, 12), (1, 1)])
def test_multigrid_meets_the_direct_solve_on_photographs(small_photos: Tensor, size: tuple[int, int]) -> None:
    guide = luma(small_photos[:1])[..., : size[0], : size[1]].contiguous()
    values, weight = torch.rand_like(guide), torch.rand_like(guide).pow(4).clamp_min(1e-4)
    links = gradient_links(guide, 0.1)
    solved = weighted_least_squares(values, weight, links)
    torch.testing.assert_close(solved, direct_solution(values, weight, links), atol=2e-4, rtol=0)


def test_multigrid_meets_the_direct_solve_on_a_dehazing_problem() -> None:
    clear = demo_photographs()["rocket"][..., :240, 100:420]
    scene = add_haze(clear, torch.linspace(2, 0.1, 240)[:, None].expand(1, 1, 240, 320), torch.full((1, 3), 0.8), 1.0)
    raw, trust = transmission_along_lines(scene.photo, scene.airlight)
    links = gradient_links(luma(scene.photo), 0.1)
    error = (weighted_least_squares(raw, trust, links) - direct_solution(raw, trust, links)).abs()
    assert error.max() < 5e-3
    assert error.square().mean().sqrt() < 2e-4


def test_faint_weights_survive_strong_links() -> None:
    guide = torch.zeros(1, 1, 40, 40)  # links of 1e4 everywhere
    values, weight = torch.rand_like(guide), torch.full_like(guide, 6e-5)
    weight[..., :20] *= 3
    mean = (values * weight).sum() / weight.sum()
    solved = weighted_least_squares(values, weight, gradient_links(guide, 0.1))
    torch.testing.assert_close(solved, mean.expand_as(solved), atol=1e-3, rtol=0)


def test_a_batch_is_solved_as_its_members_are(small_photos: Tensor) -> None:
    guide, values = luma(small_photos), torch.rand(3, 1, 64, 96)
    weight, links = torch.rand_like(values) + 0.01, gradient_links(guide, 0.1)
    together = weighted_least_squares(values, weight, links)
    for k in range(3):
        one = slice(k, k + 1)
        alone = weighted_least_squares(values[one], weight[one], (links[0][one], links[1][one]))
        torch.testing.assert_close(together[one], alone, atol=1e-4, rtol=0)


def test_coarse_operators_are_galerkin_products(small_photos: Tensor) -> None:
    weight = torch.rand(1, 1, 15, 18, dtype=torch.float64) + 0.1
    data, links = weight, gradient_links(luma(small_photos[:1])[..., :15, :18].double(), 0.1)
    for _ in range(2):
        shares = solver.interpolation(data, links)
        height, width = data.shape[2:]
        coarse_shape = (height + 1) // 2, (width + 1) // 2

        def columns(apply: object, shape: tuple[int, int]) -> Tensor:
            units = torch.eye(shape[0] * shape[1], dtype=torch.float64).reshape(-1, 1, 1, *shape)
            return torch.stack([apply(unit).flatten() for unit in units], dim=1)  # type: ignore[operator]

        def product(x: Tensor, data: Tensor = data, links: solver.Links = links) -> Tensor:
            r = torch.zeros_like(x)
            solver.subtract_flows(data, links, x, r)
            return -r

        prolongation = columns(lambda u, shares=shares: solver.prolong(shares, u), coarse_shape)
        restriction = columns(lambda u, shares=shares: solver.restrict(shares, u), (height, width))
        torch.testing.assert_close(restriction, prolongation.T)
        matrix = columns(product, (height, width))
        data, links = solver.coarse_operator(data, links, shares)
        coarse = columns(lambda u, data=data, links=links: product(u, data, links), coarse_shape)
        torch.testing.assert_close(coarse, prolongation.T @ matrix @ prolongation, atol=1e-8, rtol=1e-8)


@pytest.mark.slow
def test_gpu_kernels_agree_with_the_plain_form() -> None:
    """In a process of its own: Triton's interpreter, which needs no GPU, is chosen at import."""
    pytest.importorskip("triton", reason="triton comes with the CUDA builds of torch")
    command, environment = [sys.executable, str(KERNELS_AGREE), "dehazing"], os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# The operator


def test_exact_haze_lines_give_the_exact_transmission() -> None:
    scene = haze_line_scene(AIRLIGHT)
    raw, _ = transmission_along_lines(scene.photo, scene.airlight)
    torch.testing.assert_close(raw, scene.transmission, atol=1e-4, rtol=0)


def test_a_scene_of_exact_haze_lines_is_undone() -> None:
    scene = haze_line_scene(AIRLIGHT)
    undone = dehaze(scene.photo, scene.airlight, haze_kept=0.0)
    assert (undone.transmission - scene.transmission).abs().mean() < 0.01
    assert psnr(undone.photo, scene.clear) > 35 > psnr(scene.photo, scene.clear) + 15


def test_haze_on_the_motorcycle_scene_is_mostly_undone() -> None:
    """Depth is measured; haze begins behind the nearest point, as haze-lines need a haze-free member."""
    clear, depth = demo_photographs()["motorcycle"], demo_depth()
    scene = add_haze(clear, 3 * (depth - depth.min()), torch.tensor([[0.8, 0.82, 0.85]]), 1.0)
    undone = dehaze(scene.photo, scene.airlight, gamma=2.2, haze_kept=0.0)
    error = (undone.transmission - scene.transmission).abs().mean().item()
    before, after = psnr(scene.photo, clear), psnr(undone.photo, clear)
    print(f"motorcycle: mean transmission error {error:.3f}, PSNR {before:.1f} -> {after:.1f} dB")
    assert error < 0.15
    assert after > before + 3


def test_a_photo_without_haze_comes_back_and_says_so() -> None:
    clear = demo_photographs()["coffee"]
    result = dehaze(clear)
    assert (result.photo - clear).abs().mean() < 0.005
    assert result.transmission.min() > 0.95
    assert result.presence is not None
    assert result.presence.item() == 0
    assert result.airlight.max() <= 1


def test_a_hazy_photo_is_not_taken_for_a_clear_one() -> None:
    clear = demo_photographs()["coffee"]
    scene = add_haze(clear, torch.ones_like(clear[:, :1]), torch.full((1, 3), 0.8), 1.0)
    result = dehaze(scene.photo)
    assert result.presence is not None
    assert result.presence.item() == 1
    assert result.transmission.mean() < 0.9


def test_gamma_is_undone_after_dehazing_in_powers(small_photos: Tensor) -> None:
    airlight = torch.full((3, 3), 0.9)
    with_gamma = dehaze(small_photos, airlight, gamma=1.6)
    in_powers = dehaze(small_photos**1.6, airlight**1.6)
    torch.testing.assert_close(with_gamma.photo, in_powers.photo ** (1 / 1.6))
    torch.testing.assert_close(with_gamma.transmission, in_powers.transmission)
    assert torch.equal(with_gamma.airlight, airlight)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 2), (40, 31)])
def test_any_size_stays_in_range(size: tuple[int, int]) -> None:
    result = dehaze(torch.rand(2, 3, *size), torch.tensor([[0.9, 0.8, 0.7], [0.0, 0.5, 1.0]]))
    assert result.photo.shape == (2, 3, *size)
    assert result.transmission.shape == (2, 1, *size)
    assert 0 <= result.photo.min() <= result.photo.max() <= 1
    assert 0.1 <= result.transmission.min() <= result.transmission.max() <= 1


@pytest.mark.parametrize("color", [0.0, 0.5, 1.0])
def test_a_constant_photo_gives_numbers(color: float) -> None:
    result = dehaze(torch.full((1, 3, 20, 20), color))
    assert result.photo.isfinite().all()
    assert result.transmission.isfinite().all()


def test_a_batch_is_dehazed_as_its_members_are(small_photos: Tensor) -> None:
    together = dehaze(small_photos)
    for k in range(3):
        alone = dehaze(small_photos[k : k + 1])
        torch.testing.assert_close(together.photo[k : k + 1], alone.photo, atol=2e-3, rtol=0)
        torch.testing.assert_close(together.airlight[k : k + 1], alone.airlight)


def test_doubles_give_what_floats_give(small_photos: Tensor) -> None:
    photo, airlight = small_photos[:1], torch.full((1, 3), 0.9)
    double = dehaze(photo.double(), airlight)
    assert double.photo.dtype == torch.float64
    torch.testing.assert_close(double.photo.float(), dehaze(photo, airlight).photo, atol=1e-4, rtol=0)


def test_more_smoothness_makes_the_transmission_smoother(small_photos: Tensor) -> None:
    airlight = torch.full((3, 3), 0.9)
    rough, smooth = (estimate_transmission(small_photos, airlight, value) for value in (1e-4, 10.0))
    assert smooth.diff(dim=3).abs().mean() < 0.2 * rough.diff(dim=3).abs().mean()


def test_display_stretch_is_a_linear_map_between_percentiles(small_photos: Tensor) -> None:
    photo = 0.3 + 0.2 * small_photos
    stretched = display_stretch(photo)
    for one, result in zip(photo.numpy(), stretched.numpy(), strict=True):
        low, high = np.percentile(one, [0.5, 99.5], method="nearest")
        np.testing.assert_allclose(result, np.clip((one - low) / (high - low), 0, 1), atol=2e-3)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("photo", "airlight", "settings", "expected"),
    [
        (torch.rand(3, 8, 8), None, {}, "batch axis"),
        (torch.rand(1, 1, 8, 8), None, {}, "got shape"),
        (torch.full((1, 3, 8, 8), torch.nan), None, {}, "NaN"),
        (255 * torch.rand(1, 3, 8, 8), None, {}, "divide 8-bit"),
        (torch.rand(2, 3, 8, 8), torch.rand(1, 3), {}, r"\(2, 3\)"),
        (torch.rand(1, 3, 8, 8), torch.full((1, 3), 1.5), {}, r"\[0, 1\] in airlight"),
        (torch.rand(1, 3, 8, 8), None, {"gamma": 0.0}, "gamma"),
        (torch.rand(1, 3, 8, 8), None, {"floor": 0.0}, "floor"),
        (torch.rand(1, 3, 8, 8), None, {"haze_kept": -0.1}, "haze_kept"),
        (torch.rand(1, 3, 8, 8), None, {"haze_kept": 3.0}, "haze_kept must be .* at most 1, got 3"),
        (torch.rand(1, 3, 8, 8), None, {"smoothness": torch.inf}, "smoothness must be finite and above 0, got inf"),
    ],
)
def test_what_does_not_fit_is_refused(
    photo: Tensor, airlight: Tensor | None, settings: dict[str, float], expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        dehaze(photo, airlight, **settings)


@pytest.mark.usefixtures("unchecked_shapes")
def test_whole_numbers_are_no_photo() -> None:
    with pytest.raises(TypeError, match="floating"):
        dehaze(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
