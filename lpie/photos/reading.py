"""Image files of every kind read as upright sRGB pixels: color, orientation, transparency, bit depth, metadata.

A `PhotoFile` is what enhancing carries from the file it reads to the file it writes (`photo_encoding`).
"""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from lpie.photos.color_profiles import BAND, SRGB, Pixels, adobe_rgb_by_exif, converted, fits, is_srgb

Stream: TypeAlias = io.BytesIO | io.BufferedReader | io.BufferedRandom
PhotoSource: TypeAlias = str | os.PathLike[str] | bytes | Stream

MOST_PIXELS = 1_000_000_000  # a file with more is taken for a decompression bomb
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhotoFile:
    """An upright sRGB photograph as files store it, and what else its file says about it."""

    pixels: Pixels  # (H, W, 3), uint8 or uint16
    exif: Image.Exif = field(default_factory=Image.Exif)  # without the orientation, which has been applied
    dpi: tuple[float, float] | None = None  # pixels per inch, horizontal and vertical
    kind: str = "PNG"  # of file it came from, as Pillow names it
    profile: bytes = SRGB  # that the file has and will have again; the pixels are sRGB all the same

    @property
    def bits(self) -> int:
        """8 or 16 for each channel."""
        return 8 * self.pixels.dtype.itemsize


def open_photo(source: PhotoSource) -> PhotoFile:
    """The photograph in an image file, its bytes, or an open binary file; of several frames, the first.

    Grey becomes three equal channels; transparency is composited over white; the EXIF orientation is applied; colors
    become sRGB (relative colorimetric, black point compensated; what lies outside sRGB is clipped). CMYK without a
    profile goes by Pillow's plain rule. A 16-bit PNG or TIFF keeps its 16 bits.

    Raises FileNotFoundError if there is no such file, ValueError, naming the file, if it holds no whole photograph.
    """
    name, content = _content(source)
    try:
        with _large_photos_allowed():
            return _decode(content)
    except UnidentifiedImageError as error:
        raise ValueError(f"{name}: expected a photograph (JPEG, PNG, TIFF, WebP ...), got something else.") from error
    except MemoryError:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error and their own on broken files
        raise ValueError(f"{name}: expected a whole photograph, but reading it failed: {error}.") from error


def _content(source: PhotoSource) -> tuple[str, bytes]:
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.is_dir():
            raise ValueError(f"{path}: expected an image file, got a folder; name one photograph in it.")
        if not path.exists():
            raise FileNotFoundError(f"{path}: there is no such file; check the name.")
        name, content = os.fspath(path), path.read_bytes()
    elif isinstance(source, bytes):
        name, content = "the given bytes", source
    else:
        name, content = str(getattr(source, "name", "the given stream")), source.read()
    if not content:
        raise ValueError(f"{name}: expected a photograph, got nothing (0 bytes).")
    return name, content


@contextmanager
def _large_photos_allowed() -> Iterator[None]:
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # Pillow warns here and refuses at twice as many
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _decode(content: bytes) -> PhotoFile:
    if content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        deep = _decode_deep_tiff(content)
        if deep is not None:
            return deep
    with Image.open(io.BytesIO(content)) as picture:
        exif, dpi, kind = picture.getexif(), picture.info.get("dpi"), picture.format or "PNG"
        kind = "JPEG" if kind == "MPO" else kind  # a phone's JPEG with a second picture behind the first
        profile = picture.info.get("icc_profile") or adobe_rgb_by_exif(exif)
        if kind == "PNG" and content[24] == 16:  # the header's bit depth; Pillow would keep 8 of 16
            import imagecodecs

            pixels, inks = imagecodecs.png_decode(content), False
        else:
            pixels, inks = _pillow_pixels(picture)
    return _upright_srgb(pixels, inks, exif, profile, dpi, kind)


def _pillow_pixels(picture: Image.Image) -> tuple[Pixels, bool]:
    """Grey, grey with alpha, RGB, RGB with alpha, or four inks (then True), as Pillow decodes them."""
    if picture.mode == "F":
        raise ValueError("its pixels are floating point; export it with 8 or 16 bits")
    inks = picture.mode == "CMYK" and fits(picture.info.get("icc_profile"), "CMYK")
    plain = picture.mode in ("L", "LA", "RGB", "RGBA", "I", "I;16", "I;16B", "I;16L")
    if picture.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        picture = ImageCms.profileToProfile(picture, lab, srgb, outputMode="RGB") or picture
    elif not (inks or plain) or "transparency" in picture.info:
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    picture.load()
    bits = np.uint16 if picture.mode.startswith("I") else np.uint8
    channels = len(picture.getbands())
    pixels = np.empty((picture.height, picture.width, channels), bits)
    for top in range(0, picture.height, BAND):
        band = np.asarray(picture.crop((0, top, picture.width, min(top + BAND, picture.height))))
        pixels[top : top + BAND] = band.clip(0, np.iinfo(bits).max).reshape(-1, picture.width, channels)
    return pixels, inks


def _decode_deep_tiff(content: bytes) -> PhotoFile | None:
    """A TIFF of more depth than Pillow reads; None if Pillow reads it all."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        page = tiff.pages.first
        if "DNGVersion" in page.tags or page.is_reduced:
            raise ValueError("it looks like a camera's raw file; develop it to TIFF or JPEG first")
        if page.dtype is not None and (page.dtype.kind == "f" or page.dtype.itemsize > 2):
            kind = "floating point" if page.dtype.kind == "f" else f"{page.dtype} numbers"
            raise ValueError(f"its pixels are {kind}; export it with 8 or 16 bits")
        if page.dtype != np.uint16:
            return None
        pixels = page.asarray()
        if pixels.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
            pixels = np.moveaxis(pixels, 0, -1)
        inks = page.photometric == tifffile.PHOTOMETRIC.SEPARATED
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            pixels = 65535 - pixels
        extra = page.extrasamples[0] if page.extrasamples else None
        if extra is not None and extra != tifffile.EXTRASAMPLE.UNASSALPHA:
            ink_channels = page.samplesperpixel - len(page.extrasamples)
            color, alpha = pixels[..., :ink_channels], pixels[..., ink_channels : ink_channels + 1]
            pixels = color + (65535 - alpha) if extra == tifffile.EXTRASAMPLE.ASSOCALPHA else color
        profile = page.iccprofile
    exif, dpi = Image.Exif(), None
    try:
        with Image.open(io.BytesIO(content)) as picture:
            exif, dpi = picture.getexif(), picture.info.get("dpi")
    except UnidentifiedImageError:  # such as four inks of 16 bits
        log.debug("Pillow reads no metadata of this TIFF")
    return _upright_srgb(pixels, inks, exif, profile, dpi, "TIFF")


def _upright_srgb(
    pixels: Pixels, inks: bool, exif: Image.Exif, profile: bytes | None, dpi: Any, kind: str
) -> PhotoFile:
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if not inks and pixels.shape[2] in (2, 4):
        if pixels[..., -1].min() < np.iinfo(pixels.dtype).max:
            log.warning("what is transparent in it becomes white")
        pixels = _over_white(pixels)
    pixels, profile = _to_srgb(pixels, inks, profile)
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    pixels = _upright(pixels, exif.pop(ExifTags.Base.Orientation, 1))
    resolution = tuple(float(value) for value in dpi) if dpi else ()
    known = len(resolution) == 2 and all(0 < value < 1e6 for value in resolution)
    pixels_per_inch = (resolution[0], resolution[1]) if known else None
    return PhotoFile(np.ascontiguousarray(pixels), exif, pixels_per_inch, kind, profile)


def _over_white(pixels: Pixels) -> Pixels:
    """Color with straight alpha in the last channel, composited over white."""
    white = np.iinfo(pixels.dtype).max
    color = np.empty_like(pixels[..., :-1])
    for top in range(0, len(pixels), BAND):
        band = pixels[top : top + BAND].astype(np.float32)
        alpha = band[..., -1:] / white
        color[top : top + BAND] = np.rint(white + (band[..., :-1] - white) * alpha)
    return color


def _to_srgb(pixels: Pixels, inks: bool, profile: bytes | None) -> tuple[Pixels, bytes]:
    """The pixels in sRGB, and the profile that their file should have again: its own if that is one for RGB."""
    space = "CMYK" if inks else "GRAY" if pixels.shape[2] == 1 else "RGB"
    if profile is None or not fits(profile, space):
        if inks:
            raise ValueError("its four 16-bit inks have no color profile; embed one or convert it to RGB")
        return pixels, SRGB
    if space == "RGB" and is_srgb(profile):
        return pixels, profile
    return converted(pixels, profile, SRGB, space), profile if space == "RGB" else SRGB


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Apply EXIF orientation 1..8 (Exif 2.3, tag 0x0112); any other value means upright."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
