"""Synthetic haze against its own equation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lpie.study.synthetic_haze import add_haze, depth_proxy


def linear(srgb: np.ndarray) -> np.ndarray:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def test_haze_obeys_its_equation_in_linear_light(small_photos: Tensor) -> None:
    depth, airlight, density = torch.rand(3, 1, 64, 96), torch.rand(3, 3), torch.tensor([0.5, 1.0, 2.0])
    scene = add_haze(small_photos, depth, airlight, density)
    for k in range(3):
        t = np.exp(-float(density[k]) * depth[k].double().numpy())
        np.testing.assert_allclose(scene.transmission[k], t, atol=1e-6)
        light = t * linear(small_photos[k].double().numpy())
        light += (1 - t) * linear(airlight[k].double().numpy())[:, None, None]
        np.testing.assert_allclose(linear(scene.photo[k].double().numpy()), light, atol=1e-5)


def test_no_density_or_no_depth_leaves_the_photo(small_photos: Tensor) -> None:
    airlight, ones = torch.rand(3, 3), torch.ones_like(small_photos[:, :1])
    torch.testing.assert_close(add_haze(small_photos, ones, airlight, 0.0).photo, small_photos, atol=1e-5, rtol=0)
    torch.testing.assert_close(add_haze(small_photos, 0 * ones, airlight, 3.0).photo, small_photos, atol=1e-5, rtol=0)


def test_infinite_haze_is_the_airlight(small_photos: Tensor) -> None:
    airlight = torch.rand(3, 3)
    hazy = add_haze(small_photos, torch.ones_like(small_photos[:, :1]), airlight, 100.0).photo
    torch.testing.assert_close(hazy, airlight[..., None, None].expand_as(hazy), atol=1e-5, rtol=0)


def test_two_layers_of_haze_are_one_of_their_sum(small_photos: Tensor) -> None:
    depth, airlight = torch.rand(3, 1, 64, 96), torch.rand(3, 3)
    twice = add_haze(add_haze(small_photos, depth, airlight, 0.4).photo, depth, airlight, 0.7).photo
    torch.testing.assert_close(twice, add_haze(small_photos, depth, airlight, 1.1).photo, atol=1e-4, rtol=0)


def test_haze_is_differentiable_in_density() -> None:
    photo, depth = torch.rand(1, 3, 4, 5, dtype=torch.float64), torch.rand(1, 1, 4, 5, dtype=torch.float64)
    airlight = torch.rand(1, 3, dtype=torch.float64, requires_grad=True)
    density = torch.tensor([0.8], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, d: add_haze(photo, depth, a, d).photo, (airlight, density))


def test_depth_proxy_spans_zero_to_one_and_rises_towards_the_top(small_photos: Tensor) -> None:
    depth = depth_proxy(small_photos)
    assert depth.shape == (3, 1, 64, 96)
    torch.testing.assert_close(depth.amin(dim=(1, 2, 3)), torch.zeros(3))
    torch.testing.assert_close(depth.amax(dim=(1, 2, 3)), torch.ones(3), atol=1e-5, rtol=0)
    assert (depth[..., :16, :].mean(dim=(1, 2, 3)) > depth[..., -16:, :].mean(dim=(1, 2, 3)) + 0.2).all()


def test_depth_proxy_takes_any_size() -> None:
    for size in ((1, 1), (1, 7), (5, 2)):
        assert depth_proxy(torch.rand(1, 3, *size)).isfinite().all()


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("depth", "airlight", "density", "expected"),
    [
        (torch.ones(1, 1, 4, 4), torch.rand(1, 3), 1.0, "depth of shape"),
        (torch.ones(1, 1, 8, 8), torch.rand(2, 3), 1.0, "airlight of shape"),
        (torch.ones(1, 1, 8, 8), torch.rand(1, 3) + 1.5, 1.0, "in airlight"),
        (torch.ones(1, 1, 8, 8), torch.rand(1, 3), -1.0, "at least 0"),
        (torch.full((1, 1, 8, 8), torch.nan), torch.rand(1, 3), 1.0, "at least 0"),
        (torch.ones(1, 1, 8, 8), torch.rand(1, 3), torch.rand(2), "one per photo"),
    ],
)
def test_what_does_not_fit_is_refused(depth: Tensor, airlight: Tensor, density: float | Tensor, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        add_haze(torch.rand(1, 3, 8, 8), depth, airlight, density)
