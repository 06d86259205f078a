"""The local Laplacian filter against its literal definition, its invariants, and one path against the other."""

from __future__ import annotations

import inspect
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from real_photos import photograph
from torch import Tensor

from lpie.imaging import pyramids
from lpie.imaging.pyramids import collapse, expand, expansion, full_depth, gaussian_pyramid, reduce, reduction
from lpie.imaging.remapping import remap_gain
from lpie.operators import local_laplacian_plain as plain
from lpie.operators.local_laplacian import filtered_luminance, local_laplacian

SETTINGS = {"alpha": 0.5, "beta": 0.7, "sigma_r": 0.2}
SIZES = [(1, 1), (1, 7), (2, 2), (3, 5), (16, 16), (33, 20), (17, 33)]


def laplacian_pyramid(image: Tensor, levels: int) -> list[Tensor]:
    return pyramids.laplacian_pyramid(gaussian_pyramid(image, levels))


def luma(photo: Tensor) -> Tensor:
    return 0.299 * photo[:, :1] + 0.587 * photo[:, 1:2] + 0.114 * photo[:, 2:]


def literal(image: Tensor, levels: int, alpha: float, beta: float, sigma_r: float) -> Tensor:
    """The filter of one image (C, h, w) by its definition, a loop over all Laplacian coefficients.

    Remapping is written out here again, from the equations of the paper.
    """

    def remapped(center: Tensor) -> Tensor:
        difference = image - center[:, None, None]
        size = difference.square().sum(0, keepdim=True).sqrt()
        detail = sigma_r * (size / sigma_r) ** alpha
        if alpha < 1:
            y = ((size - 0.01) / 0.01).clamp(0, 1)
            detail = y**2 * (y - 2) ** 2 * detail + (1 - y**2 * (y - 2) ** 2) * size
        size_after = torch.where(size <= sigma_r, detail, beta * (size - sigma_r) + sigma_r)
        return center[:, None, None] + torch.where(size > 0, difference / size, 0) * size_after

    gaussians = gaussian_pyramid(image[None], levels)
    result = [torch.zeros_like(level) for level in gaussians]
    result[-1] = gaussians[-1]
    for level in range(levels - 1):
        for y in range(gaussians[level].shape[2]):
            for x in range(gaussians[level].shape[3]):
                pyramid = laplacian_pyramid(remapped(gaussians[level][0, :, y, x])[None], level + 2)
                result[level][0, :, y, x] = pyramid[level][0, :, y, x]
    return collapse(result)[0]


def natural_crops() -> list[Tensor]:
    """Luma of 64x64 crops of photographs, (1, 1, 64, 64) float64."""
    places = {"astronaut": (80, 180), "chelsea": (90, 120), "coffee": (150, 250), "rocket": (200, 280)}
    crops = [photograph(name, slice(y, y + 64), slice(x, x + 64)) for name, (y, x) in places.items()]
    return [luma(crop.double()) for crop in crops]


def exact(luminance: Tensor, alpha: float, beta: float, sigma_r: float) -> Tensor:
    settings = tuple(luminance.new_full((len(luminance), 1, 1, 1), x) for x in (alpha, beta, sigma_r, 0.01))
    return plain.exact(luminance, settings, full_depth(*luminance.shape[2:]))  # type: ignore[arg-type]


# Against the definition


@pytest.mark.parametrize(("alpha", "beta", "sigma_r"), [(0.5, 0.7, 0.2), (2.0, 0.0, 0.1)])
def test_exact_form_is_the_literal_definition(small_photos: Tensor, alpha: float, beta: float, sigma_r: float) -> None:
    crop = luma(small_photos[:1, :, 20:36, 30:46]).double()
    crop = crop if alpha < 1 else crop[..., :11, :8]
    expected = literal(crop[0], full_depth(*crop.shape[2:]), alpha, beta, sigma_r)
    assert torch.allclose(exact(crop, alpha, beta, sigma_r)[0], expected, atol=1e-12)


def test_vector_mode_is_the_literal_definition(small_photos: Tensor) -> None:
    crop = small_photos[:1, :, 20:31, 30:38].double()
    expected = literal(crop[0], full_depth(11, 8), **SETTINGS).clamp(0, 1)
    assert torch.allclose(local_laplacian(crop, **SETTINGS, mode="rgb")[0], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("alpha", "beta", "sigma_r"), [(0.5, 0.7, 0.2), (0.5, 1.0, 0.1), (2.0, 1.0, 0.2), (1.0, 0.0, 0.4)]
)
def test_default_samples_stay_within_two_thousandths_of_the_definition(
    alpha: float, beta: float, sigma_r: float
) -> None:
    for crop in natural_crops():
        fast = filtered_luminance(crop.float(), alpha=alpha, beta=beta, sigma_r=sigma_r)
        assert (fast - exact(crop, alpha, beta, sigma_r)).abs().max() < 2e-3


def test_more_samples_come_closer_to_the_definition() -> None:
    crop = natural_crops()[0]
    expected = exact(crop, **SETTINGS)
    errors = [
        (filtered_luminance(crop.float(), **SETTINGS, samples=k) - expected).abs().mean() for k in (8, 16, 64, 256)
    ]
    assert errors == sorted(errors, reverse=True)


def test_remapping_keeps_noise_bends_detail_and_scales_edges() -> None:
    differences = torch.tensor([0.005, 0.05, 0.2, 0.5], dtype=torch.float64)
    expected = [0.005, 0.2 * 0.25**0.5, 0.2, 0.7 * 0.3 + 0.2]
    assert np.allclose(remap_gain(differences, **SETTINGS) * differences, expected)


# Pyramids


@pytest.mark.parametrize("size", SIZES)
def test_collapse_undoes_the_laplacian_pyramid(size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    assert torch.allclose(collapse(laplacian_pyramid(image, full_depth(*size))), image, atol=1e-14)


@pytest.mark.parametrize("size", SIZES)
def test_pyramid_levels_commute_with_mirroring(size: tuple[int, int]) -> None:
    image = torch.rand(1, 1, *size, dtype=torch.float64)
    for mirrored, level in zip(
        laplacian_pyramid(image.flip(2, 3), full_depth(*size)), laplacian_pyramid(image, full_depth(*size)), strict=True
    ):
        assert torch.allclose(mirrored, level.flip(2, 3), atol=1e-14)


def test_full_pyramid_ends_in_one_value() -> None:
    for size in SIZES:
        assert gaussian_pyramid(torch.rand(1, 1, *size), full_depth(*size))[-1].numel() == 1
        assert full_depth(*size) == 1 or gaussian_pyramid(torch.rand(1, 1, *size), full_depth(*size))[-2].numel() > 1


@pytest.mark.parametrize("n", range(1, 14))
def test_matrices_are_the_reduction_and_expansion_of_an_axis(n: int) -> None:
    fine = torch.rand(1, 1, n, 1, dtype=torch.float64)
    coarse = reduce(fine)
    assert np.allclose(reduction(n) @ fine[0, 0, :, 0].numpy(), coarse[0, 0, :, 0])
    assert np.allclose(expansion(n) @ coarse[0, 0, :, 0].numpy(), expand(coarse, fine.shape)[0, 0, :, 0])


# Invariants


@pytest.mark.parametrize("mode", ["luminance", "log", "rgb"])
def test_identity_settings_return_the_photo(small_photos: Tensor, mode: str) -> None:
    photos = torch.cat([small_photos, torch.zeros_like(small_photos[:1])])[:, :, :31, :40]
    result = local_laplacian(photos, alpha=1, beta=1, sigma_r=0.2, mode=mode)  # type: ignore[arg-type]
    assert torch.allclose(result, photos, atol=1e-5)


@pytest.mark.parametrize("mode", ["luminance", "log", "rgb"])
@pytest.mark.parametrize("color", [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.2, 0.5, 0.317)])
def test_constant_photo_stays_constant(mode: str, color: tuple[float, float, float]) -> None:
    photo = torch.tensor(color).reshape(1, 3, 1, 1).expand(1, 3, 15, 22)
    result = local_laplacian(photo, **SETTINGS, mode=mode)  # type: ignore[arg-type]
    assert torch.allclose(result, photo, atol=1e-5)


@pytest.mark.parametrize("mode", ["luminance", "log", "rgb"])
@pytest.mark.parametrize("axes", [(2,), (3,), (2, 3)])
def test_filter_commutes_with_mirroring(small_photos: Tensor, mode: str, axes: tuple[int, ...]) -> None:
    photo = small_photos[:1, :, :30, :41]
    mirrored = local_laplacian(photo.flip(axes), **SETTINGS, mode=mode)  # type: ignore[arg-type]
    assert torch.allclose(mirrored, local_laplacian(photo, **SETTINGS, mode=mode).flip(axes), atol=1e-5)  # type: ignore[arg-type]


def test_step_edge_gets_no_halo() -> None:
    """Compressed or with its detail enhanced, an edge between flat sides stays monotone."""
    photo = torch.full((1, 3, 32, 64), 0.2)
    photo[..., 32:] = 0.8
    for alpha, beta in ((0.25, 1.0), (1.0, 0.3), (0.25, 0.3)):
        row = local_laplacian(photo, alpha=alpha, beta=beta, sigma_r=0.1)[0, 0, 16]
        overshoot = (-(row.diff())).clamp_min(0).sum()
        assert overshoot < 0.02 * (row[-1] - row[0])


def test_alpha_bends_detail_and_beta_scales_edges(small_photos: Tensor) -> None:
    def detail(photo: Tensor) -> float:
        return float(laplacian_pyramid(luma(photo), 3)[1].abs().mean())

    def tone(photo: Tensor) -> float:
        return float(gaussian_pyramid(luma(photo), 5)[4].std())

    def of(**change: float) -> Tensor:
        return local_laplacian(small_photos, **{"alpha": 1.0, "beta": 1.0, "sigma_r": 0.15, **change})

    assert detail(of(alpha=0.5)) > 1.1 * detail(small_photos) > 1.1**2 * detail(of(alpha=2.0))
    assert 1.05**2 * tone(of(beta=0.5)) < 1.05 * tone(small_photos) < tone(of(beta=1.5))


def test_colors_keep_their_ratios_and_luma_is_met(small_photos: Tensor) -> None:
    photo = 0.2 + 0.5 * small_photos
    result = local_laplacian(photo, alpha=0.8, beta=0.8, sigma_r=0.2)
    changed = filtered_luminance(luma(photo), alpha=0.8, beta=0.8, sigma_r=0.2)
    assert torch.allclose(luma(result), changed, atol=1e-5)
    ratio = (result + 0.01) / (photo + 0.01)
    assert torch.allclose(ratio, ratio[:, :1].expand_as(ratio), atol=1e-4)


# Shapes, types, batches


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["luminance", "log", "rgb"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_any_size_and_type_gives_a_photo_of_the_same(size: tuple[int, int], mode: str, dtype: torch.dtype) -> None:
    photo = torch.rand(1, 3, *size).to(dtype)
    result = local_laplacian(photo, **SETTINGS, mode=mode, samples=8)  # type: ignore[arg-type]
    assert result.shape == photo.shape
    assert result.dtype == dtype
    assert result.min() >= 0
    assert result.max() <= 1


@pytest.mark.parametrize("mode", ["luminance", "log", "rgb"])
def test_batch_with_its_own_settings_is_its_photos_one_by_one(small_photos: Tensor, mode: str) -> None:
    photos = small_photos[:, :, :31, :40]
    settings = {
        "alpha": torch.tensor([0.5, 1.0, 2.0]),
        "beta": torch.tensor([0.0, 1.0, 1.5]),
        "sigma_r": torch.tensor([0.1, 0.2, 0.4]),
    }
    together = local_laplacian(photos, **settings, mode=mode, samples=32)  # type: ignore[arg-type]
    for n in range(3):
        single = {name: float(value[n]) for name, value in settings.items()}
        alone = local_laplacian(photos[n : n + 1], **single, mode=mode, samples=32)  # type: ignore[arg-type]
        assert torch.allclose(together[n], alone[0], atol=1e-6)


def test_log_mode_does_not_see_exposure() -> None:
    """Away from black, a stop less light gives the same result a stop darker."""
    from lpie.imaging.color import to_linear, to_srgb

    light = 0.1 + 0.6 * to_linear(torch.rand(1, 3, 32, 32, dtype=torch.float64))
    settings = {"alpha": 1.0, "beta": 0.6, "sigma_r": math.log(1.5), "mode": "log"}
    full, half = (to_linear(local_laplacian(to_srgb(light * x), **settings)) for x in (1.0, 0.5))  # type: ignore[arg-type]
    inside = full < 0.99
    assert torch.allclose(half[inside] * 2, full[inside], rtol=0.02)


# Gradients and the compiled path


@pytest.mark.parametrize("mode", ["luminance", "log", "rgb"])
@pytest.mark.parametrize("alpha", [0.6, 1.7])
def test_gradients_are_those_of_finite_differences(mode: str, alpha: float) -> None:
    photo = 0.1 + 0.8 * torch.rand(2, 3, 4, 3, dtype=torch.float64)
    settings = [torch.tensor(x, dtype=torch.float64) for x in ([alpha, alpha], [0.7, 1.2], [0.21, 0.33])]

    def result(photo: Tensor, alpha: Tensor, beta: Tensor, sigma_r: Tensor) -> Tensor:
        return local_laplacian(photo, alpha=alpha, beta=beta, sigma_r=sigma_r, samples=7, mode=mode)  # type: ignore[arg-type]

    inputs = [x.requires_grad_() for x in (photo, *settings)]
    assert torch.autograd.gradcheck(result, inputs, eps=1e-7, atol=1e-5, nondet_tol=1e-12)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("samples", [2, 8, 37, 256])
def test_compiled_path_equals_plain_torch(size: tuple[int, int], samples: int) -> None:
    smooth = torch.nn.functional.interpolate(torch.rand(2, 1, 5, 5), size=size, mode="bilinear")
    settings = {
        "alpha": torch.tensor([0.5, 1.6]),
        "beta": torch.tensor([0.7, 1.1]),
        "sigma_r": torch.tensor([0.2, 0.3]),
    }
    weights = torch.randn(2, 1, *size)
    results, gradients = [], []
    for dtype in (torch.float32, torch.float64):  # compiled, plain
        inputs = [x.to(dtype, copy=True).requires_grad_() for x in (smooth, *settings.values())]
        result = filtered_luminance(
            inputs[0], **dict(zip(settings, inputs[1:], strict=True)), samples=samples, levels=None
        )
        gradients.append(torch.autograd.grad((result * weights).sum(), inputs, materialize_grads=True))
        results.append(result.detach())
    assert torch.allclose(results[0].double(), results[1], atol=2e-4)
    for compiled, expected in zip(*gradients, strict=True):
        assert (compiled - expected).norm() <= 2e-2 * expected.norm() + 1e-6  # tables are steps


def test_compiled_path_taken_in_parts_gives_the_same(small_photos: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    from lpie.fast import local_laplacian_cpu

    def both() -> tuple[Tensor, ...]:
        luminance = luma(small_photos).requires_grad_()
        alpha = torch.full((3,), 0.5, requires_grad=True)
        result = filtered_luminance(luminance, alpha=alpha, beta=0.7, sigma_r=0.2, samples=100)
        return result.detach(), *torch.autograd.grad(result.square().sum(), (luminance, alpha))

    whole = both()
    monkeypatch.setattr(local_laplacian_cpu.Runner, "volume", 1)
    for part, expected in zip(both(), whole, strict=True):
        assert torch.allclose(part, expected, rtol=1e-4, atol=1e-5)


def test_threads_do_not_change_a_byte(small_photos: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    from lpie.fast import local_laplacian_cpu

    def both() -> tuple[Tensor, ...]:
        luminance = luma(small_photos).requires_grad_()
        result = filtered_luminance(luminance, **SETTINGS, samples=16)
        return result.detach(), *torch.autograd.grad(result.square().sum(), luminance)

    alone = both()
    monkeypatch.setattr(local_laplacian_cpu, "ROW_WORK", 1)
    torch.set_num_threads(3)
    try:
        assert all(torch.equal(a, b) for a, b in zip(both(), alone, strict=True))
    finally:
        torch.set_num_threads(1)


IN_THE_INTERPRETER = """
import torch
from lpie.fast import local_laplacian_cpu
from lpie.fast import local_laplacian as fast
from lpie.fast import local_laplacian_gpu

torch.manual_seed(0)
for n, height, width, samples, levels, volume in ((2, 5, 6, 8, 4, 2**28), (1, 3, 66, 14, 2, 1)):
    values, grad = torch.rand(n, 1, height, width), torch.randn(n, 1, height, width)
    settings = [torch.rand(n) / 2 + 0.3, torch.rand(n), torch.rand(n) / 2 + 0.1, torch.full((n,), 0.01)]
    tables = fast.remap_tables(settings, samples, gradients=True)
    results = []
    for module in (local_laplacian_cpu, local_laplacian_gpu):
        module.Runner.volume = volume
        with module.runner() as run:
            filtered, gradients = fast.forward(run, values, tables[0], samples, levels, with_gradients=True)
            results.append((filtered, *fast.backward(run, grad, values, tables[1:], gradients, samples)))
    for cpu, gpu in zip(*results, strict=True):
        torch.testing.assert_close(gpu, cpu, rtol=1e-5, atol=1e-5)
"""


@pytest.mark.slow
def test_gpu_kernels_do_what_the_cpu_kernels_do() -> None:
    """Triton's interpreter runs them without a GPU; it must be asked for before Triton is imported."""
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-c", IN_THE_INTERPRETER], env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("size", SIZES)
def test_gpu_gives_the_result_and_gradient_of_the_cpu(size: tuple[int, int]) -> None:
    photos, alpha = torch.rand(2, 3, *size), torch.tensor([0.5, 1.5])
    outcomes = []
    for device in ("cpu", "cuda"):
        inputs = [x.to(device).requires_grad_() for x in (photos.clone(), alpha.clone())]
        result = local_laplacian(inputs[0], alpha=inputs[1], beta=0.7, sigma_r=0.2, samples=33)
        outcomes.append([x.cpu() for x in (result.detach(), *torch.autograd.grad(result.square().sum(), inputs))])
    for cpu, gpu in zip(*outcomes, strict=True):
        torch.testing.assert_close(gpu, cpu, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_compiled_model_calls_the_filter_whole(small_photos: Tensor) -> None:
    def loss(photos: Tensor, alpha: Tensor) -> Tensor:
        return local_laplacian(photos * 0.9, alpha=alpha, beta=0.7, sigma_r=0.2, samples=16).square().sum()

    alpha = torch.full((3,), 0.5, requires_grad=True)
    (expected,) = torch.autograd.grad(loss(small_photos, alpha), alpha)
    (found,) = torch.autograd.grad(torch.compile(loss, backend="aot_eager")(small_photos, alpha), alpha)
    assert torch.allclose(found, expected, rtol=1e-4)


def test_gradient_reaches_every_pixel(small_photos: Tensor) -> None:
    photos = (0.1 + 0.8 * small_photos).requires_grad_()
    (gradient,) = torch.autograd.grad(local_laplacian(photos, **SETTINGS).square().sum(), photos)
    assert bool((gradient != 0).all())


# Bad input


@pytest.mark.parametrize(
    ("photo", "change", "error", "message"),
    [
        (torch.rand(3, 8, 8), {}, ValueError, r"photo\[None\]"),
        (torch.rand(1, 1, 8, 8), {}, ValueError, "N, 3, H, W"),
        (torch.rand(1, 3, 0, 8), {}, ValueError, "N, 3, H, W"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), {}, TypeError, "floating"),
        (torch.full((1, 3, 8, 8), 200.0), {}, ValueError, "divide 8-bit values by 255"),
        (torch.full((1, 3, 8, 8), torch.nan), {}, ValueError, "NaN"),
        (torch.rand(1, 3, 8, 8), {"alpha": 0.0}, ValueError, "alpha must be finite and above 0"),
        (torch.rand(1, 3, 8, 8), {"beta": -1.0}, ValueError, "beta must be finite and at least 0"),
        (torch.rand(1, 3, 8, 8), {"sigma_r": torch.zeros(1)}, ValueError, "sigma_r must be finite and above 0"),
        (torch.rand(2, 3, 8, 8), {"alpha": torch.ones(3)}, ValueError, r"shape \(\) or \(2,\)"),
        (torch.rand(1, 3, 8, 8), {"noise": -0.1}, ValueError, "noise"),
        (torch.rand(1, 3, 8, 8), {"samples": 1}, ValueError, "at least 2 samples"),
        (torch.rand(1, 3, 8, 8), {"levels": 0}, ValueError, "at least one level"),
        (torch.rand(1, 3, 8, 8), {"mode": "lab"}, ValueError, "luminance, log, rgb"),
    ],
)
def test_what_does_not_fit_is_named(
    photo: Tensor, change: dict[str, object], error: type[Exception], message: str
) -> None:
    as_users_call_it = inspect.unwrap(local_laplacian)  # without the type checks of this test run, which come first
    with pytest.raises(error, match=message):
        as_users_call_it(photo, **{**SETTINGS, **change})  # type: ignore[arg-type]
