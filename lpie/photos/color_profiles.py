"""ICC color profiles: which fit an image, which are sRGB, and pixels converted from one to another."""

from __future__ import annotations

import io
import logging
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

Pixels: TypeAlias = NDArray[Any]
"""(H, W, channels), uint8 or uint16."""

SRGB: bytes = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SAME_COLOR = 257  # of 65535: a profile that moves no color by more than an 8-bit step is sRGB already
BAND = 256  # rows at a time, so that a large photo needs no second copy
log = logging.getLogger(__name__)


def fits(profile: bytes | None, space: str) -> bool:
    """Whether a profile can be read and is for `RGB`, `GRAY` or `CMYK`; one that does not is named in the log."""
    if not profile:
        return False
    try:
        described = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip()
    except OSError:
        described = "unreadable"
    if described != space:
        log.warning("Ignored an ICC profile for %s in a photograph of %s.", described, space)
    return described == space


@lru_cache(maxsize=16)
def is_srgb(profile: bytes) -> bool:
    """Whether a profile for RGB shows every color as sRGB does, to an 8-bit step."""
    steps = np.linspace(0, 65535, 9).astype(np.uint16)
    cube = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(1, -1, 3)
    moved = converted(cube.copy(), profile, SRGB).astype(int) - cube
    return bool(np.abs(moved).max() <= SAME_COLOR)


def converted(pixels: Pixels, source: bytes, target: bytes, space: str = "RGB") -> Pixels:
    """Pixels of a `space` profile in one for RGB: relative colorimetric, black point compensated, clipped, 3 channels.

    RGB pixels are converted in place.
    """
    import imagecodecs

    changed = pixels if space == "RGB" else np.empty((*pixels.shape[:2], 3), pixels.dtype)
    for top in range(0, len(pixels), BAND):
        band = np.ascontiguousarray(pixels[top : top + BAND])
        changed[top : top + BAND] = imagecodecs.cms_transform(
            band[..., 0] if space == "GRAY" else band,
            source,
            target,
            colorspace=space.lower(),
            outcolorspace="rgb",
            intent=int(imagecodecs.CMS.INTENT.RELATIVE_COLORIMETRIC),
            flags=int(ImageCms.Flags.BLACKPOINTCOMPENSATION),
        )
    return changed


def adobe_rgb_by_exif(exif: Image.Exif) -> bytes | None:
    """The profile that cameras mean, without embedding it, by interoperability index R03 (DCF 2.0)."""
    if ExifTags.IFD.Interop not in exif.get_ifd(ExifTags.IFD.Exif):  # some releases of Pillow raise KeyError then
        return None
    if exif.get_ifd(ExifTags.IFD.Interop).get(ExifTags.Interop.InteropIndex) != "R03":
        return None
    import imagecodecs

    return imagecodecs.cms_profile("adobergb")
