"""Image files written from sRGB pixels: JPEG and WebP with 8 bits, PNG and TIFF with 8 or 16, metadata kept."""

from __future__ import annotations

import base64
import io
import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from lpie.photos.color_profiles import SRGB, converted, is_srgb
from lpie.photos.decoding import KINDS
from lpie.photos.reading import PhotoFile, Stream
from lpie.records import atomic_path

WRITTEN = ("JPEG", "PNG", "TIFF", "WEBP")
DEEP_KINDS = ("PNG", "TIFF")
QUALITY: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95, "subsampling": "4:4:4"}, "WEBP": {"quality": 92}}
STRIP_BYTES = 1 << 20  # of a TIFF, each compressed alone
LONGEST_SIDES = {"JPEG": 65500, "WEBP": 16383}  # px that libjpeg and libwebp write
UTF16_TAGS = (
    *(ExifTags.Base.XPTitle, ExifTags.Base.XPComment, ExifTags.Base.XPAuthor),
    *(ExifTags.Base.XPKeywords, ExifTags.Base.XPSubject),
)
PHOTOGRAPH_TAGS = {  # of EXIF's first directory: what describes the photograph and not how a file stores its pixels
    *(ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.Software),
    *(ExifTags.Base.DateTime, ExifTags.Base.Artist, ExifTags.Base.HostComputer, ExifTags.Base.Copyright),
    *(ExifTags.Base.Rating, ExifTags.Base.RatingPercent, *UTF16_TAGS),
}


def kind_of(path: str | os.PathLike[str]) -> str:
    """The format, as Pillow names it, that a file name asks for; raises ValueError if it is none that is written."""
    suffix = Path(path).suffix.lower()
    if KINDS.get(suffix) not in WRITTEN:
        known = ", ".join(name for name, kind in KINDS.items() if kind in WRITTEN)
        raise ValueError(f"{os.fspath(path)}: expected a name ending in {known}, got {suffix!r}.")
    return KINDS[suffix]


def save_photo(photo: PhotoFile, path: str | os.PathLike[str]) -> None:
    """Write a photograph in the format that the name asks for, whole or not at all, with its metadata.

    Raises ValueError if the name asks for an unknown format, or for one that cannot hold the photo or its metadata;
    OSError, what was there untouched, if the disk is full or the folder cannot be written.
    """
    kind = kind_of(path)
    height, width = photo.pixels.shape[:2]
    if max(height, width) > LONGEST_SIDES.get(kind, max(height, width)):
        raise ValueError(
            f"Cannot write {os.fspath(path)}: {kind} holds {LONGEST_SIDES[kind]} px a side, got {height} x {width}. "
            "Choose .png or .tif."
        )
    try:
        with atomic_path(path) as temporary, temporary.open("wb+") as stream:
            encode_photo(photo, stream, kind)
    except OSError as error:
        own = error.filename == os.fspath(Path(path))  # of atomic_path, with its own advice
        advice = "" if own else " Choose a folder that can be written and has room."
        reason = f"{error.strerror or error}; nothing that was there has changed.{advice}"
        raise OSError(error.errno, f"Cannot write {os.fspath(path)}: {reason}") from error
    except ValueError as error:
        raise ValueError(f"Cannot write {os.fspath(path)} as {kind}: {error}.") from error


def encode_photo(photo: PhotoFile, stream: Stream, kind: str) -> None:
    """Write a photograph into a seekable stream; 16 bits become 8 where the format holds no more.

    EXIF, resolution and color profile are kept; other metadata (XMP, IPTC, comments) is not.
    """
    exif = photograph_exif(photo.exif, photo.profile)
    if photo.profile != SRGB and not is_srgb(photo.profile):
        photo = replace(photo, pixels=converted(photo.pixels.copy(), SRGB, photo.profile))
    if kind == "TIFF":
        _encode_tiff(photo, exif, stream)
    elif kind == "PNG" and photo.bits == 16:
        _encode_deep_png(photo, exif, stream)
    else:
        choices: dict[str, Any] = dict(QUALITY.get(kind, {}))
        if exif:
            choices["exif"] = exif
        if photo.dpi:
            choices["dpi"] = photo.dpi
        photo.picture.save(stream, kind, icc_profile=photo.profile, **choices)


def data_address(picture: Image.Image, kind: str, **options: Any) -> str:
    """An address that holds the picture as a file of `kind`, for pages that load nothing; `options` as Pillow's."""
    stored = io.BytesIO()
    picture.save(stored, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stored.getvalue()).decode()}"


def photograph_exif(exif: Image.Exif, profile: bytes) -> Image.Exif:
    """A copy of `exif` without what describes the file it came from: how its pixels lay, its thumbnail."""
    kept = Image.Exif()
    for tag in PHOTOGRAPH_TAGS & set(exif):
        kept[tag] = _same_bytes(exif[tag])
    for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        entries = {tag: _same_bytes(value) for tag, value in exif.get_ifd(directory).items()}
        for stale in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight, ExifTags.IFD.Interop):
            entries.pop(stale, None)
        if directory == ExifTags.IFD.Exif and ExifTags.Base.ColorSpace in entries:
            entries[ExifTags.Base.ColorSpace] = 1 if is_srgb(profile) else 65535  # sRGB, or as the profile says
        if entries:
            kept.get_ifd(directory).update(entries)
            kept[directory] = dict(entries)
    return kept


def _same_bytes(value: Any) -> Any:
    """Text beyond ASCII as the bytes that it was read from: EXIF knows no other text, but cameras write UTF-8.

    Pillow reads text as Latin-1, which has a character for each byte, and would write question marks.
    """
    return value.encode("latin-1") if isinstance(value, str) and not value.isascii() else value


def _encode_deep_png(photo: PhotoFile, exif: Image.Exif, stream: Stream) -> None:
    """A 16-bit PNG, which Pillow does not write: imagecodecs packs the pixels, the other chunks go in after IHDR."""
    import imagecodecs

    packed = memoryview(imagecodecs.png_encode(np.ascontiguousarray(photo.pixels), level=6))
    header = 8 + 25  # signature, then IHDR: length, name, 13 bytes, checksum
    stream.write(packed[:header])
    stream.write(_png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(photo.profile)))
    if photo.dpi:
        stream.write(_png_chunk(b"pHYs", struct.pack(">IIB", *(round(value / 0.0254) for value in photo.dpi), 1)))
    if exif:
        stream.write(_png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))
    stream.write(packed[header:])


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _encode_tiff(photo: PhotoFile, exif: Image.Exif, stream: Stream) -> None:
    """A compressed TIFF. tifffile writes no EXIF directories: they are appended, and placeholders pointed there."""
    import tifffile

    directories = [int(tag) for tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo) if exif.get_ifd(tag)]
    own = (*directories, ExifTags.Base.ImageDescription, ExifTags.Base.Software)
    texts = [
        (tag, "B", len(text), text, True) if tag in UTF16_TAGS else (tag, "s", 0, text, True)
        for tag, text in exif.items()
        if tag not in own and isinstance(text, str | bytes)
    ]
    tifffile.imwrite(
        stream,
        photo.pixels,
        byteorder="<",
        bigtiff=False,
        photometric="rgb",
        compression="deflate",
        predictor=True,
        rowsperstrip=max(1, STRIP_BYTES // photo.pixels[0].nbytes),
        metadata=None,
        description=exif.get(ExifTags.Base.ImageDescription),
        software=exif.get(ExifTags.Base.Software) or False,
        iccprofile=photo.profile,
        resolution=photo.dpi,
        resolutionunit="INCH" if photo.dpi else None,
        extratags=[*texts, *((tag - 1, "I", 1, 0, True) for tag in directories)],
    )
    stream.seek(0)
    with tifffile.TiffFile(stream) as tiff:
        placeholders = {tag: tiff.pages.first.tags[tag - 1].offset for tag in directories}
    for tag, placeholder in placeholders.items():
        offset = stream.seek(0, io.SEEK_END)
        offset += stream.write(b"\0" * (offset % 2))
        entries = ImageFileDirectory_v2(b"II*\0\0\0\0\0")
        entries.update(exif.get_ifd(tag))
        stream.write(entries.tobytes(offset))
        stream.seek(placeholder)
        stream.write(struct.pack("<HHII", tag, 4, 1, offset))
