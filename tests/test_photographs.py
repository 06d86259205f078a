"""Every valid photograph simply works, everything else gets a clear error and loses nothing."""

import io
import os
import resource
import subprocess
import sys

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import ExifTags, Image, ImageCms

from lpie.imaging.checks import check_photo
from lpie.imaging.color import from_uint8, quantize, to_uint8
from lpie.imaging.resampling import resize
from lpie.photos.color_profiles import SRGB
from lpie.photos.photographs import demo_depth, demo_photographs, read_photo, write_photo
from lpie.photos.reading import PhotoFile, open_photo
from lpie.photos.writing import encode_photo, save_photo

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (9, 13, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (9, 13, 3), dtype=np.uint16)


def encoded(picture: Image.Image, kind: str = "PNG", **choices) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **choices)
    return stream.getvalue()


def bytes_of(photo: torch.Tensor) -> np.ndarray:
    return to_uint8(photo)[0].permute(1, 2, 0).numpy()


# What is valid works


@pytest.mark.parametrize("size", [(9, 13), (1, 1), (1, 40), (300, 2)])
def test_png_is_read_exactly(size):
    pixels = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
    np.testing.assert_array_equal(bytes_of(read_photo(encoded(Image.fromarray(pixels)))), pixels)


def test_path_bytes_and_stream_give_the_same_photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(PIXELS).save(path)
    photo = read_photo(path)
    assert torch.equal(photo, read_photo(path.read_bytes()))
    assert torch.equal(photo, read_photo(io.BytesIO(path.read_bytes())))


def test_grey_becomes_three_equal_channels():
    grey = PIXELS[..., 0]
    np.testing.assert_array_equal(bytes_of(read_photo(encoded(Image.fromarray(grey)))), np.stack([grey] * 3, axis=-1))


def test_transparency_is_composited_over_white():
    alpha = RNG.integers(0, 256, (9, 13, 1), dtype=np.uint8)
    expected = np.rint(255 - (255 - PIXELS.astype(float)) * (alpha / 255))
    transparent = Image.fromarray(np.concatenate([PIXELS, alpha], axis=2))
    np.testing.assert_allclose(bytes_of(read_photo(encoded(transparent))), expected, atol=1)
    grey = Image.fromarray(np.concatenate([PIXELS[..., :1], alpha], axis=2), "LA")
    np.testing.assert_allclose(bytes_of(read_photo(encoded(grey)))[..., 1], expected[..., 0], atol=1)


def test_palette_is_looked_up_and_its_transparent_entry_is_white():
    palette = Image.fromarray(PIXELS).quantize(5)
    np.testing.assert_array_equal(bytes_of(read_photo(encoded(palette))), np.asarray(palette.convert("RGB")))
    clear = encoded(palette, transparency=2)
    expected = np.where((np.asarray(palette) == 2)[..., None], 255, np.asarray(palette.convert("RGB")))
    np.testing.assert_array_equal(bytes_of(read_photo(clear)), expected)


def test_black_and_white_works():
    dots = Image.fromarray(PIXELS[..., 0] > 127)
    np.testing.assert_array_equal(bytes_of(read_photo(encoded(dots)))[..., 0], np.asarray(dots) * 255)


@pytest.mark.parametrize("kind", ["png", "tiff", "grey-png", "grey-tiff", "white-is-zero", "planar", "alpha", "lzw"])
def test_sixteen_bits_are_kept(kind):
    stream, deep = io.BytesIO(), DEEP
    if kind == "png":
        content = imagecodecs.png_encode(DEEP)
    elif kind == "grey-png":
        content = imagecodecs.png_encode(np.ascontiguousarray(DEEP[..., 0]))
    else:
        grey = kind in ("grey-tiff", "white-is-zero")
        opaque = np.concatenate([DEEP, np.full_like(DEEP[..., :1], 65535)], axis=2)
        choices = {
            "planar": {"planarconfig": "separate", "photometric": "rgb"},
            "alpha": {"extrasamples": ["unassalpha"], "photometric": "rgb"},
            "white-is-zero": {"photometric": "miniswhite"},
            "grey-tiff": {"photometric": "minisblack"},
            "lzw": {"photometric": "rgb", "compression": "lzw", "predictor": True},
        }.get(kind, {"photometric": "rgb"})
        stored = {"planar": DEEP.transpose(2, 0, 1), "alpha": opaque, "white-is-zero": 65535 - DEEP[..., 0]}.get(
            kind, DEEP[..., 0] if grey else DEEP
        )
        tifffile.imwrite(stream, stored, **choices)
        content = stream.getvalue()
    if kind in ("grey-png", "grey-tiff", "white-is-zero"):
        deep = np.stack([DEEP[..., 0]] * 3, axis=-1)
    file = open_photo(content)
    assert file.bits == 16
    np.testing.assert_array_equal(file.pixels, deep)
    np.testing.assert_allclose(read_photo(content)[0].permute(1, 2, 0).numpy(), deep / 65535, atol=1e-7)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_exif_orientation_is_applied_as_pillow_does(orientation, kind):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    content = encoded(Image.fromarray(PIXELS), kind, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(bytes_of(read_photo(content)), np.asarray(expected))
    assert ExifTags.Base.Orientation not in open_photo(content).exif


@pytest.mark.parametrize("bits", [8, 16])
def test_wide_gamut_becomes_srgb(bits):
    adobe = imagecodecs.cms_profile("adobergb")
    patch = np.full((4, 4, 3), (150, 90, 60), np.uint8)
    source, target = ImageCms.ImageCmsProfile(io.BytesIO(adobe)), ImageCms.createProfile("sRGB")
    expected = np.asarray(ImageCms.profileToProfile(Image.fromarray(patch), source, target, renderingIntent=1))[0, 0]
    if bits == 8:
        content = encoded(Image.fromarray(patch), icc_profile=adobe)
    else:
        stream = io.BytesIO()
        tifffile.imwrite(stream, patch.astype(np.uint16) * 257, photometric="rgb", iccprofile=adobe)
        content = stream.getvalue()
    assert abs(int(expected[0]) - 150) > 5
    np.testing.assert_allclose(bytes_of(read_photo(content))[0, 0], expected, atol=1)


def test_adobe_rgb_declared_only_by_exif_is_converted():
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.IFD.Interop] = {int(ExifTags.Interop.InteropIndex): "R03"}
    patch = Image.new("RGB", (16, 16), (150, 90, 60))
    content = encoded(patch, "JPEG", quality=100, exif=exif)
    labeled = encoded(patch, "JPEG", quality=100, icc_profile=imagecodecs.cms_profile("adobergb"))
    np.testing.assert_array_equal(bytes_of(read_photo(content)), bytes_of(read_photo(labeled)))


def test_srgb_profile_changes_nothing():
    content = encoded(Image.fromarray(PIXELS), icc_profile=SRGB)
    np.testing.assert_array_equal(bytes_of(read_photo(content)), PIXELS)


def test_broken_or_alien_profile_is_ignored_with_a_warning(caplog):
    content = encoded(Image.fromarray(PIXELS), icc_profile=b"not a profile at all")
    np.testing.assert_array_equal(bytes_of(read_photo(content)), PIXELS)
    assert "the given bytes: its ICC profile (unreadable) does not fit its pixels (RGB)" in caplog.text


def test_cmyk_jpeg_works():
    inks = Image.new("RGB", (16, 16), (200, 40, 90)).convert("CMYK")
    photo = bytes_of(read_photo(encoded(inks, "JPEG", quality=100)))
    np.testing.assert_allclose(photo[8, 8], (200, 40, 90), atol=3)


def test_first_frame_of_an_animation_is_read():
    frames = [Image.new("RGB", (5, 4), color) for color in ("red", "blue")]
    for kind in ("GIF", "PNG", "WEBP"):
        content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        np.testing.assert_allclose(bytes_of(read_photo(content))[0, 0], (255, 0, 0), atol=3)


def test_photo_beyond_pillow_s_limit_is_read_without_a_warning(monkeypatch, recwarn):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert read_photo(encoded(Image.fromarray(PIXELS))).shape == (1, 3, 9, 13)
    assert Image.MAX_IMAGE_PIXELS == 10
    assert not recwarn.list


# What is not gets a clear error


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.jpg: there is no such file"):
        read_photo(tmp_path / "absent.jpg")


def test_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match="got a folder"):
        read_photo(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"some text", b"\x89PNG\r\n\x1a\n", b"II*\0junkjunk", encoded(Image.fromarray(PIXELS))[:-40]],
    ids=["empty", "text", "png-signature", "tiff-signature", "truncated"],
)
def test_file_without_a_whole_photograph_is_named(tmp_path, content):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.png: expected a"):
        read_photo(path)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "WEBP"])
def test_truncated_photograph_is_refused(kind):
    content = encoded(Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)), kind)
    with pytest.raises(ValueError, match="given bytes: expected a"):
        read_photo(content[: len(content) // 2])


def test_truncated_sixteen_bit_photographs_are_refused():
    deep = RNG.integers(0, 65536, (64, 64, 3), dtype=np.uint16)
    stream = io.BytesIO()
    tifffile.imwrite(stream, deep, photometric="rgb")
    for content in (imagecodecs.png_encode(deep), stream.getvalue()):
        with pytest.raises(ValueError, match="given bytes: expected a"):
            read_photo(content[: len(content) // 2])


def test_camera_raw_is_told_apart_from_a_photograph():
    stream = io.BytesIO()
    tifffile.imwrite(stream, PIXELS, photometric="rgb", extratags=[(50706, "B", 4, (1, 4, 0, 0), True)])
    with pytest.raises(ValueError, match="develop it"):
        read_photo(stream.getvalue())


def test_floating_point_pixels_are_refused():
    with pytest.raises(ValueError, match="floating point"):
        read_photo(encoded(Image.fromarray(PIXELS[..., 0].astype(np.float32)), "TIFF"))


@pytest.mark.parametrize(
    ("photo", "expected"),
    [
        (torch.full((1, 3, 2, 2), float("nan")), "it holds NaN"),
        (torch.full((1, 3, 2, 2), 255.0), "divide 8-bit values by 255"),
        (torch.full((1, 3, 2, 2), -0.1), r"got -0\.1 to"),
        (torch.zeros(3, 2, 2), r"photo\[None\] adds a batch axis"),
        (torch.zeros(2, 2, 3), r"photo\.permute\(2, 0, 1\)\[None\] puts channels first"),
        (torch.zeros(1, 2, 2, 3), r"photo\.permute\(0, 3, 1, 2\) puts channels first"),
        (torch.zeros(1, 1, 2, 2), r"photo\.expand\(-1, 3, -1, -1\) makes three channels"),
        (torch.zeros(1, 2, 2), r"photo\.expand\(1, 3, -1, -1\) makes three channels"),
        (torch.zeros(2, 2), r"photo\.expand\(1, 3, -1, -1\) makes three channels"),
        (torch.zeros(1, 3, 0, 2), "got"),
        (torch.zeros(1, 3, 2, 2, dtype=torch.uint8), "from_uint8"),
    ],
)
def test_tensor_that_is_no_photo_is_refused(photo, expected):
    with pytest.raises((TypeError, ValueError), match=expected):
        check_photo(photo)


# Writing


@pytest.mark.parametrize(("suffix", "bits"), [(".png", 16), (".tif", 16), (".tiff", 16), (".png", 8), (".tif", 8)])
def test_lossless_formats_return_what_was_written(tmp_path, suffix, bits):
    path = tmp_path / f"photo{suffix}"
    photo = torch.rand(1, 3, 11, 7)
    write_photo(photo, path, bits=bits)
    assert open_photo(path).bits == bits
    most = 2**bits - 1
    assert (read_photo(path) - photo).abs().max() <= 0.5 / most + 1e-6
    assert torch.equal((read_photo(path) * most).round(), (photo * most).round())


def test_depth_follows_the_type_of_file(tmp_path):
    photo = torch.rand(1, 3, 32, 32)
    for suffix, bits in ((".png", 16), (".tiff", 16), (".jpg", 8), (".jpeg", 8), (".webp", 8)):
        write_photo(photo, tmp_path / f"photo{suffix}")
        assert open_photo(tmp_path / f"photo{suffix}").bits == bits


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lossy_formats_come_close(tmp_path, suffix):
    photo = resize(torch.rand(1, 3, 8, 8), 64, 64)
    write_photo(photo, tmp_path / f"photo{suffix}")
    assert (read_photo(tmp_path / f"photo{suffix}") - photo).abs().mean() < 0.02
    with Image.open(tmp_path / f"photo{suffix}") as picture:
        assert "exif" not in picture.info  # where there is nothing to say


def test_other_programs_read_what_was_written(tmp_path):
    photo = torch.rand(1, 3, 11, 7)
    expected = photo[0].permute(1, 2, 0).numpy() * 255
    for suffix in (".png", ".tif"):
        write_photo(photo, tmp_path / f"photo{suffix}")
        with Image.open(tmp_path / f"photo{suffix}") as picture:
            np.testing.assert_allclose(np.asarray(picture), expected, atol=1)
            assert picture.info["icc_profile"] == SRGB


def described_photograph() -> PhotoFile:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "A camera"
    exif[ExifTags.Base.Copyright] = "Somebody"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] = 400
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2024:05:06 07:08:09"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (51.0, 28.0, 38.0)
    return PhotoFile(DEEP, exif, (240.0, 240.0))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("bits", [8, 16])
def test_exif_and_resolution_survive(kind, bits):
    photo = described_photograph()
    if bits == 8:
        photo = PhotoFile(PIXELS, photo.exif, photo.dpi)
    stream = io.BytesIO()
    encode_photo(photo, stream, kind)
    again = open_photo(stream.getvalue())
    assert again.exif[ExifTags.Base.Make] == "A camera"
    assert again.exif[ExifTags.Base.Copyright] == "Somebody"
    details = again.exif.get_ifd(ExifTags.IFD.Exif)
    assert details[ExifTags.Base.ISOSpeedRatings] == 400
    assert details[ExifTags.Base.DateTimeOriginal] == "2024:05:06 07:08:09"
    place = again.exif.get_ifd(ExifTags.IFD.GPSInfo)
    assert place[ExifTags.GPS.GPSLatitudeRef] == "N"
    assert [float(value) for value in place[ExifTags.GPS.GPSLatitude]] == [51, 28, 38]
    if kind != "WEBP":  # has no field for it
        assert again.dpi == pytest.approx((240, 240), abs=0.1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("bits", [8, 16])
def test_text_beyond_ascii_survives_byte_by_byte(kind, bits):
    texts = {
        ExifTags.Base.Copyright: "© 2024 Jörg".encode(),
        ExifTags.Base.ImageDescription: "Grüße".encode(),
        ExifTags.Base.Software: "Ä".encode(),
        ExifTags.Base.XPTitle: "Tïtle".encode("utf-16-le"),
    }
    source, exif = io.BytesIO(), Image.Exif()
    for tag, text in texts.items():
        exif[tag] = text
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.LensModel] = "Öptik".encode()
    Image.fromarray(PIXELS).save(source, "JPEG", exif=exif)
    read = open_photo(source.getvalue())
    stream = io.BytesIO()
    encode_photo(PhotoFile(DEEP if bits == 16 else PIXELS, read.exif), stream, kind)
    for text in (*texts.values(), "Öptik".encode()):
        assert text in stream.getvalue()
    assert open_photo(stream.getvalue()).exif[ExifTags.Base.XPTitle] == texts[ExifTags.Base.XPTitle]


@pytest.mark.parametrize(("dtype", "named"), [(np.uint32, "uint32"), (np.float32, "floating point")])
def test_tiff_of_numbers_that_no_photo_has_is_refused_by_their_name(dtype, named):
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.zeros((8, 9, 3), dtype), photometric="rgb")
    with pytest.raises(ValueError, match=f"its pixels are {named}.*export it with 8 or 16 bits"):
        open_photo(stream.getvalue())


def test_transparency_that_becomes_white_is_said(caplog):
    for alpha, said in ((255, 0), (100, 1)):
        stream = io.BytesIO()
        Image.new("RGBA", (8, 8), (90, 120, 150, alpha)).save(stream, "PNG")
        open_photo(stream.getvalue())
        assert caplog.text.count("become white") == said


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("bits", [8, 16])
def test_wide_gamut_file_gets_its_profile_and_colors_again(kind, bits):
    adobe = imagecodecs.cms_profile("adobergb")
    patch = np.full((16, 16, 3), (150, 120, 110), np.uint8)
    stream = io.BytesIO()
    encode_photo(PhotoFile(patch if bits == 8 else patch.astype(np.uint16) * 257, profile=adobe), stream, kind)
    with Image.open(io.BytesIO(stream.getvalue())) as picture:
        assert picture.info["icc_profile"] == adobe
        assert abs(int(np.asarray(picture)[8, 8, 0]) - 150) > 3  # other numbers for the same color
    assert open_photo(stream.getvalue()).profile == adobe
    np.testing.assert_allclose(bytes_of(read_photo(stream.getvalue()))[8, 8], patch[8, 8], atol=3)


def test_unknown_format_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"ending in \.jpg"):
        write_photo(torch.rand(1, 3, 2, 2), tmp_path / "photo.xyz")
    with pytest.raises(ValueError, match="holds 8 bits"):
        write_photo(torch.rand(1, 3, 2, 2), tmp_path / "photo.jpg", bits=16)
    with pytest.raises(ValueError, match="one photo"):
        write_photo(torch.rand(2, 3, 2, 2), tmp_path / "photo.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("thing", [None, 3, np.zeros((4, 4, 3), np.uint8), Image.new("RGB", (4, 4))])
@pytest.mark.usefixtures("unchecked_shapes")
def test_what_is_no_file_and_no_photo_is_refused_by_what_it_is(tmp_path, thing):
    kind = type(thing).__name__
    with pytest.raises(TypeError, match=f"Expected a file name, bytes or a file open for reading, got {kind}"):
        open_photo(thing)
    with pytest.raises(TypeError, match=f"got {kind}"):
        check_photo(thing)
    with pytest.raises(TypeError, match="open it with 'rb'"):
        open_photo(io.StringIO("text"))
    with pytest.raises(ValueError, match="Expected bits=8, bits=16 or None"):
        write_photo(torch.rand(1, 3, 2, 2), tmp_path / "photo.png", bits=12)


def test_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "photo.png"
    write_photo(torch.zeros(1, 3, 8, 8), path)
    before = path.read_bytes()
    script = (
        "import resource, signal, torch; from lpie.photos.photographs import write_photo;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        f"write_photo(torch.rand(1, 3, 200, 200), {str(path)!r})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "nothing that was there has changed" in done.stderr
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["photo.png"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4096


def test_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"Cannot write .*folder that can be written"):
        write_photo(torch.rand(1, 3, 2, 2), tmp_path / "file" / "photo.png")
    if os.geteuid() == 0:
        return  # nothing is read-only to root
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="folder that can be written"):
        save_photo(PhotoFile(PIXELS), tmp_path / "photo.png")


# Tensors


def test_eight_bits_return_themselves():
    values = torch.arange(256, dtype=torch.uint8).expand(1, 3, 2, 256)
    assert torch.equal(to_uint8(from_uint8(values)), values)


def test_quantizing_rounds_to_the_nearest_and_twice_is_once():
    photo = torch.rand(2, 3, 9, 8)
    once = quantize(photo)
    assert (once - photo).abs().max() <= 0.5 / 255 + 1e-7
    assert torch.equal(quantize(once), once)


def test_resizing_keeps_constants_and_means():
    assert torch.allclose(resize(torch.full((1, 3, 17, 23), 0.3), 5, 40), torch.tensor(0.3))
    photo = torch.rand(1, 3, 64, 64)
    assert torch.allclose(resize(photo, 1, 1).flatten(), photo.mean(dim=(2, 3)).flatten(), atol=0.02)
    checkers = (torch.arange(64)[:, None] + torch.arange(64)).remainder(2).float().expand(1, 3, 64, 64)
    assert (resize(checkers, 16, 16) - 0.5).abs().max() < 0.02  # would be 0 or 1 without antialiasing
    with pytest.raises(ValueError, match="1x1"):
        resize(photo, 0, 5)


def test_demo_photographs_are_whole():
    photos = demo_photographs()
    assert list(photos) == ["astronaut", "chelsea", "coffee", "rocket", "motorcycle", "china", "flower"]
    for photo in photos.values():
        check_photo(photo)
        assert photo.shape[0] == 1
        assert min(photo.shape[2:]) >= 300


def test_demo_depth_has_no_holes_and_falls_with_disparity():
    from skimage.data import stereo_motorcycle

    depth = demo_depth()
    assert depth.shape[2:] == demo_photographs()["motorcycle"].shape[2:]
    assert depth.min() > 0
    assert depth.max() == 1
    disparity = torch.from_numpy(stereo_motorcycle()[2])
    measured = torch.isfinite(disparity)
    order = disparity[measured].argsort()
    assert (depth[0, 0][measured][order].diff() <= 1e-7).all()
    assert 0.15 < depth.min() < 0.6
