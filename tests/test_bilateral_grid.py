"""The bilateral grid: its interpolation against a literal loop, its start, sizes, gradients, learning."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from lpie import networks
from lpie.imaging.resampling import bilinear_weights, resize
from lpie.networks.bilateral_grid import BilateralGrid, roughness, slice_grid
from lpie.records import write_tensors


def disturbed(seed: int = 0, **settings: int) -> BilateralGrid:
    """A network away from its start, as training would leave it."""
    torch.manual_seed(seed)
    network = BilateralGrid(**settings).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network


def test_roughness_skips_axes_of_one_and_is_no_number_for_a_grid_that_diverged() -> None:
    assert roughness(torch.full((1, 2, 3, 4, 1, 1), float("nan"))).isnan()
    assert roughness(torch.rand(1, 1, 3, 4, 1, 1)) == 0
    grid = torch.zeros(1, 2, 3, 4, 1, 1)
    grid[:, 1] = 2
    assert roughness(grid) == 4


def literal_slice(photo, guide, grid):
    """Trilinear interpolation pixel by pixel, cell by cell."""
    _, bins, _, _, rows, columns = grid.shape
    height, width = photo.shape[-2:]
    enhanced = torch.zeros_like(photo)
    for n in range(photo.shape[0]):
        for y in range(height):
            for x in range(width):
                place = (
                    float(guide[n, 0, y, x]) * (bins - 1),
                    min(max((y + 0.5) * rows / height - 0.5, 0), rows - 1),
                    min(max((x + 0.5) * columns / width - 0.5, 0), columns - 1),
                )
                affine = torch.zeros(3, 4)
                for corner in range(8):
                    index = [math.floor(p) + (corner >> axis & 1) for axis, p in enumerate(place)]
                    weight = math.prod(max(0, 1 - abs(p - i)) for p, i in zip(place, index, strict=True))
                    if weight > 0:
                        affine += weight * grid[n, index[0], :, :, index[1], index[2]]
                enhanced[n, :, y, x] = affine[:, :3] @ photo[n, :, y, x] + affine[:, 3]
    return enhanced


@pytest.mark.parametrize(("size", "cells"), [((9, 14), (2, 3)), ((5, 4), (5, 4)), ((7, 3), (1, 1)), ((8, 9), (4, 9))])
def test_slicing_is_trilinear_interpolation(size, cells):
    photo, guide = torch.rand(2, 3, *size), torch.rand(2, 1, *size)
    guide[0, 0, 0, 0], guide[0, 0, 0, 1] = 0, 1
    grid = torch.randn(2, 4, 3, 4, *cells)
    down, across = (bilinear_weights(c, n).float() for n, c in zip(size, cells, strict=True))
    sliced = slice_grid(photo, guide, grid, down, across)
    torch.testing.assert_close(sliced, literal_slice(photo, guide, grid), rtol=0, atol=1e-5)


def test_slicing_has_the_right_gradient():
    torch.manual_seed(0)
    photo, guide, grid = torch.rand(1, 3, 4, 5), torch.rand(1, 1, 4, 5), torch.randn(1, 3, 3, 4, 2, 2)
    down, across = bilinear_weights(2, 4), bilinear_weights(2, 5)
    arguments = [tensor.double().requires_grad_() for tensor in (photo, guide, grid)]
    assert torch.autograd.gradcheck(lambda *given: slice_grid(*given, down, across), arguments)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (37, 2), (64, 64), (300, 500)])
def test_untrained_network_returns_the_photo(size):
    photo = torch.rand(1, 3, *size)
    torch.testing.assert_close(BilateralGrid()(photo), photo, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (257, 4), (300, 411)])
def test_any_size_works_and_stays_in_range(size):
    enhanced = disturbed()(torch.rand(2, 3, *size))
    assert enhanced.shape == (2, 3, *size)
    assert enhanced.min() >= 0
    assert enhanced.max() <= 1


def test_batch_is_its_photos():
    network, photos = disturbed(), torch.rand(3, 3, 40, 56)
    torch.testing.assert_close(
        network(photos), torch.cat([network(photo[None]) for photo in photos]), rtol=0, atol=1e-5
    )


def test_same_picture_at_twice_the_size_is_treated_alike():
    network = disturbed(thumbnail=64)
    photo = resize(torch.rand(1, 3, 6, 6), 128, 128)
    large = resize(photo, 256, 256)
    change = (network(photo) - photo).abs().mean()
    assert (resize(network(large), 128, 128) - network(photo)).abs().mean() < 0.03 * change


def test_windows_are_parts_of_the_whole():
    network, photo = disturbed(thumbnail=64), torch.rand(1, 3, 150, 200)
    whole = network(photo)
    grid = network.predict_grid(resize(photo, *network.thumbnail_size(150, 200)))
    window = network.apply_grid(photo[:, :, 40:90, 130:], grid, rows=(40, 150), columns=(130, 200))
    torch.testing.assert_close(window, whole[:, :, 40:90, 130:], rtol=0, atol=1e-6)


def test_gradient_reaches_every_parameter():
    network = disturbed().train()
    network(torch.rand(1, 3, 64, 64)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_output_is_unclipped_only_in_training():
    network, photo = BilateralGrid(), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        network.coefficients.bias.mul_(3)
    assert network.train()(photo).max() > 1
    assert network.eval()(photo).max() == 1


def test_it_learns_a_darkening_that_depends_on_brightness():
    torch.manual_seed(0)
    network = BilateralGrid().train()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    photo = resize(torch.rand(2, 3, 9, 9), 48, 48)
    target = photo**1.8
    before = (network(photo) - target).square().mean()
    for _ in range(40):
        loss = (network(photo) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < before / 20


def test_saved_network_comes_back(tmp_path):
    network, photo = disturbed(thumbnail=64, bins=5), torch.rand(1, 3, 70, 90)
    write_tensors(tmp_path / "grid.safetensors", network.state_dict(), network.metadata())
    again = networks.from_pretrained(tmp_path / "grid.safetensors")
    assert not again.training
    assert torch.equal(again(photo), network(photo))


def test_half_precision_around_it_changes_little():
    network, photo = disturbed().train(), resize(torch.rand(1, 3, 7, 9), 64, 72)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = network(photo)
    assert mixed.dtype == torch.float32
    assert (mixed - network(photo)).abs().mean() < 0.05 * (network(photo) - photo).abs().mean()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(BilateralGrid()(photo), photo, rtol=0, atol=1e-5)


def test_same_bytes_every_time():
    def trained() -> torch.Tensor:
        network = disturbed().train()
        network(torch.linspace(0, 1, 3 * 40 * 40).reshape(1, 3, 40, 40)).square().mean().backward()
        return torch.cat([parameter.grad.flatten() for parameter in network.parameters()])

    assert torch.equal(trained(), trained())


def test_a_luminance_led_grid_treats_the_three_colors_alike(tmp_path: Path) -> None:
    network = BilateralGrid(luminance_led=True).eval()
    photo = torch.rand(1, 3, 70, 90)
    torch.testing.assert_close(network(photo), photo, atol=1e-5, rtol=0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        grid = network.predict_grid(network.thumbnail_of(photo))
    gains = torch.stack([grid[:, :, color, color] for color in range(3)])
    added = grid[:, :, :, 3]
    assert torch.equal(gains, gains[:1].expand_as(gains))
    assert torch.equal(added, added[:, :, :1].expand_as(added))
    assert float(gains.std()) > 0
    write_tensors(tmp_path / "grid.safetensors", network.state_dict(), network.metadata())
    restored = networks.from_pretrained(tmp_path / "grid.safetensors")
    assert torch.equal(restored(photo), network(photo))
