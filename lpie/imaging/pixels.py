"""Between photos in [0, 1] and their eight-bit values."""

from __future__ import annotations

import torch
from jaxtyping import UInt8
from torch import Tensor

from lpie.imaging.checks import check_photo
from lpie.vocabulary import Photo


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
