"""Image files of every kind read as upright sRGB pixels: color, orientation, transparency, bit depth, metadata.

A `PhotoFile` is what enhancing carries from the file it reads to the file it writes (`lpie.photos.writing`).
"""

from __future__ import annotations

import io
import logging
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from lpie.names import printable
from lpie.photos.color_profiles import (
    BAND,
    LAB,
    SRGB,
    Pixels,
    adobe_rgb_by_exif,
    can_be_written,
    converted,
    fits,
    is_srgb,
)
from lpie.photos.decoding import KINDS, MOST_MEGAPIXELS, Decoded, decode

Stream: TypeAlias = io.BytesIO | io.BufferedReader | io.BufferedRandom
PhotoSource: TypeAlias = str | os.PathLike[str] | bytes | Stream

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhotoFile:
    """An upright sRGB photograph as files store it, and what else its file says about it."""

    pixels: Pixels  # (H, W, 3), uint8 or uint16
    exif: Image.Exif = field(default_factory=Image.Exif)  # without the orientation, which has been applied
    dpi: tuple[float, float] | None = None  # pixels per inch, horizontal and vertical
    kind: str = "PNG"  # of file it came from, as Pillow names it
    profile: bytes = SRGB  # that the file has and will have again; the pixels are sRGB all the same
    name: str = "the photo"  # what messages call it
    left_out: tuple[str, ...] = ()  # what else is in its file
    scale: float = 1.0  # of a reduced copy

    @property
    def bits(self) -> int:
        """8 or 16 for each channel."""
        return 8 * self.pixels.dtype.itemsize

    @property
    def picture(self) -> Image.Image:
        """It with 8 bits, as Pillow holds it."""
        eight = self.bits == 8
        return Image.fromarray(
            self.pixels if eight else ((self.pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
        )


def open_photo(source: PhotoSource, max_megapixels: float = MOST_MEGAPIXELS, side: int = 0) -> PhotoFile:
    """The photograph in an image file, its bytes, or an open binary file; of several frames, the first.

    Gray becomes three equal channels; transparency is composited over white; the EXIF orientation is applied; colors
    become sRGB (relative colorimetric, black point compensated; what lies outside sRGB is clipped), as the ICC
    profile or the file's own tags (cICP, nclx, gAMA, cHRM) say. CMYK without a profile becomes (1 - ink)(1 - black).
    More than 8 bits become 16. Size is checked before anything is decoded. Nothing of the process is changed.
    `side`: of a larger JPEG no more than keeps `side` px, quicker than the whole and as strict; 0 for the whole.

    Raises FileNotFoundError if there is no such file, ValueError, naming the file and what is wrong, if it is not
    whole, too large, not of a kind that is read, or of colors or numbers that cannot be shown right; TypeError for
    anything but a source.
    """
    name, content = _content(source)
    try:
        return _upright_srgb(name, decode(content, max_megapixels, side))
    except UnidentifiedImageError as error:
        kinds = ", ".join(sorted(set(KINDS.values())))
        raise ValueError(f"{name}: expected a photograph ({kinds}), got something else.") from error
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error and their own on broken files
        reason = str(error) or type(error).__name__
        raise ValueError(f"{name}: expected a photograph that can be read, but {reason}.") from error


def _content(source: PhotoSource) -> tuple[str, bytes]:
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        if os.path.isdir(name):
            raise ValueError(f"{name}: expected an image file, got a folder; name one photograph in it.")
        if not Path(name).exists():
            raise FileNotFoundError(f"{name}: there is no such file; check the name.")
        if stat.S_ISCHR(os.stat(name).st_mode):
            raise ValueError(f"{name}: expected an image file, got a device.")
        content = Path(name).read_bytes()
    elif isinstance(source, bytes):
        name, content = "the given bytes", source
    elif hasattr(source, "read"):
        name, content = str(getattr(source, "name", "the given stream")), source.read()
    else:
        raise TypeError(
            f"Expected a file name, bytes or a file open for reading, got {type(source).__name__}; an array or a PIL "
            "image of 8 bits (H, W, 3) becomes a photo by "
            "lpie.imaging.color.from_uint8(torch.tensor(numpy.asarray(image)).permute(2, 0, 1)[None])."
        )
    if not isinstance(content, bytes):
        raise TypeError(f"{name}: expected a file open for bytes, got {type(content).__name__}; open it with 'rb'.")
    if not content:
        raise ValueError(f"{name}: expected a photograph, got nothing (0 bytes).")
    return name, content


def _upright_srgb(name: str, decoded: Decoded) -> PhotoFile:
    pixels, exif = decoded.pixels.reshape(*decoded.pixels.shape[:2], -1), decoded.exif
    channels = {"CMYK": 4, "LAB": 3}.get(decoded.space, 1 if pixels.shape[2] < 3 else 3)
    color, alpha = pixels[..., :channels], pixels[..., channels : channels + 1]
    color, profile = _to_srgb(color, decoded, name)
    if alpha.size and alpha.min() < np.iinfo(alpha.dtype).max:
        log.warning("%s: its transparent parts become white.", printable(name))
        color = color if color.flags.writeable else color.copy()
        _over_white(color, alpha)
    color = np.broadcast_to(color, (*color.shape[:2], 3))
    color = np.ascontiguousarray(_upright(color, exif.pop(ExifTags.Base.Orientation, 1)))
    resolution = tuple(float(value) for value in decoded.dpi or ())
    known = len(resolution) == 2 and all(0 < value < 1e6 for value in resolution)
    pixels_per_inch = (resolution[0], resolution[1]) if known else None
    return PhotoFile(color, exif, pixels_per_inch, decoded.kind, profile, name, decoded.left_out, decoded.scale)


def _over_white(color: Pixels, alpha: Pixels) -> None:
    """Color with straight alpha (H, W, 1) composited over white, in place."""
    white = np.iinfo(color.dtype).max
    for top in range(0, len(color), BAND):
        band, shown = color[top : top + BAND].astype(np.float32), alpha[top : top + BAND].astype(np.float32) / white
        color[top : top + BAND] = np.rint(white + (band - white) * shown)


def _to_srgb(pixels: Pixels, decoded: Decoded, name: str) -> tuple[Pixels, bytes]:
    """The colors in sRGB, and the profile that their file should have again: its own if that can be written to."""
    space = decoded.space or {1: "GRAY"}.get(pixels.shape[2], "RGB")
    if space == "LAB":
        return converted(pixels, LAB, SRGB, space), SRGB
    if fits(decoded.profile, space, printable(name)):
        profile = decoded.profile or SRGB
        if space == "RGB" and is_srgb(profile):
            return pixels, profile
        kept = space == "RGB" and can_be_written(profile)
        if space == "RGB" and not kept:
            log.warning("%s: its color profile can only be read from: the result will be sRGB.", printable(name))
        return converted(pixels, profile, SRGB, space), profile if kept else SRGB
    if space == "CMYK":
        return _without_inks(pixels), SRGB
    tagged = decoded.tag_profile or adobe_rgb_by_exif(decoded.exif)
    if tagged is None:
        return pixels, SRGB
    pixels = np.repeat(pixels, 3, axis=2) if space == "GRAY" else pixels
    return converted(pixels, tagged, SRGB), SRGB if decoded.tag_profile else tagged


def _without_inks(inks: Pixels) -> Pixels:
    """Four inks without a profile as (1 - ink)(1 - black), the plain rule of Pillow and others."""
    most = int(np.iinfo(inks.dtype).max)
    color = np.empty((*inks.shape[:2], 3), inks.dtype)
    for top in range(0, len(inks), BAND):
        left = most - inks[top : top + BAND].astype(np.uint64)
        color[top : top + BAND] = (left[..., :3] * left[..., 3:] + most // 2) // most
    return color


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Apply EXIF orientation 1..8 (Exif 2.3, tag 0x0112); any other value means upright."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
