"""ICC color profiles: which fit an image, which are sRGB, which can be written to, and pixels converted."""

from __future__ import annotations

import io
import logging
import struct
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

Pixels: TypeAlias = NDArray[Any]
"""(H, W, channels), uint8 or uint16, over the whole range of their type."""


def _built_in(space: Literal["sRGB", "LAB"]) -> bytes:
    """Pillow's own profile, always of one date, so that equal photographs make equal files."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()
    return profile[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + profile[36:]


SRGB, LAB = _built_in("sRGB"), _built_in("LAB")
SAME_COLOR = 257  # of 65535: a profile that moves no color by more than an 8-bit step is sRGB already
RETURNED = 0.04 * 65535  # how far a pale color may come back from a profile that can be written to
BAND = 256  # rows at a time, so that a large photo needs no second copy
D65 = (0.3127, 0.3290)
PRIMARIES: dict[int, tuple[tuple[float, float], ...]] = {  # code points of ITU-T H.273, table 2: red, green, blue
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    5: ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060)),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
SRGB_POINTS = (D65, *PRIMARIES[1])
SRGB_CURVE, UNSPECIFIED = 0.0, 2
CURVES = {1: SRGB_CURVE, 4: 2.2, 5: 2.8, 6: SRGB_CURVE, 8: 1.0, 13: SRGB_CURVE, 14: SRGB_CURVE, 15: SRGB_CURVE}
HDR_CURVES = {16: "PQ", 18: "HLG"}
log = logging.getLogger(__name__)


def fits(profile: bytes | None, space: str, name: str) -> bool:
    """Whether a profile can be read and is for `RGB`, `GRAY`, `CMYK` or `LAB`; one that does not fit is logged."""
    if not profile:
        return False
    place = profile.find(b"cicp\0\0\0\0")  # where a tag says which curve the profile has
    if place >= 0 and (transfer := int.from_bytes(profile[place + 9 : place + 10])) in HDR_CURVES:
        profile_of_codes(1, transfer)
    try:
        described = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip().upper()
    except OSError:
        described = "unreadable"
    if described != space:
        log.warning("%s: its ICC profile (%s) does not fit its pixels (%s) and is ignored.", name, described, space)
    return described == space


@lru_cache(maxsize=16)
def is_srgb(profile: bytes) -> bool:
    """Whether a profile for RGB shows every color as sRGB does, to an 8-bit step."""
    cube = _cube(np.linspace(0, 65535, 9))
    return bool(np.abs(converted(cube.copy(), profile, SRGB).astype(int) - cube).max() <= SAME_COLOR)


@lru_cache(maxsize=16)
def can_be_written(profile: bytes) -> bool:
    """Whether pale colors come back from a profile for RGB; scanners' and some phones' only lead out of it."""
    cube = np.concatenate([_cube(gray * 65535 * np.array([0.9, 1, 1.1])) for gray in (0.2, 0.5, 0.8)], axis=1)
    try:
        returned = converted(converted(cube.copy(), SRGB, profile), profile, SRGB)
    except Exception:  # lcms has an error of its own for each thing that a profile may lack
        return False
    return bool(np.abs(returned.astype(int) - cube).max() <= RETURNED)


def _cube(steps: NDArray[np.float64]) -> Pixels:
    return np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(1, -1, 3).astype(np.uint16)


def converted(pixels: Pixels, source: bytes, target: bytes, space: str = "RGB") -> Pixels:
    """Pixels of a `space` profile in one for RGB: relative colorimetric, black point compensated, clipped, 3 channels.

    RGB pixels are converted in place, where they may be written to.
    """
    import imagecodecs

    in_place = space == "RGB" and pixels.flags.writeable
    changed = pixels if in_place else np.empty((*pixels.shape[:2], 3), pixels.dtype)
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


def profile_of_codes(primaries: int, transfer: int) -> bytes | None:
    """The profile that an image means by the code points of ITU-T H.273 (cICP, nclx); None for sRGB.

    The curves of television (BT.601, 709, 2020) are shown as sRGB, as browsers do. Raises ValueError for high
    dynamic range, which has no right place in [0, 1], and for code points that photographs do not have.
    """
    if transfer in HDR_CURVES:
        raise ValueError(
            f"it is a picture of high dynamic range ({HDR_CURVES[transfer]}); export it with standard dynamic range"
        )
    primaries, transfer = (value if value != UNSPECIFIED else 1 for value in (primaries, transfer))
    if primaries not in PRIMARIES or transfer not in CURVES:
        raise ValueError(f"its color code points {primaries}/{transfer} are not known; export it as sRGB")
    if primaries == 1 and CURVES[transfer] == SRGB_CURVE:
        return None
    return rgb_profile((D65, *PRIMARIES[primaries]), CURVES[transfer])


@lru_cache(maxsize=16)
def rgb_profile(points: tuple[tuple[float, float], ...], gamma: float) -> bytes:
    """A profile for RGB from the chromaticities (x, y) of white, red, green, blue and an exponent (0 for sRGB's)."""
    import imagecodecs

    encoded = np.linspace(0, 1, 4096)
    curve = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return imagecodecs.cms_profile(
        "rgb",
        whitepoint=points[0],
        primaries=[coordinate for point in points[1:] for coordinate in point],
        transferfunction=None if gamma else np.rint(curve * 65535).astype(np.uint16),
        gamma=gamma or None,
    )


def adobe_rgb_by_exif(exif: Image.Exif) -> bytes | None:
    """The profile that cameras mean, without embedding it, by interoperability index R03 (DCF 2.0)."""
    if ExifTags.IFD.Interop not in exif.get_ifd(ExifTags.IFD.Exif):  # some releases of Pillow raise KeyError then
        return None
    if exif.get_ifd(ExifTags.IFD.Interop).get(ExifTags.Interop.InteropIndex) != "R03":
        return None
    import imagecodecs

    return imagecodecs.cms_profile("adobergb")
