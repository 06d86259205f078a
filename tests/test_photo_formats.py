"""Depth, color and damage of image files: read right, or refused with what to do; never a wrong picture."""

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import imagecodecs
import numpy as np
import pillow_heif
import pytest
import skimage.data
import tifffile
from PIL import ExifTags, Image, ImageCms

from lpie.photos import decoding
from lpie.photos.color_profiles import LAB, SRGB, can_be_written
from lpie.photos.photographs import read_photo
from lpie.photos.reading import PhotoFile, open_photo
from lpie.photos.writing import encode_photo

FACE = skimage.data.astronaut()[40:168, 150:310]
PLAIN = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
P3_TO_SRGB = np.array([[1.2249, -0.2247, 0], [-0.0420, 1.0419, 0], [-0.0197, -0.0786, 1.0979]])  # of linear light


def linear(encoded: np.ndarray) -> np.ndarray:
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def encoded_srgb(light: np.ndarray) -> np.ndarray:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)


def tiff(pixels: np.ndarray, photometric: str, **choices) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, photometric=photometric, **choices)
    return stream.getvalue()


def jpeg(pixels: np.ndarray, **choices) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95, **choices)
    return stream.getvalue()


def png(pixels: np.ndarray, **chunks: bytes) -> bytes:
    """A PNG with further chunks after its header."""
    content = imagecodecs.png_encode(pixels)
    for name, body in chunks.items():
        chunk = (
            struct.pack(">I", len(body)) + name.encode() + body + struct.pack(">I", zlib.crc32(name.encode() + body))
        )
        content = content[:33] + chunk + content[33:]
    return content


# Depth


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("photometric", ["rgb", "minisblack", "miniswhite"])
def test_tiff_of_few_bits_spans_the_whole_range(bits, photometric):
    stored = np.random.default_rng(1).integers(0, 2**bits, (6, 8, 3), dtype=np.uint16)
    stored[0, 0], stored[0, 1] = 0, 2**bits - 1
    stored = stored if photometric == "rgb" else stored[..., 0]
    expected = np.rint(stored * (65535 / (2**bits - 1)))
    expected = 65535 - expected if photometric == "miniswhite" else expected
    file = open_photo(tiff(stored, photometric, bitspersample=bits))
    assert file.bits == 16
    np.testing.assert_allclose(file.pixels[..., 0], expected[..., 0] if photometric == "rgb" else expected, atol=1)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.float16, np.float32, np.float64, np.uint32])
def test_tiff_of_signed_or_floating_point_numbers_is_refused(dtype):
    with pytest.raises(ValueError, match="export it with 8 or 16 bits"):
        open_photo(tiff(np.zeros((6, 8, 3), dtype), "rgb"))


@pytest.mark.parametrize("most", [1023, 65535])
@pytest.mark.parametrize("channels", [1, 3])
def test_deep_ppm_keeps_its_depth(most, channels):
    values = np.random.default_rng(2).integers(0, most + 1, (6, 8, channels)).astype(">u2")
    file = open_photo(b"P%d\n8 6\n%d\n" % (5 if channels == 1 else 6, most) + values.tobytes())
    assert file.bits == 16
    np.testing.assert_allclose(file.pixels, np.broadcast_to(values * (65535 / most), (6, 8, 3)), atol=1)


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("gray", [False, True])
def test_deep_jpeg_2000_keeps_its_depth(bits, gray):
    stored = np.ascontiguousarray(PLAIN[..., 0] if gray else PLAIN).astype(np.uint16) << (bits - 8)
    file = open_photo(imagecodecs.jpeg2k_encode(stored, level=0, bitspersample=bits, codecformat="jp2"))
    assert file.bits == 16
    expected = stored[..., None] if gray else stored
    np.testing.assert_allclose(file.pixels, np.broadcast_to(expected * (65535 / (2**bits - 1)), (24, 40, 3)), atol=1)


@pytest.mark.parametrize("bits", [10, 12])
def test_deep_avif_keeps_its_depth(bits):
    stored = FACE.astype(np.uint16) << (bits - 8)
    stored += np.random.default_rng(5).integers(0, 2 ** (bits - 8), stored.shape, dtype=np.uint16)
    file = open_photo(imagecodecs.avif_encode(stored, level=100, bitspersample=bits, primaries=1, transfer=13))
    assert file.bits == 16
    assert len(np.unique(file.pixels)) > 256
    assert np.abs(file.pixels - stored * (65535 / (2**bits - 1))).mean() < 100


def heic(pixels: np.ndarray, **choices) -> bytes:
    stream = io.BytesIO()
    deep = pixels.dtype == np.uint16
    pillow_heif.encode("RGB;16" if deep else "RGB", pixels.shape[1::-1], pixels.tobytes(), stream, **choices)
    return stream.getvalue()


def test_heic_is_read_with_its_depth_metadata_and_own_rotation():
    file = open_photo(heic(FACE, quality=95))
    assert (file.bits, file.kind) == (8, "HEIF")
    assert np.abs(file.pixels.astype(int) - FACE).mean() < 3
    deep = open_photo(heic(FACE.astype(np.uint16) * 257, quality=95))
    assert deep.bits == 16
    assert np.abs(deep.pixels - FACE * 257.0).mean() < 3 * 257
    white = open_photo(heic(np.full((64, 64, 3), 65535, np.uint16), quality=100))
    assert white.pixels.min() > 65000
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Orientation] = "A phone", 6
    described = open_photo(heic(FACE, quality=80, exif=exif.tobytes()))
    assert described.exif[ExifTags.Base.Make] == "A phone"
    assert ExifTags.Base.Orientation not in described.exif


# Color


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_cielab_tiff_shows_its_colors(dtype):
    lightness, a, b = 50.2, 40, -20
    stored = [128, a, b % 256] if dtype == np.uint8 else [round(lightness / 100 * 65535), a * 256, b * 256 % 65536]
    pixels = np.broadcast_to(np.array(stored, dtype), (4, 4, 3))
    lab = Image.frombytes("LAB", (1, 1), bytes([128, a, b % 256]))
    oracle = ImageCms.profileToProfile(lab, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), 1, "RGB")
    shown = open_photo(tiff(pixels, "cielab")).pixels[0, 0] / (np.iinfo(dtype).max / 255)
    np.testing.assert_allclose(shown, np.asarray(oracle)[0, 0], atol=1)
    assert len(LAB) > 100


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_inks_and_palettes_show_their_colors(dtype):
    most = int(np.iinfo(dtype).max)
    inks = np.broadcast_to((np.array([0.2, 0.4, 0.6, 0.1]) * most).astype(dtype), (4, 4, 4))
    shown = open_photo(tiff(inks, "separated")).pixels[0, 0] / most
    np.testing.assert_allclose(shown, np.array([0.8, 0.6, 0.4]) * 0.9, atol=0.01)
    colors = np.random.default_rng(3).integers(0, 256, (3, most + 1), dtype=np.uint16) * 257
    indices = np.random.default_rng(4).integers(0, most + 1, (4, 5), dtype=dtype)
    shown = open_photo(tiff(indices, "palette", colormap=colors)).pixels.astype(np.uint16) * (65535 // most)
    np.testing.assert_array_equal(shown, np.moveaxis(colors[:, indices], 0, -1))


@pytest.mark.parametrize("compression", [None, "tiff_adobe_deflate", "jpeg"])
def test_ycbcr_tiff_shows_its_colors(compression):
    stream = io.BytesIO()
    Image.fromarray(FACE).convert("YCbCr").save(
        stream, "TIFF", compression=compression, **({"quality": 95} if compression == "jpeg" else {})
    )
    with tifffile.TiffFile(io.BytesIO(stream.getvalue())) as file:
        assert file.pages.first.photometric.name == "YCBCR"
    assert np.abs(open_photo(stream.getvalue()).pixels.astype(int) - FACE).mean() < 3


@pytest.mark.parametrize(("photometric", "channels"), [("icclab", 3), ("ycbcr", 3)])
def test_photometric_interpretation_that_is_not_known_is_refused_by_name(photometric, channels):
    content = tiff(np.zeros((6, 8, channels), np.uint16), photometric)
    with pytest.raises(ValueError, match=rf"its \d channels of 16 bits are {photometric.upper()}; export it as RGB"):
        open_photo(content)


def one_way_profile() -> bytes:
    """A scanner's profile: a table from RGB to Lab and none back."""
    corners = np.array([[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)], np.uint8)[None]
    lab = imagecodecs.cms_transform(corners, SRGB, LAB, colorspace="rgb", outcolorspace="lab", outdtype=np.float64)[0]
    table = np.stack([lab[:, 0] / 100 * 65280, (lab[:, 1] + 128) * 256, (lab[:, 2] + 128) * 256], axis=1)
    ends = np.array([0, 65535] * 3, ">u2").tobytes()
    identity = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]]).astype(">i4") * 65536
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061),
        b"A2B0": b"mft2\0\0\0\0\3\3\2\0"
        + identity.astype(">i4").tobytes()
        + struct.pack(">HH", 2, 2)
        + ends
        + table.clip(0, 65535).astype(">u2").tobytes()
        + ends,
    }
    directory, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        directory += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    white = struct.pack(">3i", 63190, 65536, 54061)
    header = struct.pack(">I4sI4s4s4s", start + len(body), bytes(4), 0x02400000, b"scnr", b"RGB ", b"Lab ")
    return (header + bytes(12) + b"acsp" + bytes(28) + white).ljust(128, b"\0") + directory + body


def test_profile_that_leads_only_one_way_is_read_and_the_result_is_srgb(caplog):
    profile = one_way_profile()
    assert not can_be_written(profile)
    assert can_be_written(imagecodecs.cms_profile("adobergb"))
    photo = open_photo(jpeg(FACE, icc_profile=profile))
    oracle = ImageCms.profileToProfile(
        Image.open(io.BytesIO(jpeg(FACE))), io.BytesIO(profile), ImageCms.createProfile("sRGB"), 1, "RGB", flags=0x2000
    )
    assert np.abs(photo.pixels.astype(int) - np.asarray(oracle)).mean() < 1.5
    assert "the result will be sRGB" in caplog.text
    assert photo.profile == SRGB
    for kind in ("PNG", "JPEG", "TIFF"):
        stream = io.BytesIO()
        encode_photo(photo, stream, kind)
        assert np.abs(open_photo(stream.getvalue()).pixels.astype(int) - photo.pixels).mean() < 1.5


def test_png_of_linear_light_is_read_as_such():
    linear_light = png(np.full((8, 8, 3), 55, np.uint8), gAMA=struct.pack(">I", 100000))
    np.testing.assert_array_equal(open_photo(linear_light).pixels, 128)
    usual = png(PLAIN, gAMA=struct.pack(">I", 45455))
    np.testing.assert_array_equal(open_photo(usual).pixels, PLAIN)
    told_twice = png(PLAIN, gAMA=struct.pack(">I", 100000), sRGB=b"\0")
    np.testing.assert_array_equal(open_photo(told_twice).pixels, PLAIN)


def test_gray_of_linear_light_is_read_as_such():
    gray = np.full((8, 8), 55, np.uint8)
    for content in (
        png(gray, gAMA=struct.pack(">I", 100000)),
        png(np.dstack([gray, np.full_like(gray, 255)]), gAMA=struct.pack(">I", 100000)),
        png(gray, cICP=bytes([1, 8, 0, 1])),
    ):
        np.testing.assert_array_equal(open_photo(content).pixels, 128)


def test_cicp_goes_before_a_profile_and_its_limited_range_is_refused():
    profile = png(PLAIN, iCCP=b"sRGB\0\0" + zlib.compress(SRGB), cICP=bytes([12, 13, 0, 1]))
    np.testing.assert_array_equal(open_photo(profile).pixels, open_photo(png(PLAIN, cICP=bytes([12, 13, 0, 1]))).pixels)
    with pytest.raises(ValueError, match="limited range of television; export it with the full range"):
        open_photo(png(PLAIN, cICP=bytes([1, 13, 0, 0])))


def in_jpeg_2000(profile: bytes) -> bytes:
    """A JP2 whose color box holds a profile."""
    content = imagecodecs.jpeg2k_encode(PLAIN, codecformat="jp2", level=0)
    outer, box = content.index(b"jp2h") - 4, content.index(b"colr") - 4
    color = struct.pack(">I", 11 + len(profile)) + b"colr\2\0\0" + profile
    header = content[outer:box] + color + content[box + 15 : content.index(b"jp2c") - 4]
    return content[:outer] + struct.pack(">I", len(header)) + header[4:] + content[content.index(b"jp2c") - 4 :]


def in_bmp(profile: bytes) -> bytes:
    """A BMP of version 5 that holds a profile."""
    stream = io.BytesIO()
    Image.fromarray(PLAIN).save(stream, "BMP")
    old = stream.getvalue()
    fields = struct.pack("<I", 124) + old[18:54] + bytes(16) + b"DEBM" + bytes(48)
    header = fields + struct.pack("<IIII", 4, 124 + len(old) - 54, len(profile), 0)
    return old[:2] + struct.pack("<IHHI", len(old) + 84 + len(profile), 0, 0, 138) + header + old[54:] + profile


@pytest.mark.parametrize("made", [in_jpeg_2000, in_bmp])
def test_profile_is_found_wherever_a_kind_of_file_keeps_it(made):
    profile = imagecodecs.cms_profile("adobergb")
    plain = io.BytesIO()
    Image.fromarray(PLAIN).save(plain, "PNG", icc_profile=profile)
    found, expected = open_photo(made(profile)), open_photo(plain.getvalue())
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    assert found.profile == profile


@pytest.mark.parametrize("space", [14, 21])  # CIELab, ROMM RGB
def test_jpeg_2000_of_other_color_spaces_is_refused(space):
    content = bytearray(imagecodecs.jpeg2k_encode(PLAIN, codecformat="jp2", level=0))
    content[content.index(b"colr") + 10] = space
    with pytest.raises(ValueError, match=rf"space {space} of JPEG 2000.*export it as RGB"):
        open_photo(bytes(content))


@pytest.mark.parametrize("by", ["cICP", "cHRM", "nclx"])
def test_wide_primaries_become_srgb_however_they_are_told(by):
    color = np.array([200, 100, 50])
    pixels = np.full((32, 32, 3), color, np.uint8)
    p3 = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
    content = {
        "cICP": lambda: png(pixels, cICP=bytes([12, 13, 0, 1])),
        "cHRM": lambda: png(pixels, cHRM=struct.pack(">8I", *p3)),
        "nclx": lambda: imagecodecs.avif_encode(pixels, level=100, primaries=12, transfer=13),
    }[by]()
    expected = encoded_srgb(P3_TO_SRGB @ linear(color / 255)) * 255
    file = open_photo(content)
    np.testing.assert_allclose(file.pixels[16, 16], expected, atol=2)
    assert file.profile == SRGB


@pytest.mark.parametrize("transfer", [16, 18])
def test_high_dynamic_range_is_refused_with_a_way_out(transfer):
    pixels = np.full((32, 32, 3), 99, np.uint16)
    for content in (
        png(PLAIN, cICP=bytes([9, transfer, 0, 1])),
        imagecodecs.avif_encode(pixels, bitspersample=10, primaries=9, transfer=transfer),
        heic(FACE, color_primaries=9, transfer_characteristics=transfer),
        jpeg(PLAIN, icc_profile=SRGB + b"cicp\0\0\0\0" + bytes([9, transfer, 0, 1])),  # as ICC.1:2022 has it
    ):
        with pytest.raises(ValueError, match=r"high dynamic range .*; export it with standard dynamic range"):
            open_photo(content)


# Damage


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_that_lost_pixels_is_refused_and_one_that_lost_none_is_read(progressive):
    content = jpeg(skimage.data.astronaut(), progressive=progressive)
    half = len(content) // 2
    lost = {
        "half": content[:half],
        "half, ended": content[:half] + b"\xff\xd9",
        "the last pixels": content[:-10],
        "4 KB of the middle": content[:half] + content[half + 4096 :],
        "4 KB zeroed": content[:half] + bytes(4096) + content[half + 4096 :],
    }
    for damaged in lost.values():
        with pytest.raises(ValueError, match="expected a photograph that can be read, but "):
            open_photo(damaged)
    whole = open_photo(content).pixels
    for harmless in (content[:-2], content + b"appended by a camera" * 100, content[:-2] + b"\0\0\0\xff\xd9"):
        np.testing.assert_array_equal(open_photo(harmless).pixels, whole)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "JPEG2000", "AVIF", "PPM", "TIFF"])
def test_file_cut_anywhere_is_refused(kind):
    stream = io.BytesIO()
    Image.fromarray(FACE).save(stream, kind)
    content = stream.getvalue()
    for length in (len(content) // 3, len(content) // 2, len(content) - 200):
        with pytest.raises(ValueError, match="expected a"):
            open_photo(content[:length])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_without_some_of_its_strips_is_refused(dtype, compression):
    content = bytearray(tiff(FACE.astype(dtype), "rgb", rowsperstrip=16, compression=compression))
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        counts = file.pages.first.tags["StripByteCounts"]
    content[counts.valueoffset : counts.valueoffset + 4] = bytes(4)
    with pytest.raises(ValueError, match=r"of its 8 strips or tiles are missing"):
        open_photo(bytes(content))


def pictures(kind: str, count: int, **choices) -> bytes:
    stream, first = io.BytesIO(), Image.fromarray(FACE)
    others = [Image.fromarray(FACE[::-1])] * (count - 1)
    first.save(stream, kind, save_all=True, append_images=others, **choices)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["TIFF", "AVIF", "WEBP", "PNG", "GIF"])
def test_of_several_pictures_the_first_is_read_and_the_others_are_named(kind):
    choices = {"AVIF": {"quality": 100}, "WEBP": {"lossless": True}}.get(kind, {})
    several, one = (open_photo(pictures(kind, count, **choices)) for count in (3, 1))
    assert np.abs(several.pixels.astype(int) - one.pixels).mean() < 1
    assert (several.left_out, one.left_out) == (("all pictures but the first",), ())


def test_of_several_heic_pictures_the_others_are_named():
    file, stream = pillow_heif.from_pillow(Image.fromarray(FACE)), io.BytesIO()
    file.add_from_pillow(Image.fromarray(FACE[::-1]))
    file.save(stream)
    assert open_photo(stream.getvalue()).left_out == ("all pictures but the first",)
    assert open_photo(heic(FACE)).left_out == ()


def test_thumbnails_of_a_tiff_are_no_other_pictures():
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(FACE, photometric="rgb")
        writer.write(FACE[::8, ::8].copy(), photometric="rgb", subfiletype=1)
    assert open_photo(stream.getvalue()).left_out == ()


def test_tiff_of_a_volume_or_of_lab_in_jpeg_is_refused():
    with pytest.raises(ValueError, match="holds a volume of 2 planes"):
        open_photo(tiff(np.stack([FACE, FACE]), "rgb", volumetric=True, tile=(2, 64, 64)))
    stream = io.BytesIO()
    Image.fromarray(FACE).convert("LAB").save(stream, "TIFF", compression="jpeg")
    with pytest.raises(ValueError, match="CIELAB; export it as RGB"):
        open_photo(stream.getvalue())


def test_transparency_counts_wherever_a_tiff_has_it():
    half, mask = np.full((24, 40), 128, np.uint8), np.zeros((24, 40), np.uint8)
    first = tiff(np.dstack([PLAIN, half, mask]), "rgb", extrasamples=["unassalpha", "unspecified"])
    second = tiff(np.dstack([PLAIN, mask, half]), "rgb", extrasamples=["unspecified", "unassalpha"])
    np.testing.assert_array_equal(open_photo(second).pixels, open_photo(first).pixels)
    assert open_photo(first).pixels.min() >= 127


def test_tiff_with_offsets_of_64_bits_is_read_upright():
    wide = tiff(PLAIN, "rgb", bigtiff=True, extratags=[(274, "H", 1, 6, True), (271, "s", 0, "Brand", True)])
    photo = open_photo(wide)
    np.testing.assert_array_equal(photo.pixels, np.rot90(PLAIN, -1))
    assert photo.exif[ExifTags.Base.Make] == "Brand"


def test_png_is_turned_upright_by_exif_behind_its_pixels():
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    body = b"eXIf" + turned.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    content = png(PLAIN)
    np.testing.assert_array_equal(open_photo(content[:-12] + chunk + content[-12:]).pixels, np.rot90(PLAIN, -1))


@pytest.mark.parametrize("bigtiff", [False, True])
def test_a_tiff_read_keeps_all_its_exif_and_not_its_file(bigtiff):
    taken = Image.Exif()
    taken.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] = 400
    taken[ExifTags.IFD.Exif] = dict(taken.get_ifd(ExifTags.IFD.Exif))
    stream = io.BytesIO()
    Image.fromarray(PLAIN).save(stream, "TIFF", exif=taken, big_tiff=bigtiff)
    photo = open_photo(stream.getvalue())
    assert photo.exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] == 400
    assert photo.exif.fp.read() == b""


# The process and its memory


def test_reading_in_threads_changes_nothing_of_the_process(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    filters, contents = list(warnings.filters), [jpeg(FACE), png(PLAIN), tiff(PLAIN, "rgb")] * 8
    monkeypatch.setattr(warnings, "simplefilter", lambda *_: pytest.fail("the filters belong to the whole process"))
    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(read_photo, contents))) == 24
    assert Image.MAX_IMAGE_PIXELS == 1000
    assert list(warnings.filters) == filters


def claims(kind: str, side: int) -> bytes:
    """A tiny file whose header says that it has side x side pixels."""
    if kind == "PNG":
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
        return png(PLAIN)[:8] + chunk + png(PLAIN)[33:]
    if kind == "JPEG":
        content = bytearray(jpeg(PLAIN))
        place = content.index(b"\xff\xc0")
        content[place + 5 : place + 9] = struct.pack(">HH", side, side)
        return bytes(content)
    content = bytearray(tiff(PLAIN.astype(np.uint16), "rgb", compression="zlib", rowsperstrip=8))
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tag = file.pages.first.tags[name]
            content[tag.valueoffset : tag.valueoffset + tag.valuebytecount] = side.to_bytes(
                tag.valuebytecount, "little"
            )
    return bytes(content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_size_is_checked_before_anything_is_allocated(kind, monkeypatch):
    for reader in ("simplejpeg.decode_jpeg", "imagecodecs.png_decode", "tifffile.TiffPage.asarray"):
        monkeypatch.setattr(reader, lambda *_, **__: pytest.fail("the pixels are being decoded"))
    with pytest.raises(ValueError, match="400 megapixels and 250 are allowed; allow more by max_megapixels"):
        open_photo(claims(kind, 20000))
    with pytest.raises(ValueError, match="says that it has 20000 x 20000 pixels, but holds only"):
        open_photo(claims(kind, 20000), max_megapixels=500.0)
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 10**7}))
    with pytest.raises(ValueError, match=r"it takes 0\.\d GB of memory and 0\.0 GB are free"):
        open_photo(claims(kind, 2000))


def test_one_table_says_what_is_a_photograph():
    assert {"JPEG", "PNG", "TIFF", "WEBP", "HEIF", "AVIF"} <= set(decoding.KINDS.values())
    assert PhotoFile(PLAIN).bits == 8
