"""The pixels of image files, each kind by the library that reads it whole and with all its bits.

JPEG by simplejpeg (strict: Pillow gives half a picture without a word), TIFF by tifffile, HEIC by pillow-heif, AVIF
and what has more than 8 bits by imagecodecs and netpbmfile, the rest by Pillow. What they cannot read right raises.
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass, field
from functools import partial
from itertools import compress
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from lpie.photos.color_profiles import BAND, HDR_CURVES, SRGB_CURVE, SRGB_POINTS, Pixels, profile_of_codes, rgb_profile

KINDS = {  # how names end, and the format as Pillow names it: what both `enhance` and `score` take for photographs
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIF"),
    **dict.fromkeys((".jp2", ".j2k"), "JPEG2000"),
    **dict.fromkeys((".ppm", ".pgm", ".pnm"), "PPM"),
    **{".png": "PNG", ".webp": "WEBP", ".avif": "AVIF", ".bmp": "BMP", ".gif": "GIF"},
}
OPENED_BY_PILLOW = tuple(sorted({*KINDS.values()} - {"TIFF", "HEIF"}))
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MOST_MEGAPIXELS = 250.0  # of a photo, where no other limit is given
FREE_BYTES = 64 << 20  # of pixels, whatever the length of the file
MOST_COMPRESSED = 3000  # bytes of pixels for one byte of a file: no photograph is so flat
COPIES = 3  # of the pixels that reading, converting and writing hold at a time
READ_BYTES = 1 << 24  # of a TIFF at a time
IPTC = 0x0404  # of Photoshop's resources
OTHERS = "all pictures but the first"
END_OF_JPEG = b"\xff\xd9"
SRGB_GAMMA, GAMMA_TOLERANCE = 0.45455, 0.05  # of a PNG's gAMA chunk, which says by it that it is sRGB (libpng)


@dataclass
class Decoded:
    """What is in an image file: pixels as stored, over the whole range of their type, and how they are meant."""

    pixels: Pixels  # (H, W) or (H, W, channels), uint8 or uint16
    kind: str  # of file, as Pillow names it
    profile: bytes | None = None  # ICC
    space: str = ""  # CMYK or LAB; else the number of channels says it: gray or RGB, each with or without alpha
    tag_profile: bytes | None = None  # color said by other means, where there is no ICC profile
    exif: Image.Exif = field(default_factory=Image.Exif)
    dpi: Any = None
    left_out: tuple[str, ...] = ()  # what else is in the file
    scale: float = 1.0  # of the pixels, where only a reduced copy was asked for


def decode(content: bytes, most_megapixels: float = MOST_MEGAPIXELS, side: int = 0) -> Decoded:
    """The first picture in a file. Raises ValueError or an error of the library if it is not read whole and right.

    `side`: see `lpie.photos.reading.open_photo`.
    """
    if content[:4] in TIFF_STARTS:
        return _tiff(content, most_megapixels)
    if content[4:8] == b"ftyp" and b"avi" not in content[8:12]:
        return _heif(content, most_megapixels)
    picture = open_picture(content)
    decoded = Decoded(np.empty(0), picture.format or "", picture.info.get("icc_profile"))
    decoded.kind = "JPEG" if decoded.kind == "MPO" else decoded.kind  # a phone's JPEG with a second picture behind
    depth, reader = 8, _by_pillow
    if decoded.kind == "JPEG":
        reader, decoded.space = partial(_jpeg, side=side), "CMYK" if picture.mode == "CMYK" else ""
    elif decoded.kind == "PNG":
        decoded.profile, decoded.tag_profile = _png_color(content, picture)
        depth = content[24]  # IHDR's, then the type of color
        plain = depth == 16 or (depth == 8 and content[25] != 3 and "transparency" not in picture.info)
        depth, reader = (depth, _by_codec) if plain else (8, _by_pillow)  # which keeps 8 of 16 and copies twice
        if plain and not re.search(rb"eXIf|tEXt|[zi]TXt", content):
            picture.info["exif"] = b""  # else Pillow decodes it all to see whether any comes behind the pixels
    elif decoded.kind == "AVIF":
        import pillow_heif

        told = pillow_heif.open_heif(content).info
        depth, reader = told["bit_depth"], _by_codec
        decoded.tag_profile = _nclx_color(told, decoded.profile)
        if getattr(picture, "n_frames", 1) > 1:  # imagecodecs writes all of them where there is room for one
            if depth > 8:
                raise ValueError(f"it is an animation of {depth} bits; export one picture of it")
            reader = _by_pillow
    elif decoded.kind == "JPEG2000":
        depth = _jpeg2000_depth(content)
        decoded.profile = _jpeg2000_profile(content, depth)
        reader = _deep_jpeg2000 if depth > 8 else reader
    elif decoded.kind == "BMP" and content[70:74] == b"DEBM":  # a header of version 5 with a profile in the file
        start, length = struct.unpack_from("<II", content, 126)
        decoded.profile = content[14 + start : 14 + start + length]
    elif decoded.kind == "PPM" and picture.mode != "1":
        depth, reader = _ppm_depth(content)
    check_size(picture.height, picture.width, len(picture.getbands()), depth, len(content), most_megapixels)
    decoded.exif, decoded.dpi, decoded.left_out = picture.getexif(), picture.info.get("dpi"), _left_out(picture)
    decoded.pixels = scaled(reader(content, picture), depth)
    decoded.scale = len(decoded.pixels) / picture.height
    return decoded


def _left_out(picture: Image.Image) -> tuple[str, ...]:
    info, several = picture.info, getattr(picture, "is_animated", False) and picture.format != "MPO"
    text = any(isinstance(value, str) and name != "XML:com.adobe.xmp" for name, value in info.items())
    there = "xmp" in info, IPTC in info.get("photoshop", {}), text or "comment" in info, several
    return tuple(compress(("XMP", "IPTC", "text", OTHERS), there))


def open_picture(content: bytes) -> ImageFile.ImageFile:
    """The header of a file of a kind that this package reads, by Pillow; its process-wide limit stays as it is."""
    Image.init()
    for kind in OPENED_BY_PILLOW:
        factory, accepts = Image.OPEN[kind]
        if accepts is None or accepts(content[:16]) is True:
            return factory(io.BytesIO(content), "")  # Image.open would warn of 90 megapixels and refuse 180
    raise UnidentifiedImageError("of no kind that is read")


def check_size(height: int, width: int, channels: int, depth: int, length: int, most_megapixels: float) -> None:
    """Raise ValueError, before anything is allocated, for more pixels than are allowed, believable, or have room."""
    import psutil

    needed = height * width * channels * (1 if depth <= 8 else 2)
    if not height * width <= most_megapixels * 1e6:
        raise ValueError(
            f"it has {height * width / 1e6:g} megapixels and {most_megapixels:g} are allowed; allow more by "
            "max_megapixels (--max-megapixels)"
        )
    if needed > max(FREE_BYTES, MOST_COMPRESSED * length):
        raise ValueError(f"it says that it has {height} x {width} pixels, but holds only {length} bytes")
    free = psutil.virtual_memory().available
    if COPIES * needed > free:
        raise ValueError(
            f"it takes {COPIES * needed / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free; reduce it first"
        )


def scaled(pixels: Pixels, depth: int) -> Pixels:
    """Stored numbers of `depth` bits over the whole range of 8 or, where there are more, of 16 bits."""
    if depth in (8, 16):
        return pixels
    if not 1 <= depth < 16:
        raise ValueError(f"its numbers have {depth} bits; export it with 8 or 16")
    most, full = 2**depth - 1, 255 if depth < 8 else 65535
    wide = np.empty(pixels.shape, np.uint8 if depth < 8 else np.uint16)
    for top in range(0, len(pixels), BAND):
        band = pixels[top : top + BAND].astype(np.uint32)
        wide[top : top + BAND] = (band * full + most // 2) // most
    return wide


def _jpeg(content: bytes, picture: Image.Image, side: int) -> Pixels:
    """Strict about pixels that are lost, lenient about a lost end marker and about what follows the picture."""
    import simplejpeg

    if END_OF_JPEG not in content[-64:]:
        content += END_OF_JPEG
    space = {"L": "GRAY", "CMYK": "CMYK"}.get(picture.mode, "RGB")
    pixels = simplejpeg.decode_jpeg(content, space, min_height=side, min_width=side, strict=True)
    return 255 - pixels if space == "CMYK" and "adobe" in picture.info else pixels  # Adobe stores inks inverted


def _by_pillow(content: bytes, picture: Image.Image) -> Pixels:
    """Gray, gray with alpha, RGB or RGB with alpha, as Pillow decodes them."""
    plain = picture.mode in ("L", "LA", "RGB", "RGBA", "I", "I;16", "I;16B", "I;16L")
    if picture.mode == "F":
        raise ValueError("its pixels are floating point; export it with 8 or 16 bits")
    if not plain or "transparency" in picture.info:
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    picture.load()
    pixels = np.asarray(picture)
    return pixels.clip(0, 65535).astype(np.uint16) if pixels.dtype.itemsize > 2 else pixels


def _by_codec(content: bytes, picture: Image.Image) -> Pixels:
    import imagecodecs

    return imagecodecs.avif_decode(content, index=0) if picture.format == "AVIF" else imagecodecs.png_decode(content)


def _png_color(content: bytes, picture: Image.Image) -> tuple[bytes | None, bytes | None]:
    """The profile in a PNG and the one that its tags mean: cICP, else iCCP, sRGB, cHRM and gAMA (version 3, 4.3)."""
    place, info = 8, picture.info
    while place + 12 <= len(content) and content[place + 4 : place + 8] != b"IDAT":
        length, name = struct.unpack_from(">I4s", content, place)
        if name == b"cICP":
            primaries, transfer, _, full_range = content[place + 8 : place + 12]
            if not full_range:
                raise ValueError("its numbers have the limited range of television; export it with the full range")
            return None, profile_of_codes(primaries, transfer)
        place += 12 + length
    gamma, points = info.get("gamma"), info.get("chromaticity")
    curve = SRGB_CURVE if not gamma or abs(gamma / SRGB_GAMMA - 1) < GAMMA_TOLERANCE else 1 / gamma
    if info.get("icc_profile") or "srgb" in info or not (points or curve):
        return info.get("icc_profile"), None
    points = tuple(zip(points[::2], points[1::2], strict=True)) if points else SRGB_POINTS
    return None, rgb_profile(points, curve)


def _nclx_color(told: dict[str, Any], profile: bytes | None) -> bytes | None:
    """The profile that a HEIF or AVIF file without one means by its code points; high dynamic range raises."""
    color = told.get("nclx_profile") or {"color_primaries": 1, "transfer_characteristics": 1}
    primaries, transfer = color["color_primaries"], color["transfer_characteristics"]
    return profile_of_codes(primaries, transfer) if not profile or transfer in HDR_CURVES else None


def _jpeg2000_depth(content: bytes) -> int:
    """Bits of a channel, by the marker SIZ (ITU-T T.800, A.5.1)."""
    depth = content[content.index(b"\xff\x4f\xff\x51") + 42]
    if depth & 0x80:
        raise ValueError("its numbers are signed; export it with 8 or 16 bits")
    return depth + 1


def _jpeg2000_profile(content: bytes, depth: int) -> bytes | None:
    """The ICC profile in the color box of a JP2; other color spaces than RGB and gray raise (ITU-T T.800, I.5.3.3)."""
    header = content[: content.index(b"\xff\x4f\xff\x51")]
    box = header.find(b"colr", header.find(b"jp2h"))
    if box < 0:
        return None
    (length,), method = struct.unpack_from(">I", header, box - 4), header[box + 4]
    if method != 1:
        return header[box + 7 : box - 4 + length]
    space = struct.unpack_from(">I", header, box + 7)[0]
    if space not in (16, 17) and (space, depth) not in ((12, 8), (18, 8)):  # sRGB, gray, CMYK, sYCC
        raise ValueError(f"its colors (space {space} of JPEG 2000) are not RGB; export it as RGB with 8 bits")
    return None


def _deep_jpeg2000(content: bytes, picture: Image.Image) -> Pixels:
    import imagecodecs

    if b"pclr" in content[: content.index(b"\xff\x4f\xff\x51")]:
        raise ValueError("its colors come from a palette; export it as RGB or with 8 bits")
    return imagecodecs.jpeg2k_decode(content)


def _ppm_depth(content: bytes) -> tuple[int, Any]:
    """16 and a reader where a netpbm file has more than 8 bits, which Pillow would drop; else 8 and Pillow."""
    import netpbmfile

    with netpbmfile.NetpbmFile(io.BytesIO(content)) as file:
        most = int(np.max(file.maxval))
        if most <= 255 or str(file.magicnumber) in ("PF", "Pf"):
            return 8, _by_pillow
        return 16, partial(_deep_ppm, file, most)


def _deep_ppm(file: Any, most: int, *_: Any) -> Pixels:
    return ((file.asarray().astype(np.uint32).clip(0, most) * 65535 + most // 2) // most).astype(np.uint16)


def _heif(content: bytes, most_megapixels: float) -> Decoded:
    """HEIC and its kin, upright by its own rotation; EXIF's orientation does not hold for them (ISO 23008-12)."""
    import pillow_heif

    file = pillow_heif.open_heif(content, convert_hdr_to_8bit=False)
    depth = file.info["bit_depth"]
    width, height = file.size
    check_size(height, width, len(file.mode.partition(";")[0]), depth, len(content), most_megapixels)
    profile, exif = file.info.get("icc_profile"), Image.Exif()
    tag_profile = _nclx_color(file.info, profile)
    if file.info.get("exif"):
        exif.load(file.info["exif"])
        exif.pop(ExifTags.Base.Orientation, None)
    pixels = np.asarray(file)
    pixels = scaled(pixels >> (16 - depth), depth) if depth > 8 else pixels
    left_out = tuple(compress(("XMP", OTHERS), (file.info.get("xmp"), len(file) > 1)))
    return Decoded(pixels, "HEIF", profile, tag_profile=tag_profile, exif=exif, left_out=left_out)


def _tiff(content: bytes, most_megapixels: float) -> Decoded:
    """A TIFF of whole unsigned numbers of at most 16 bits; other numbers and photometric interpretations raise."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        page: Any = tiff.pages.first
        _check_tiff(page, content, most_megapixels)
        exif = Image.Exif()
        exif.endian, exif.bigtiff = tiff.byteorder, tiff.is_bigtiff
        exif.load_from_fp(io.BytesIO(content), page.offset)
        if ExifTags.IFD.Interop in exif.get_ifd(ExifTags.IFD.Exif):
            exif.get_ifd(ExifTags.IFD.Interop)
        exif.get_ifd(ExifTags.IFD.GPSInfo)
        exif.fp = io.BytesIO()  # all is read, and the file need not stay in memory
        if page.photometric.name == "YCBCR" and page.compression.name != "JPEG":  # a JPEG inside becomes RGB itself
            pixels = _by_pillow(content, Image.OPEN["TIFF"][0](io.BytesIO(content), ""))
        else:
            pixels = page.asarray(buffersize=READ_BYTES)
        if pixels.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
            pixels = np.moveaxis(pixels, 0, -1)
        pixels, photometric = scaled(pixels, page.bitspersample), tifffile.PHOTOMETRIC(page.photometric).name
        most, first = np.iinfo(pixels.dtype).max, pixels.reshape(*pixels.shape[:2], -1)[..., :1]
        if photometric == "PALETTE":
            if page.colormap is None:
                raise ValueError("its palette has no colors; export it as RGB")
            pixels = np.moveaxis(page.colormap, 0, -1)[page.asarray()]
            pixels = pixels if page.bitspersample > 8 else (pixels >> 8).astype(np.uint8)
        elif photometric == "MINISWHITE":
            first ^= most
        elif photometric == "CIELAB":  # a* and b* are signed in a TIFF and start from the middle in ICC
            half = most // 2 + 1
            pixels[..., 1:3] ^= half
            if most > 255:  # and 256ths of a unit there, 257ths here
                pixels[..., 1:3] = ((pixels[..., 1:3].astype(np.int64) - half) * 257 // 256 + half + 128).clip(0, most)
        if page.extrasamples:
            channels = page.samplesperpixel - len(page.extrasamples)
            kinds = {getattr(kind, "name", ""): place for place, kind in enumerate(page.extrasamples, channels)}
            color = pixels[..., :channels]
            if "ASSOCALPHA" in kinds:
                alpha = pixels[..., kinds["ASSOCALPHA"], None]
                pixels = np.minimum(color, alpha) + (most - alpha)  # over white
            else:
                pixels = pixels[..., [*range(channels), kinds["UNASSALPHA"]]] if "UNASSALPHA" in kinds else color
        inch = page.resolutionunit == tifffile.RESUNIT.INCH
        dpi = page.resolution if inch else tuple(value * 2.54 for value in page.resolution)
        known = "XResolution" in page.tags and page.resolutionunit != tifffile.RESUNIT.NONE
        space = {"CIELAB": "LAB", "SEPARATED": "CMYK"}.get(photometric, "")
        others = any(not (getattr(other, "is_reduced", 0) or getattr(other, "is_mask", 0)) for other in tiff.pages[1:])
        left_out = tuple(compress(("XMP", "IPTC", OTHERS), (700 in page.tags, 33723 in page.tags, others)))
        return Decoded(pixels, "TIFF", page.iccprofile, space, None, exif, dpi if known else None, left_out)


def _check_tiff(page: Any, content: bytes, most_megapixels: float) -> None:
    """Raise ValueError unless a TIFF's pixels are numbers of a photograph, all there, and have room in memory."""
    if "DNGVersion" in page.tags or page.is_reduced:
        raise ValueError("it looks like a camera's raw file; develop it to TIFF or JPEG first")
    check_size(
        page.imagelength, page.imagewidth, page.samplesperpixel, page.bitspersample, len(content), most_megapixels
    )
    numbers = "floating point" if page.sampleformat == 3 else f"{page.dtype} numbers"
    if page.sampleformat != 1 or page.dtype is None or page.bitspersample > 16:
        raise ValueError(f"its pixels are {numbers}; export it with 8 or 16 bits")
    channels = page.samplesperpixel - len(page.extrasamples)
    if page.imagedepth > 1:
        raise ValueError(f"it holds a volume of {page.imagedepth} planes; export one of them")
    expected = {"MINISWHITE": 1, "MINISBLACK": 1, "PALETTE": 1, "RGB": 3, "CIELAB": 3, "YCBCR": 3, "SEPARATED": 4}
    name = getattr(page.photometric, "name", str(page.photometric))
    inside = page.compression.name == "JPEG" and name == "CIELAB"  # tifffile takes it for YCbCr
    if expected.get(name) != channels or (page.bitspersample != 8 and name == "YCBCR") or inside:
        raise ValueError(f"its {channels} channels of {page.bitspersample} bits are {name}; export it as RGB")
    strips = zip(page.dataoffsets, page.databytecounts, strict=False)
    there = sum(offset > 0 and count > 0 and offset + count <= len(content) for offset, count in strips)
    if there < int(np.prod(page.chunked)):
        raise ValueError(f"{np.prod(page.chunked) - there} of its {np.prod(page.chunked)} strips or tiles are missing")
