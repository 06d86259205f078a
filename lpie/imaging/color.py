"""Values of pixels: sRGB and linear light, both in [0, 1] and differentiable (IEC 61966-2-1), luma, and eight bits."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import UInt8
from torch import Tensor

from lpie.imaging.checks import check_photo
from lpie.vocabulary import Luminance, Photo

LUMA = (0.299, 0.587, 0.114)  # Rec. 601, of sRGB values
LINEAR_LUMINANCE = (0.2126, 0.7152, 0.0722)  # Rec. 709, of linear light


def to_linear(srgb: Tensor) -> Tensor:
    """Linear light of sRGB-encoded values; an odd continuation below 0."""
    size = srgb.abs()
    return srgb.sign() * torch.where(size <= 0.04045, size / 12.92, ((size.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: Tensor) -> Tensor:
    """sRGB-encoded values of linear light; an odd continuation below 0."""
    size = linear.abs()
    curve = 1.055 * size.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return linear.sign() * torch.where(size <= 0.0031308, size * 12.92, curve)


def luma(photo: Photo) -> Luminance:
    """Rec. 601 luma of the sRGB values, in [0, 1]."""
    return weighted(photo.split(1, dim=1), LUMA)


def weighted(channels: Iterable[Tensor], weights: tuple[float, float, float]) -> Tensor:
    """The weighted sum of three channels."""
    red, green, blue = (weight * channel for weight, channel in zip(weights, channels, strict=True))
    return red + green + blue


def to_uint8(photo: Photo) -> UInt8[Tensor, "n 3 h w"]:
    """Photos in 8 bits, rounded to the nearest. Raises ValueError unless they are numbers in [0, 1]."""
    check_photo(photo, wait=True)
    return photo.detach().float().clamp(0, 1).mul(255).round_().to(torch.uint8)


def from_uint8(photo: UInt8[Tensor, "n 3 h w"]) -> Photo:
    """Photos in [0, 1] from their 8-bit values."""
    if photo.dtype != torch.uint8:
        raise ValueError(f"Expected 8-bit values (torch.uint8), got {photo.dtype}.")
    return photo.float() / 255


def quantize(photo: Photo) -> Photo:
    """The photos as an 8-bit file would hold them, which is what evaluation scores; no gradient passes."""
    return from_uint8(to_uint8(photo))
