"""Radiance files and their display."""

from __future__ import annotations

import inspect
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lpie.imaging.color import to_linear, to_srgb
from lpie.study.tone_checks import read_radiance
from lpie.study.tone_mapping import tone_map

HEAD = b"#?RADIANCE\n# made by hand\nFORMAT=32-bit_rle_rgbe\n\n"


@pytest.fixture
def scene() -> Tensor:
    """A sunlit half beside one a thousand times darker, both with the same fine texture."""
    texture = 1 + 0.2 * torch.rand(1, 1, 48, 64)
    light = torch.where(torch.arange(64) < 32, 1000.0, 1.0)
    return texture * light * torch.tensor([1.0, 0.8, 0.5]).reshape(1, 3, 1, 1)


def runs(line: np.ndarray) -> bytes:
    """A line (width, 4) as the format's run-length encoding, a run of equals and one of differing bytes each."""
    parts = [bytes([2, 2, len(line) >> 8, len(line) & 255])]
    parts += [bytes([128 + 3, component[0], len(line) - 3]) + component[3:].tobytes() for component in line.T]
    return b"".join(parts)


def test_plain_and_run_length_pixels_are_read_and_another_orientation_is_refused(tmp_path: Path) -> None:
    rgbe = np.random.default_rng(0).integers(2, 255, (5, 9, 4), dtype=np.uint8)
    rgbe[:, :3] = rgbe[:, :1]
    rgbe[..., 3] = rgbe[..., 3] // 16 + 120
    rgbe[1, 4, 3] = 0  # black
    light = rgbe[..., :3] / 256 * 2.0 ** (rgbe[..., 3:].astype(float) - 128)
    light[1, 4] = 0
    for body in (rgbe.tobytes(), b"".join(map(runs, rgbe))):
        (tmp_path / "a.hdr").write_bytes(HEAD + b"-Y 5 +X 9\n" + body)
        read = read_radiance(tmp_path / "a.hdr")[0].permute(1, 2, 0).numpy()
        assert np.allclose(read, light, rtol=1e-6)
        (tmp_path / "a.hdr").write_bytes(HEAD + b"+Y 5 +X 9\n" + body)
        with pytest.raises(ValueError, match="top row first"):
            read_radiance(tmp_path / "a.hdr")


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG", HEAD + b"-Y 2 +X 9\n" + bytes(17), HEAD + b"-Y 2 +X 9\n" + bytes([2, 2, 0, 9, 255, 1])]
)
def test_what_is_no_whole_radiance_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.hdr").write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.hdr"):
        read_radiance(tmp_path / "broken.hdr")


def test_a_published_file_reads_as_its_preview_shows(data: Path) -> None:
    """The preview beside the file is some rendition of it: the logarithms go together."""
    from lpie.imaging.color import luma
    from lpie.imaging.resampling import resize
    from lpie.photos.photographs import read_photo

    light = read_radiance(data / "llf/input/designCenter.hdr")
    preview = luma(read_photo(data / "llf/input/designCenter.png"))
    assert light.shape[2:] == (1000, 656)
    assert light.max() / light[light > 0].min() > 1e4
    pair = [resize(x, 50, 33).flatten() for x in (light.mean(1, keepdim=True).clamp_min(1e-6).log(), preview)]
    assert torch.corrcoef(torch.stack(pair))[0, 1] > 0.9


def test_display_has_the_contrast_asked_for(scene: Tensor) -> None:
    gray = scene[:, :1].expand(-1, 3, -1, -1)
    for contrast in (20.0, 100.0):
        shown = to_linear(tone_map(gray, beta=0.3, contrast=contrast))
        low, high = torch.quantile(shown, 0.005), torch.quantile(shown, 0.995)
        assert math.isclose(float(high / low), contrast, rel_tol=0.02)


def test_compressed_edges_leave_more_of_the_display_to_detail(scene: Tensor) -> None:
    gray = scene[:, :1].expand(-1, 3, -1, -1)
    texture, step = [], []
    for beta in (1.0, 0.5, 0.0):
        shown = to_linear(tone_map(gray, beta=beta))[:, 0].log()
        texture.append(float(shown[..., 40:56].std()))
        step.append(float(shown[..., 8:24].mean() - shown[..., 40:56].mean()))
    assert texture[0] < texture[1] < texture[2]
    assert step[0] > step[1] > step[2] > 0


def test_unit_of_light_does_not_matter(scene: Tensor) -> None:
    assert torch.allclose(tone_map(scene, beta=0.5), tone_map(1e4 * scene, beta=0.5), atol=1e-4)


def test_color_ratios_are_kept(scene: Tensor) -> None:
    shown = to_linear(tone_map(scene, beta=0.5).double())
    inside = (shown < 0.99).all(1, keepdim=True).expand_as(shown)
    assert torch.allclose((shown / shown[:, :1])[inside], (scene / scene[:, :1])[inside].double(), rtol=1e-3)


@pytest.mark.parametrize(
    "light", [torch.zeros(1, 3, 6, 7), torch.full((2, 3, 1, 1), 5.0), 3e30 * torch.rand(1, 3, 9, 4)]
)
def test_any_light_gives_a_photo(light: Tensor) -> None:
    shown = tone_map(light, beta=0.5)
    assert shown.shape == light.shape
    assert bool(((shown >= 0) & (shown <= 1)).all())


def test_light_that_cannot_be_is_refused() -> None:
    refused = inspect.unwrap(tone_map)
    for light in (torch.full((1, 3, 2, 2), -1.0), torch.full((1, 3, 2, 2), torch.nan)):
        with pytest.raises(ValueError, match="finite light >= 0"):
            refused(light, beta=0.5)
    with pytest.raises(ValueError, match="ratio above 1"):
        refused(torch.ones(1, 3, 2, 2), beta=0.5, contrast=1.0)


def test_srgb_curves_undo_each_other() -> None:
    values = torch.linspace(0, 1, 101, dtype=torch.float64)
    assert torch.allclose(to_srgb(to_linear(values)), values, atol=1e-7)
    assert math.isclose(float(to_linear(torch.tensor(0.5, dtype=torch.float64))), 0.21404114, rel_tol=1e-6)
