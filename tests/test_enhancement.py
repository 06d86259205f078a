"""Enhancing: tiles against the whole, files, folders, pipes, and what can go wrong."""

from __future__ import annotations

import base64
import io
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from lpie import networks
from lpie.imaging.color import luma
from lpie.imaging.remapping import NOISE
from lpie.imaging.resampling import resize
from lpie.operators import OPERATORS, Operator, ToneSettings, nonlocal_dehazing
from lpie.operators.local_laplacian import local_laplacian
from lpie.photos import tiles as large_photos
from lpie.photos import writing as photo_encoding
from lpie.photos.enhancement import DEFAULT, enhance, enhance_file, enhance_files
from lpie.photos.photographs import demo_photographs, from_pixels, to_pixels, write_photo
from lpie.photos.reading import PhotoFile, open_photo
from lpie.photos.tiles import Enhancer, LargePhoto, renderer
from lpie.records import read_tensors, write_tensors
from lpie.weights import shipped_names


def disturbed(name: str, operator: str = "tone") -> torch.nn.Module:
    """A network away from its start, as training would leave it, that sees no farther than the test's photo."""
    torch.manual_seed(0)
    network = networks.build(name, operator)
    if name == "can24":
        network = networks.context_aggregation.ContextAggregationNetwork(8, (1, 2, 4, 8))
    if name == "grid":
        network = networks.bilateral_grid.BilateralGrid(thumbnail=64)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    return network.eval()


@pytest.fixture
def photo() -> torch.Tensor:
    """Part of a real photograph, neither side a multiple of anything."""
    return resize(demo_photographs()["coffee"], 151, 223)


@pytest.fixture
def saved(tmp_path: Path) -> dict[str, Path]:
    """Weights of one network of each kind, under a name that says which."""
    paths = {}
    for name, operator in (("can24", "tone"), ("grid", "tone"), ("parameters", "tone"), ("parameters", "dehaze")):
        network = disturbed(name, operator)
        paths[f"{operator}-{name}"] = tmp_path / "weights" / f"{operator}-{name}.safetensors"
        metadata = {**network.metadata(), "operator": operator}
        write_tensors(paths[f"{operator}-{name}"], network.state_dict(), metadata)
    return paths


@pytest.fixture
def small_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the test's photo were large."""
    monkeypatch.setattr(large_photos, "BAND_PIXELS", 4000)


# Tiles


@pytest.mark.parametrize("which", ["tone-can24", "tone-grid", "tone-parameters", "dehaze-parameters"])
@pytest.mark.parametrize("tile", [64, 100])
def test_tiles_leave_no_seam(photo, saved, small_bands, which, tile):
    operator = which.split("-")[0]
    network = networks.from_pretrained(saved[which])
    with torch.inference_mode():
        whole = network(photo)
    tiled = enhance(photo, operator, saved[which], "cpu", tile=tile, noise=NOISE)
    assert (whole - photo).abs().mean() > 0.003
    torch.testing.assert_close(tiled, whole, rtol=0, atol=2e-5)


@pytest.mark.parametrize("operator", ["tone", "dehaze"])
def test_operator_itself_is_tiled_without_a_seam(photo, small_bands, operator):
    tone = ToneSettings()
    expected = (
        local_laplacian(photo, alpha=tone.alpha, beta=tone.beta, sigma_r=tone.sigma_r)
        if operator == "tone"
        else nonlocal_dehazing.dehaze(photo).photo
    )
    torch.testing.assert_close(enhance(photo, operator, "operator", tile=64, noise=NOISE), expected, rtol=0, atol=2e-5)


def enhancer(network: torch.nn.Module | None = None, operator: str = "tone") -> Enhancer:
    row = OPERATORS[operator]
    return Enhancer(row, network, row.settings(), torch.device("cpu"), noise=NOISE)


@pytest.mark.parametrize("size", [(64, 64), (1, 1), (40, 300), (151, 223), (9, 7)])
def test_reduced_by_bands_is_the_whole_resized(photo, small_bands, size):
    large = LargePhoto(lambda top, bottom, left, right: photo[..., top:bottom, left:right], *photo.shape[-2:])
    torch.testing.assert_close(large.reduced(*size), resize(photo, *size), rtol=0, atol=3e-6)


def test_haze_of_a_large_photo_is_close_to_that_of_the_whole(photo, monkeypatch):
    photo = resize(photo, 302, 446)
    expected = nonlocal_dehazing.dehaze(photo).photo
    monkeypatch.setattr(large_photos, "HAZE_PIXELS", 150 * 220)
    large = LargePhoto(lambda top, bottom, left, right: photo[..., top:bottom, left:right], *photo.shape[-2:])
    whole = renderer(enhancer(operator="dehaze"), large)(0, 302, 0, 446)
    assert (whole - expected).abs().mean() < 0.03
    part = renderer(enhancer(operator="dehaze"), large)(50, 120, 33, 240)
    torch.testing.assert_close(part, whole[..., 50:120, 33:240], rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (3, 2)])
@pytest.mark.parametrize("which", ["tone-can24", "tone-grid", "tone-parameters"])
def test_smallest_photos_work(saved, size, which):
    assert enhance(torch.rand(1, 3, *size), "tone", saved[which], tile=32).shape == (1, 3, *size)


def test_batch_is_its_photos(photo, saved):
    batch = torch.cat([photo, photo.flip(-1)])
    both = enhance(batch, "tone", saved["tone-can24"])
    torch.testing.assert_close(both[1:], enhance(batch[1:], "tone", saved["tone-can24"]))
    assert both.shape == batch.shape


# Weights


def test_weights_of_another_operator_are_refused(photo, saved):
    with pytest.raises(ValueError, match="learned 'dehaze'"):
        enhance(photo, "tone", saved["dehaze-parameters"])
    with pytest.raises(ValueError, match=r"Unknown operator 'sharpen'\. Choose one of tone, dehaze"):
        enhance(photo, "sharpen", saved["tone-grid"])
    with pytest.raises(FileNotFoundError, match="Unknown network 'absent'"):
        enhance(photo, "tone", "absent")
    with pytest.raises(ValueError, match="divide 8-bit values by 255"):
        enhance(photo * 255, "tone", saved["tone-grid"])


@pytest.mark.parametrize("operator", ["tone", "dehaze"])
def test_default_weights_are_shipped(operator):
    assert DEFAULT.format(operator=operator) in shipped_names("network")


# Files


def photo_file(bits: int, kind: str = "PNG") -> PhotoFile:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "A camera"
    photo = resize(demo_photographs()["chelsea"], 60, 90)
    return PhotoFile(to_pixels(photo, bits), exif, (240.0, 240.0), kind)


@pytest.mark.parametrize("bits", [8, 16])
def test_file_keeps_depth_metadata_and_every_tile(saved, bits):
    file = photo_file(bits)
    network = networks.from_pretrained(saved["tone-grid"])
    done = enhance_file(file, enhancer(network), tile=32)
    assert done.bits == bits
    assert done.exif is file.exif
    assert done.dpi == file.dpi
    with torch.inference_mode():
        expected = network(from_pixels(file.pixels))
    torch.testing.assert_close(from_pixels(done.pixels), expected, rtol=0, atol=0.51 / (2**bits - 1) + 1e-5)


def test_sixteen_bit_photo_stays_sixteen_bit_on_disk(tmp_path, saved):
    write_photo(torch.rand(1, 3, 40, 50), tmp_path / "in.tif")
    assert enhance_files([tmp_path / "in.tif"], tmp_path / "out.png", "tone", saved["tone-grid"]) == 0
    done = open_photo(tmp_path / "out.png")
    assert done.bits == 16
    assert len(np.unique(done.pixels)) > 300


def test_rotated_photo_is_written_upright(tmp_path, saved):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Model] = "X"
    Image.new("RGB", (40, 20), (90, 120, 150)).save(tmp_path / "in.jpg", exif=exif, dpi=(300, 300))
    assert enhance_files([tmp_path / "in.jpg"], tmp_path / "out.jpg", "tone", saved["tone-parameters"]) == 0
    with Image.open(tmp_path / "out.jpg") as done:
        assert done.size == (20, 40)
        assert done.getexif().get(ExifTags.Base.Orientation, 1) == 1
        assert done.getexif()[ExifTags.Base.Model] == "X"
        assert done.info["dpi"] == (300, 300)
        assert "icc_profile" in done.info


def test_folder_is_enhanced_throughout_and_bad_files_are_named(tmp_path, saved, caplog):
    photos = tmp_path / "photos"
    (photos / "deeper").mkdir(parents=True)
    write_photo(torch.rand(1, 3, 20, 30), photos / "a.jpg")
    write_photo(torch.rand(1, 3, 30, 20), photos / "deeper" / "b.png", bits=8)
    Image.new("RGB", (8, 8)).save(photos / "c.bmp")
    Image.new("RGB", (8, 8)).save(photos / "c.gif")
    (photos / "broken.jpg").write_bytes(b"not a photograph")
    (photos / "notes.txt").write_text("not meant to be one")
    out = photos / "enhanced"
    for _ in range(2):  # the second time the results lie inside the folder
        assert enhance_files([photos], out, "tone", saved["tone-grid"]) == 2
        names = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
        assert names == ["a.jpg", "c.png", "deeper/b.png"]  # and c.gif, which c.png would hold too, is named
    assert "broken.jpg: expected a photograph" in caplog.text
    assert "c.gif: " in caplog.text
    assert "enhance this one by itself" in caplog.text
    assert "notes.txt" not in caplog.text


def test_missing_files_are_named_and_the_others_done(tmp_path, saved, caplog):
    write_photo(torch.rand(1, 3, 20, 30), tmp_path / "a.jpg")
    sources = [tmp_path / "absent.jpg", tmp_path / "a.jpg"]
    assert enhance_files(sources, tmp_path / "out", "tone", saved["tone-grid"]) == 1
    assert "absent.jpg: there is no such file" in caplog.text
    assert (tmp_path / "out" / "a.jpg").exists()


def test_pipes_carry_one_photo_in_its_own_format(monkeypatch, saved):
    class Pipe:
        def __init__(self, content: bytes = b"") -> None:
            self.buffer = io.BytesIO(content)

    stream = io.BytesIO()
    Image.new("RGB", (30, 20), (90, 120, 150)).save(stream, "JPEG")
    monkeypatch.setattr(sys, "stdin", Pipe(stream.getvalue()))
    monkeypatch.setattr(sys, "stdout", Pipe())
    assert enhance_files(["-"], "-", "tone", saved["tone-grid"]) == 0
    with Image.open(io.BytesIO(sys.stdout.buffer.getvalue())) as done:
        assert done.format == "JPEG"
        assert done.size == (30, 20)


def test_results_never_land_on_their_sources(tmp_path, saved, caplog):
    path = tmp_path / "a.png"
    write_photo(torch.rand(1, 3, 8, 8), path)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.bmp")
    before = path.read_bytes()
    weights = saved["tone-grid"]
    with pytest.raises(ValueError, match="would be overwritten"):
        enhance_files([path], path, "tone", weights)
    with pytest.raises(ValueError, match="would be overwritten"):
        enhance_files([path], tmp_path, "tone", weights)
    with pytest.raises(ValueError, match="name a folder"):
        enhance_files([path, path], tmp_path / "a.bmp", "tone", weights)
    with pytest.raises(ValueError, match="ending in"):
        enhance_files([path], tmp_path / "a.xyz", "tone", weights)
    with pytest.raises(ValueError, match="one photo"):
        enhance_files(["-", path], "-", "tone", weights)
    (tmp_path / "empty").mkdir()
    assert enhance_files([tmp_path / "empty"], tmp_path / "out", "tone", weights) == 1
    assert "no photos in this folder" in caplog.text
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match="expected a folder for"):
        enhance_files([path, path], tmp_path / "both.png", "tone", weights)
    with pytest.raises(ValueError, match="name a file or a folder"):
        enhance_files([path], "", "tone", weights)


def test_photo_without_color_stays_so(photo, saved):
    gray = photo.mean(1, keepdim=True).expand_as(photo)
    whole = enhance(gray, "tone", saved["tone-grid"], tile=64)
    assert (whole == whole[:, :1]).all()
    file = PhotoFile(to_pixels(gray, 16), Image.Exif(), None, "PNG")
    network = networks.from_pretrained(saved["tone-grid"])
    done = enhance_file(file, enhancer(network), tile=64).pixels
    assert (done == done[..., :1]).all()
    with torch.inference_mode():
        tinted = network(gray)
    assert (tinted - tinted[:, :1]).abs().max() > 0.01  # the network itself would not leave it so
    torch.testing.assert_close(whole, luma(tinted).expand_as(whole), rtol=0, atol=1e-4)


def test_folder_does_not_take_its_own_results_however_it_is_spelled(tmp_path, saved, monkeypatch):
    (tmp_path / "photos").mkdir()
    write_photo(torch.rand(1, 3, 20, 30), tmp_path / "photos" / "a.png", bits=8)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert enhance_files([tmp_path / "photos"], "photos/out", "tone", saved["tone-grid"]) == 0
    assert sorted(path.name for path in Path("photos").rglob("*")) == ["a.png", "a.png", "out"]
    with pytest.raises(ValueError, match="would be overwritten"):
        enhance_files(["photos"], tmp_path / "photos", "tone", saved["tone-grid"])


def test_photo_that_its_format_cannot_hold_is_named_and_the_others_done(tmp_path, saved, caplog, monkeypatch):
    monkeypatch.setitem(photo_encoding.LONGEST_SIDES, "WEBP", 25)
    for name, width in (("a.webp", 20), ("b.webp", 30), ("c.webp", 20)):
        Image.new("RGB", (width, 20), (90, 120, 150)).save(tmp_path / name)
    assert enhance_files([tmp_path], tmp_path / "out", "tone", saved["tone-grid"]) == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.webp", "c.webp"]
    assert "b.webp: WEBP holds 25 px a side, got 20 x 30. Choose .png or .tif." in caplog.text


def test_phones_jpeg_of_several_pictures_comes_out_of_a_pipe_as_a_jpeg():
    stream = io.BytesIO()
    first, second = (Image.new("RGB", (30, 20), (shade, 120, 150)) for shade in (90, 30))
    first.save(stream, "MPO", save_all=True, append_images=[second])
    assert open_photo(stream.getvalue()).kind == "JPEG"


def test_unknown_device_is_refused_by_name(photo, saved):
    with pytest.raises(ValueError, match=r"Unknown device 'tpu': give cpu"):
        enhance(photo, "tone", saved["tone-grid"], device="tpu")
    with pytest.raises(ValueError, match=r"Unknown device 'xpu': give cpu"):
        enhance(photo, "tone", saved["tone-grid"], device="xpu")


# Strength, settings, skin


@pytest.mark.parametrize("which", ["tone-can24", "tone-grid", "tone-parameters", "dehaze-parameters", "operator"])
def test_strength_leads_from_the_photo_itself_through_the_full_effect_and_beyond(photo, saved, which):
    operator, weights = which.split("-")[0] if "-" in which else "tone", saved.get(which, "operator")
    at = {s: enhance(photo, operator, weights, noise=NOISE, strength=s) for s in (0.0, 0.5, 1.0, 1.5)}
    assert torch.equal(at[0.0], photo)
    torch.testing.assert_close(at[1.0], enhance(photo, operator, weights, noise=NOISE))
    change = [(at[strength] - photo).abs().mean().item() for strength in (0.5, 1.0)]
    assert 0 < change[0] < change[1]
    assert not torch.equal(at[1.5], at[1.0])
    for strength in (-0.1, 1.6, float("nan")):
        with pytest.raises(ValueError, match="Expected a strength from 0"):
            enhance(photo, operator, weights, strength=strength)


def test_settings_are_the_operators_own_and_misspelt_ones_are_named(photo, saved):
    expected = local_laplacian(photo, alpha=0.3, beta=0.7, sigma_r=0.2)
    torch.testing.assert_close(enhance(photo, noise=NOISE, alpha=0.3), expected, rtol=0, atol=2e-5)
    with pytest.raises(ValueError, match="Unknown setting 'alfa', did you mean 'alpha'"):
        enhance(photo, alfa=0.3)
    with pytest.raises(ValueError, match="alpha: networks choose their own"):
        enhance(photo, weights=saved["tone-grid"], alpha=0.3)
    kept = enhance(photo, "dehaze", "operator", haze_kept=0.4)
    torch.testing.assert_close(kept, nonlocal_dehazing.dehaze(photo, haze_kept=0.4).photo, rtol=0, atol=2e-5)


@pytest.mark.parametrize("weights", ["operator", None])
def test_grain_of_a_plain_wall_is_not_amplified(weights):
    torch.manual_seed(0)
    wall = (0.5 + 0.02 * torch.randn(1, 1, 200, 300)).clamp(0, 1).expand(-1, 3, -1, -1)
    grain = [
        one.std().item() for one in (wall, enhance(wall, weights=weights), enhance(wall, "tone", weights, noise=0.0))
    ]
    assert grain[1] < 1.15 * grain[0]
    assert grain[2] > 1.5 * grain[0]


def test_detail_above_the_grain_is_still_enhanced():
    stripes = (0.5 + 0.1 * torch.linspace(0, 60, 300).sin()).expand(1, 3, 200, 300)
    assert enhance(stripes, weights="operator").std() > 1.2 * stripes.std()


def test_a_third_operator_is_rendered_by_itself_and_never_as_dehazing(photo, monkeypatch):
    darker = Operator("darker", "darkening", ToneSettings, lambda photo, settings: photo * settings.alpha)
    monkeypatch.setitem(OPERATORS, "darker", darker)
    torch.testing.assert_close(enhance(photo, "darker", "operator", tile=64), photo * 0.5)
    torch.testing.assert_close(enhance(photo, "darker", "operator", alpha=0.25, strength=0.5), photo * 0.625)


def test_compare_preview_and_dry_run(tmp_path, saved, capsys):
    write_photo(torch.rand(1, 3, 60, 90), tmp_path / "a.png", bits=8)
    weights, out = saved["tone-grid"], tmp_path / "out.png"
    assert enhance_files([tmp_path / "a.png"], out, weights=weights, dry_run=True) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'a.png'} -> {out}\n"
    assert not out.exists()
    assert enhance_files([tmp_path / "a.png"], out, weights=weights, compare=True) == 0
    sides = open_photo(out).pixels
    assert sides.shape == (60, 180, 3)
    np.testing.assert_array_equal(sides[:, :90], open_photo(tmp_path / "a.png").pixels)
    write_photo(torch.rand(1, 3, 30, 1100), tmp_path / "wide.png", bits=8)
    assert enhance_files([tmp_path / "wide.png"], out, weights=weights, preview=True) == 0
    assert open_photo(out).pixels.shape == (28, 1024, 3)


def test_a_page_compares_with_a_slider_and_needs_no_other_file(tmp_path, saved):
    write_photo(torch.rand(1, 3, 60, 90), tmp_path / "a <b>.png", bits=8)
    options = {"weights": saved["tone-grid"]}
    with pytest.raises(ValueError, match="ask for it with compare"):
        enhance_files([tmp_path / "a <b>.png"], tmp_path / "out.html", **options)
    assert enhance_files([tmp_path / "a <b>.png"], tmp_path / "out.html", compare=True, **options) == 0
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    shown = re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.DOTALL)
    assert "<b>" not in shown
    assert not re.search(r'(src|href)="(?!data:)', shown)
    sides = [base64.b64decode(found) for found in re.findall(r"data:image/jpeg;base64,([^\"]+)", page)]
    assert [open_photo(io.BytesIO(side).getvalue()).pixels.shape for side in sides] == [(60, 90, 3)] * 2
    api = pytest.importorskip("playwright.sync_api", reason="playwright is in the dev extra")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with api.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        view, complaints = opened.new_context(offline=True).new_page(), []
        view.on("pageerror", lambda error: complaints.append(str(error)))
        view.goto((tmp_path / "out.html").as_uri())
        view.locator("img-comparison-slider").focus()
        view.keyboard.down("ArrowLeft")
        view.wait_for_function("Number(document.querySelector('img-comparison-slider').ariaValueNow) < 45")
        opened.close()
    assert complaints == []


def test_a_network_and_the_operator_sign_their_work(tmp_path, saved):
    write_photo(torch.rand(1, 3, 20, 30), tmp_path / "a.png", bits=8)
    for weights, signed in ((saved["tone-grid"], True), ("operator", False)):
        assert enhance_files([tmp_path / "a.png"], tmp_path / "out.jpg", weights=weights) == 0
        software = open_photo(tmp_path / "out.jpg").exif.get(ExifTags.Base.Software, "")
        assert ("lpie: network" in software) == signed
        assert ("lpie: operator tone" in software) != signed


def test_one_photo_that_needs_too_much_memory_does_not_stop_the_others(tmp_path, saved, caplog, monkeypatch):
    for name in ("a.png", "b.png"):
        write_photo(torch.rand(1, 3, 20, 30), tmp_path / name, bits=8)
    failures = iter([MemoryError(), RuntimeError("can't allocate memory")])
    monkeypatch.setattr("lpie.photos.enhancement.enhance_file", lambda *_: (_ for _ in ()).throw(next(failures)))
    assert enhance_files([tmp_path], tmp_path / "out", weights=saved["tone-grid"]) == 2
    assert "a.png: MemoryError" in caplog.text
    assert "b.png: can't allocate memory" in caplog.text


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".html"])
@pytest.mark.parametrize("weights", ["tone-grid", "operator"])
def test_what_lpie_wrote_is_replaced_and_what_others_wrote_is_not_unless_asked(
    tmp_path, saved, caplog, capsys, suffix, weights
):
    options = {"weights": saved.get(weights, weights), "compare": suffix == ".html"}
    source, out = tmp_path / "a.tif", tmp_path / f"b{suffix}"
    write_photo(torch.rand(1, 3, 20, 30), source)
    assert enhance_files([source], out, **options) == 0
    assert enhance_files([source], out, **options) == 0
    out.write_bytes(b"somebody's only copy")
    assert enhance_files([source], out, dry_run=True, **options) == 0
    assert capsys.readouterr().out.endswith(f"b{suffix} (exists)\n")
    assert enhance_files([source], out, **options) == 1
    assert f"b{suffix} exists and lpie did not write it" in caplog.text
    assert out.read_bytes() == b"somebody's only copy"
    assert enhance_files([source], out, overwrite=True, **options) == 0
    assert len(out.read_bytes()) > 100


def test_original_photographs_are_never_taken_for_lpies_own(tmp_path, saved, caplog):
    (tmp_path / "photos").mkdir()
    for name in ("p.png", "photos/p.png"):
        write_photo(torch.rand(1, 3, 20, 30), tmp_path / name, bits=8)
    before = (tmp_path / "photos/p.png").read_bytes()
    assert enhance_files([tmp_path / "p.png"], tmp_path / "photos", weights=saved["tone-grid"]) == 1
    assert (tmp_path / "photos/p.png").read_bytes() == before
    assert "--overwrite" in caplog.text


def test_messages_name_their_photograph(tmp_path, saved, caplog):
    caplog.set_level("INFO")
    Image.new("RGBA", (60, 40), (90, 20, 150, 99)).save(tmp_path / "glass.png")
    dark = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
    dark.save(tmp_path / "clear.png")
    assert enhance_files([tmp_path], tmp_path / "out", "dehaze", "operator") == 0
    assert f"{tmp_path / 'glass.png'}: its transparent parts become white." in caplog.text
    assert f"{tmp_path / 'clear.png'}: no haze found" in caplog.text


def test_what_a_file_holds_beside_its_photograph_is_named_where_it_is_not_kept(tmp_path, saved, caplog):
    caplog.set_level("INFO")
    picture = Image.new("RGB", (30, 20), (90, 120, 150))
    note = PngInfo()
    note.add_text("Title", "A garden")
    picture.save(tmp_path / "a.png", pnginfo=note)
    picture.save(tmp_path / "b.jpg", xmp=b"<x:xmpmeta/>")
    picture.save(tmp_path / "c.gif", save_all=True, append_images=[Image.new("RGB", (30, 20))])
    tags = [(700, "B", 12, b"<x:xmpmeta/>", True), (33723, "B", 8, b"12345678", True)]
    tifffile.imwrite(tmp_path / "d.tif", np.asarray(picture), photometric="rgb", extratags=tags)
    picture.save(tmp_path / "e.png")
    picture.save(tmp_path / "f.mpo", "MPO", save_all=True, append_images=[picture])
    (tmp_path / "f.mpo").rename(tmp_path / "f.jpg")
    assert enhance_files([tmp_path], tmp_path / "out", weights=saved["tone-grid"]) == 0
    told = [record.message for record in caplog.records if "not kept" in record.message]
    assert told == [
        f"{tmp_path / 'a.png'}: not kept: text.",
        f"{tmp_path / 'b.jpg'}: not kept: XMP.",
        f"{tmp_path / 'c.gif'}: not kept: all pictures but the first.",
        f"{tmp_path / 'd.tif'}: not kept: XMP, IPTC.",
    ]


@pytest.mark.parametrize("out", ["two.html", "two.png"])
def test_a_page_or_a_picture_is_no_folder_for_several_photographs(tmp_path, saved, out):
    for name in ("a.png", "b.png"):
        write_photo(torch.rand(1, 3, 20, 30), tmp_path / name, bits=8)
    for sources, named in (([tmp_path / "a.png", tmp_path / "b.png"], ".*a.png, .*b.png"), ([tmp_path], ".*")):
        with pytest.raises(ValueError, match=f"{out}: expected a folder for {named}, got one file's name"):
            enhance_files(sources, tmp_path / out, weights=saved["tone-grid"], compare=True)
    assert not (tmp_path / out).exists()


@pytest.mark.parametrize(
    ("operator", "settings", "said"),
    [
        ("tone", {"sigma_r": 0.0}, "sigma_r must be finite and above 0, got 0"),
        ("tone", {"alpha": float("nan")}, "alpha must be finite and above 0, got nan"),
        ("dehaze", {"safeguard": 3.0}, "safeguard must be finite and at least 0 and at most 1, got 3"),
        ("dehaze", {"haze_kept": 3.0}, "haze_kept must be finite and at least 0 and at most 1, got 3"),
    ],
)
def test_a_setting_out_of_bounds_is_found_before_any_photograph(tmp_path, operator, settings, said):
    with pytest.raises(ValueError, match=said):
        enhance_files([tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "out", operator, settings=settings)


@pytest.mark.parametrize(("strength", "looked"), [(1.0, False), (1.5, True)])
def test_what_is_unexplained_is_looked_for_beyond_full_strength_too(tmp_path, caplog, monkeypatch, strength, looked):
    monkeypatch.setattr("lpie.photos.enhancement.find_spec", lambda _: True)
    monkeypatch.setattr("lpie.judges.unexplained.unexplained_change", lambda *_, hazy: torch.tensor([0.34]))
    write_photo(torch.rand(1, 3, 90, 100), tmp_path / "a.png", bits=8)
    write_photo(torch.rand(1, 3, 90, 900), tmp_path / "long.png", bits=8)  # 64 px a side where it is looked at
    sources = [tmp_path / "a.png", tmp_path / "long.png"]
    assert enhance_files(sources, tmp_path / "out", "tone", "operator", strength=strength) == 0
    assert ("a.png: 34 % of the photo shows a change" in caplog.text) == looked
    assert "long.png" not in caplog.text


def test_weights_whose_study_is_damaged_are_refused_before_any_photograph(tmp_path, saved):
    tensors, metadata = read_tensors(saved["tone-grid"])
    write_tensors(tmp_path / "odd.safetensors", tensors, metadata | {"study": "[1]"})
    with pytest.raises(ValueError, match=r"odd\.safetensors: what its metadata say of its study is damaged"):
        enhance_files([tmp_path / "absent.png"], tmp_path / "out.png", weights=tmp_path / "odd.safetensors")


def test_a_read_only_file_is_named_with_what_to_do_and_no_number(tmp_path, saved, caplog):
    write_photo(torch.rand(1, 3, 20, 30), tmp_path / "a.png", bits=8)
    out = tmp_path / "out.png"
    assert enhance_files([tmp_path / "a.png"], out, weights=saved["tone-grid"]) == 0
    out.chmod(0o444)
    assert enhance_files([tmp_path / "a.png"], out, weights=saved["tone-grid"]) == 1
    assert "read-only: make it writable or name another; nothing that was there has changed" in caplog.text
    assert "Errno" not in caplog.text
    assert "has room" not in caplog.text
