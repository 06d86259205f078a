"""Between photos in [0, 1] and their eight-bit values."""

from __future__ import annotations

import torch
from jaxtyping import UInt8
from torch import Tensor

from lpie.vocabulary import Photo

SLACK = 1e-3  # outside [0, 1] that is taken for rounding and clipped; more is an error


def check_photo(photo: Tensor) -> None:
    """Raise ValueError unless `photo` is (N, 3, H, W), not empty, and all numbers in [0, 1], but for rounding."""
    if photo.ndim != 4 or photo.shape[1] != 3 or not photo.numel() or not photo.is_floating_point():
        raise ValueError(
            f"Expected photos (N, 3, H, W) of floats in [0, 1], got {tuple(photo.shape)} of {photo.dtype}; "
            "add the batch axis with photo[None], put channels second, scale bytes with from_uint8."
        )
    least, most = (float(bound) for bound in torch.aminmax(photo.detach()))
    if not (least >= -SLACK and most <= 1 + SLACK):  # NaN fails both comparisons
        raise ValueError(
            f"Expected a photo of numbers in [0, 1], got {least:g} to {most:g}; "
            "divide 8-bit values by 255, clip with photo.clamp(0, 1), look for NaN upstream."
        )


def to_uint8(photo: Photo) -> UInt8[Tensor, "n 3 h w"]:
    """Photos in 8 bits, rounded to the nearest. Raises ValueError unless they are numbers in [0, 1]."""
    check_photo(photo)
    return photo.detach().float().clamp(0, 1).mul(255).round_().to(torch.uint8)


def from_uint8(photo: UInt8[Tensor, "n 3 h w"]) -> Photo:
    """Photos in [0, 1] from their 8-bit values."""
    if photo.dtype != torch.uint8:
        raise ValueError(f"Expected 8-bit values (torch.uint8), got {photo.dtype}.")
    return photo.float() / 255


def quantize(photo: Photo) -> Photo:
    """The photos as an 8-bit file would hold them, which is what evaluation scores; no gradient passes."""
    return from_uint8(to_uint8(photo))
