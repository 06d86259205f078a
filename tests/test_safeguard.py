"""The safeguard of dehazing: skies and fog are left alone, objects in haze are not, and nothing turns black."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lpie import dehaze, enhance
from lpie.operators.safeguard import KEPT, PLAIN_TRANSMISSION, plain_regions, trusted_transmission

AIRLIGHT = torch.tensor([[0.85, 0.83, 0.8]])


@pytest.fixture
def scene() -> Tensor:
    """A sky that darkens toward its corner, with the grain of a camera, over hills full of detail in haze."""
    random = torch.Generator().manual_seed(0)
    sky = torch.linspace(0.82, 0.62, 240).expand(1, 3, 120, 240) + 0.004 * torch.randn(1, 3, 120, 240, generator=random)
    hills = 0.6 + 0.2 * torch.rand(1, 3, 120, 240, generator=random)
    return torch.cat([sky, hills], dim=2)


def test_plain_regions_are_the_sky_and_not_the_hills(scene: Tensor) -> None:
    plain = plain_regions(scene)
    assert plain[:, :, :90].min() > 0.9
    assert plain[:, :, 150:].max() < 0.1


def test_the_size_of_a_file_moves_no_plain_region(scene: Tensor) -> None:
    doubled = torch.nn.functional.interpolate(scene, scale_factor=8, mode="bilinear")
    small = torch.nn.functional.interpolate(plain_regions(doubled), size=(240, 240), mode="area")
    assert (
        small - plain_regions(torch.nn.functional.interpolate(scene, scale_factor=3))[:, :, ::3, ::3]
    ).abs().mean() < 0.05


def test_a_plain_sky_keeps_its_light_and_the_hills_lose_their_haze(scene: Tensor) -> None:
    published, careful = dehaze(scene, AIRLIGHT), dehaze(scene, AIRLIGHT, safeguard=1.0)
    changed = [(result.photo - scene)[:, :, :90].abs().mean() for result in (published, careful)]
    print("sky changed by", changed)
    assert changed[1] < 0.75 * changed[0]
    assert careful.transmission[:, :, :90].min() >= 0.9 * PLAIN_TRANSMISSION
    hills = slice(150, 230)
    assert careful.photo[:, :, hills].std() > 0.95 * published.photo[:, :, hills].std() > 1.2 * scene[:, :, hills].std()


def test_no_channel_falls_below_the_share_that_is_kept(small_photos: Tensor) -> None:
    airlight = torch.full((3, 3), 0.9)
    low = torch.full_like(small_photos[:, :1], 0.1)
    transmission = trusted_transmission(small_photos, low, airlight)
    color = airlight[:, :, None, None]
    scene = color + (small_photos - color) / transmission
    assert (scene >= KEPT * small_photos - 1e-5).all()


def test_half_a_safeguard_is_halfway_and_none_is_the_published_method(scene: Tensor) -> None:
    low = torch.full_like(scene[:, :1], 0.1)
    none, half, full = (trusted_transmission(scene, low, AIRLIGHT, amount) for amount in (0.0, 0.5, 1.0))
    assert torch.equal(none, low)
    torch.testing.assert_close(half, (low + full) / 2)
    assert torch.equal(dehaze(scene, AIRLIGHT, safeguard=0.0).photo, dehaze(scene, AIRLIGHT).photo)


def test_enhance_uses_it_unless_the_operator_itself_is_asked_for(scene: Tensor, tmp_path: Path) -> None:
    as_published = enhance(scene, "dehaze", "operator")
    torch.testing.assert_close(as_published, dehaze(scene).photo, rtol=0, atol=2e-5)
    asked = enhance(scene, "dehaze", "operator", safeguard=1.0)
    torch.testing.assert_close(asked, dehaze(scene, safeguard=1.0).photo, rtol=0, atol=2e-5)
    with_settings = enhance(scene, "dehaze", haze_kept=0.06)
    torch.testing.assert_close(with_settings, asked)
    assert not torch.equal(enhance(scene, "dehaze"), enhance(scene, "dehaze", safeguard=0.0))


def test_a_network_that_paints_by_itself_refuses_the_safeguard(scene: Tensor) -> None:
    with pytest.raises(ValueError, match="safeguard: dehaze-can24-plain does not use the estimate"):
        enhance(scene, "dehaze", "dehaze-can24-plain", safeguard=1.0)


def test_a_safeguard_out_of_range_is_named(scene: Tensor) -> None:
    with pytest.raises(ValueError, match="safeguard"):
        dehaze(scene, AIRLIGHT, safeguard=1.5)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (40, 31)])
def test_any_size_is_taken(size: tuple[int, int]) -> None:
    result = dehaze(torch.rand(1, 3, *size), AIRLIGHT, safeguard=1.0)
    assert result.transmission.shape == (1, 1, *size)
    assert result.photo.isfinite().all()
