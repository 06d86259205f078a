"""The local Laplacian filter of an image in windows is that of the whole image."""

from __future__ import annotations

import pytest
import torch

from lpie.imaging.color import luma
from lpie.imaging.resampling import resize
from lpie.operators.local_laplacian import filtered_luminance
from lpie.photos import local_laplacian_windows
from lpie.photos.local_laplacian_windows import filtered_windows
from lpie.photos.photographs import demo_photographs

SETTINGS = {"alpha": torch.tensor([0.4]), "beta": torch.tensor([0.6]), "sigma_r": torch.tensor([0.2])}


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    return luma(demo_photographs()["coffee"])


@pytest.mark.parametrize("size", [(300, 448), (333, 401), (257, 256), (40, 390), (1, 300), (7, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_windows_are_parts_of_the_whole(photo, monkeypatch, size, dtype):
    monkeypatch.setattr(local_laplacian_windows, "TILE", 3)
    values = resize(photo.to(dtype), *size)
    whole = filtered_luminance(values, **SETTINGS, samples=20)
    reads = []

    def read(top, bottom, left, right):
        reads.append((bottom - top) * (right - left))
        return values[..., top:bottom, left:right]

    window = filtered_windows(read, *size, **SETTINGS, samples=20)
    corners = [(0, 0), (size[0] // 3, size[1] // 2), (size[0] - 1, size[1] - 1), (size[0] // 2, 0)]
    for top, left in corners:
        bottom, right = min(top + 70, size[0]), min(left + 101, size[1])
        part = window(top, bottom, left, right)
        torch.testing.assert_close(part, whole[..., top:bottom, left:right], rtol=0, atol=3e-5)
    if min(size) > 250:
        assert max(reads) < values.numel() / 1.5  # never the whole
    assert (whole - values).abs().max() > 0.01
