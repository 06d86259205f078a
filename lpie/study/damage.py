"""Damage of known strength, to ask instruments whether they see it.

Each kind is what a network trained by a critic was seen to do, drawn on a photo at a strength between invisible and
plain. How visible a strength is on a given photo is for a model of vision to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from lpie.imaging.color import luma, quantize
from lpie.judges.robustness import blur
from lpie.vocabulary import Photo

CELLS = 16
"""Blotches and bands are as large as the cell of a grid with so many cells along the shorter side."""

STRENGTHS = (0.125, 0.25, 0.5, 1.0, 2.0)
"""Strengths at which each kind is drawn, from invisible to plain."""

_Random = torch.Generator


def damaged(photo: Photo, kind: str, strength: float, seed: int = 0) -> Photo:
    """`photo` with one of `DAMAGES` at `strength`, 0 for none, in 8-bit steps; the same seed draws the same damage.

    Raises ValueError for an unknown kind or a negative strength.
    """
    if kind not in DAMAGES:
        raise ValueError(f"Unknown damage {kind!r}: choose one of {', '.join(DAMAGES)}.")
    if strength < 0:
        raise ValueError(f"The strength of damage must be at least 0, got {strength}.")
    return quantize(DAMAGES[kind](photo, strength, torch.Generator().manual_seed(seed)).clamp(0, 1))


def _blotches(photo: Photo, strength: float, random: _Random) -> Photo:
    """Patches of another brightness and tint, each as large as a grid cell."""
    height, width = photo.shape[-2:]
    size = min(height, width) / CELLS
    coarse = torch.randn(1, 3, max(2, round(height / size)), max(2, round(width / size)), generator=random)
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)
    return photo + 0.05 * strength * fine / fine.std().clamp_min(1e-6)


def _bands(photo: Photo, strength: float, random: _Random) -> Photo:
    """Tinted bands of a cell's width along one horizontal and one vertical border."""
    height, width = photo.shape[-2:]
    size = min(height, width) / CELLS
    tint = torch.randn(1, 3, 1, 1, generator=random)
    rows, columns = torch.arange(height).view(-1, 1), torch.arange(width).view(1, -1)
    offset = (1 + torch.rand(2, generator=random)) * size
    band = torch.exp(-0.5 * ((height - rows - offset[0]) / (0.4 * size)).square())
    band = torch.maximum(band, torch.exp(-0.5 * ((columns - offset[1]) / (0.4 * size)).square()))
    return photo + 0.12 * strength * band * tint / tint.norm() * 3**0.5


def _hue_shift(photo: Photo, strength: float, random: _Random) -> Photo:
    """Hues turned in three round places, as if a face or a cloth had another color on one side."""
    height, width = photo.shape[-2:]
    rows, columns = torch.arange(height).view(-1, 1), torch.arange(width).view(1, -1)
    size = min(height, width)
    angle = torch.zeros(height, width)
    for _ in range(3):
        row, column = torch.rand(2, generator=random).tolist()
        away = ((rows - row * height).square() + (columns - column * width).square()) / (0.12 * size) ** 2
        angle = torch.maximum(angle, torch.exp(-0.5 * away))
    angle = 0.5 * strength * angle
    brightness = luma(photo)
    blue, red = photo[:, 2:] - brightness, photo[:, :1] - brightness
    turned_red, turned_blue = red * angle.cos() - blue * angle.sin(), red * angle.sin() + blue * angle.cos()
    turned_red, turned_blue = turned_red + 0.03 * strength * angle, turned_blue - 0.03 * strength * angle
    green = -(0.299 * turned_red + 0.114 * turned_blue) / 0.587
    return brightness + torch.cat([turned_red, green, turned_blue], 1)


def _weave(photo: Photo, strength: float, random: _Random) -> Photo:
    """Fine crossing lines over all of the photo, as a dilated network leaves in plain regions."""
    height, width = photo.shape[-2:]
    rows, columns = torch.arange(height).view(-1, 1), torch.arange(width).view(1, -1)
    lines = torch.zeros(height, width)
    for period in (4, 8, 16):
        phase = (2 * torch.pi * torch.rand(2, generator=random)).tolist()
        lines = lines + torch.sin(2 * torch.pi * rows / period + phase[0])
        lines = lines + torch.sin(2 * torch.pi * columns / period + phase[1])
    return photo + 0.008 * strength * lines


def _halos(photo: Photo, strength: float, _random: _Random) -> Photo:
    """Bright and dark fringes, a cell wide, along strong edges."""
    brightness = luma(photo)
    radius = min(photo.shape[-2:]) / CELLS / 2
    change = brightness - blur(brightness, radius)
    strong = change.sign() * (change.abs() - 0.05).clamp(min=0)
    return photo + 1.5 * strength * blur(strong, radius / 3)


def _ringing(photo: Photo, strength: float, _random: _Random) -> Photo:
    """Edges repeated beside themselves, fainter and fainter."""
    brightness = luma(photo)
    edges = brightness - blur(brightness, 2)
    rings = sum((-0.6) ** k * (edges.roll(5 * k, -1) + edges.roll(-5 * k, -1)) for k in (1, 2, 3))
    return photo + 0.6 * strength * rings


def _clipped_shadows(photo: Photo, strength: float, _random: _Random) -> Photo:
    """Everything darker than a bound turned black, and nothing else changed."""
    bound = 0.15 * strength
    return torch.where(luma(photo) < bound, torch.zeros_like(photo), photo)


DAMAGES: Mapping[str, Callable[[Photo, float, _Random], Photo]] = {
    "blotches": _blotches,
    "bands": _bands,
    "hue shift": _hue_shift,
    "weave": _weave,
    "halos": _halos,
    "ringing": _ringing,
    "clipped shadows": _clipped_shadows,
}
"""Kinds of damage, each a function of photo, strength and random generator."""
