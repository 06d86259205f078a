"""The playground: it works without a front end, follows its controls, and shows errors; in JupyterLab too."""

from __future__ import annotations

import io
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic_records import invent_study
from torch import Tensor

pytest.importorskip("ipywidgets")

from lpie.explore import Playground, explore_gamma, pictures
from lpie.explore.renditions import PREVIEW_SIDE, Renditions, shipped_enhancers
from lpie.operators import OPERATORS
from lpie.operators.local_laplacian import local_laplacian
from lpie.photos.enhancement import enhance
from lpie.photos.photographs import to_pixels
from lpie.records import write_csv

PROJECT = Path(__file__).parents[1]


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def under_haze(photo: Tensor) -> Tensor:
    """The photo under haze that grows from left to right."""
    transmission = torch.linspace(1, 0.1, photo.shape[-1])
    return transmission * photo + 0.9 * (1 - transmission)


@pytest.fixture
def playground(small_photos: Tensor) -> Playground:
    return Playground(small_photos[:1])


def choose(playground: Playground, start: str) -> None:
    playground.enhancer.value = dict(playground.enhancer.options)[
        next(label for label, _ in playground.enhancer.options if label.startswith(start))
    ]


def test_a_slider_applies_the_operator(playground: Playground, small_photos: Tensor) -> None:
    photo = small_photos[:1]
    assert np.array_equal(pixels(playground.comparison.before), to_pixels(photo, 8))
    sliders = {slider.description: slider for slider in playground.settings.children}
    sliders["alpha"].value, sliders["beta"].value, sliders["sigma_r"].value = 1.5, 0.4, 0.3
    expected = to_pixels(local_laplacian(photo, alpha=1.5, beta=0.4, sigma_r=0.3), 8)
    difference = pixels(playground.comparison.after).astype(int) - expected
    assert abs(difference).max() <= 1


def test_reset_returns_to_the_settings_of_the_study_and_strength_0_to_the_photo(playground: Playground) -> None:
    first = playground.comparison.after
    playground.settings.children[0].value = 2.0
    playground.strength.value = 0
    assert playground.comparison.after == playground.comparison.before
    playground.reset.click()
    assert playground.comparison.after == first


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_setting_that_a_person_may_move_has_a_slider_that_changes_the_picture(
    operator: str, small_photos: Tensor
) -> None:
    row = OPERATORS[operator]
    renditions = Renditions(under_haze(small_photos[:1]) if row.estimate else small_photos[:1])
    enhancer = next(found for found in shipped_enhancers() if found.operator == operator)
    start = renditions.of_small(enhancer, {})
    for name, slider in row.ranges.items():
        assert slider.low <= getattr(row.settings(), name) <= slider.high
        assert not torch.equal(renditions.of_small(enhancer, {name: slider.high}), start), name


def test_a_preview_without_haze_is_what_the_operator_makes_but_for_fewer_steps_of_smoothing(
    small_photos: Tensor,
) -> None:
    photo = under_haze(small_photos[:1])
    row = OPERATORS["dehaze"]
    enhancer = next(found for found in shipped_enhancers() if found.operator == "dehaze")
    for settings in ({}, {"gamma": 1.6, "haze_kept": 0.2, "floor": 0.3}):
        preview = Renditions(photo).of_small(enhancer, settings)
        assert (preview - row.apply(photo, replace(row.settings(), **settings))).abs().mean() < 1 / 255


def test_the_critic_that_trained_the_shown_network_is_marked(playground: Playground) -> None:
    choose(playground, "tone-grid-nima")
    assert re.search(r"NIMA \(compact\)</th><td>trained this network", playground.raters.value)
    choose(playground, "tone-grid-plain")
    assert "trained this network" not in playground.raters.value
    assert playground.settings.children == ()


def test_a_large_photo_is_previewed_small_and_saved_whole(
    small_photos: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    playground = Playground(small_photos[:1].repeat(1, 1, 8, 8))
    assert max(pixels(playground.comparison.after).shape) == PREVIEW_SIDE
    playground.save.click()
    assert pixels((tmp_path / "enhanced.png").read_bytes()).shape == (512, 768, 3)
    playground.save.click()
    assert "is there already" in playground.status.value


def test_the_loupe_shows_single_pixels_of_both(playground: Playground, small_photos: Tensor) -> None:
    playground.loupe.value, playground.across.value = True, 0.0
    before, after = (pixels(image.value) for image in playground.close_up.children)
    assert np.array_equal(before, to_pixels(small_photos[:1], 8))
    assert after.shape == before.shape


def test_the_gradient_of_a_critic_is_laid_over_the_picture(playground: Playground) -> None:
    playground.overlay.value = "gradient of compact"
    assert playground.map.layout.display != "none"
    assert pixels(playground.map.value).shape == pixels(playground.comparison.after).shape
    values = pictures.gradient_map(torch.rand(1, 3, 64, 64), "robust")
    assert values.amax() == 1
    assert (values > 0).float().mean() > 0.9


def test_the_histogram_says_how_much_is_clipped() -> None:
    photo = torch.full((1, 3, 10, 10), 0.5)
    photo[..., :1, :] = 0
    photo[:, 0, 1:3, :] = 1
    assert "clipped: 10.0 % black, 20.0 % white" in pictures.histogram(photo)


def test_an_error_is_shown_where_it_arose_and_the_rest_goes_on(playground: Playground, tmp_path: Path) -> None:
    playground.path.value = str(tmp_path / "nowhere.jpg")
    assert "no such file" in playground.status.value
    playground.weights.value = str(tmp_path / "nothing.safetensors")
    assert "nothing.safetensors: there is no such file" in playground.status.value
    playground.settings.children[0].value = 1.0
    assert playground.status.value.endswith(" s")


def test_the_weights_slider_offers_the_kept_crops_and_their_scores(tmp_path: Path) -> None:
    runs, scores = invent_study(operators=("tone",), networks=("parameters",), seeds=1, rivals=False)
    write_csv(tmp_path / "runs.csv", runs)
    write_csv(tmp_path / "scores.csv", scores)
    for shade, (run, gamma) in enumerate(zip(runs["run"], runs["gamma"], strict=True)):
        if gamma != 0.01:  # of which no crop was kept
            (tmp_path / "crops" / run).mkdir(parents=True)
            Image.new("RGB", (8, 8), (shade, 0, 0)).save(tmp_path / "crops" / run / "tone-test-2.webp", lossless=True)
    _, photo, weight, comparison, caption = explore_gamma(tmp_path, network="parameters").children
    assert list(weight.options) == ["0", "0.001", "0.1"]
    weight.value = "0.1"
    run = "tone-parameters-l2+0.1compact-s0"
    assert pixels(comparison.after)[0, 0, 0] == list(runs["run"]).index(run)
    assert pixels(comparison.before)[0, 0, 0] == list(runs["run"]).index("tone-target")
    row = scores[(scores["run"] == run) & (scores["photo"] == photo.value)].iloc[0]
    assert f"{row['psnr']:.1f} dB" in caption.value
    assert f"technical {row['score_technical']:.2f}" in caption.value
    with pytest.raises(ValueError, match="network and critic"):
        explore_gamma(tmp_path, network="grid")


def test_the_weights_slider_shows_a_photo_of_ones_own_through_the_networks_that_exist(
    tmp_path: Path, small_photos: Tensor
) -> None:
    runs, scores = invent_study(operators=("tone",), networks=("parameters",), seeds=1, rivals=False)
    write_csv(tmp_path / "runs.csv", runs)
    write_csv(tmp_path / "scores.csv", scores)
    trained, photo, weight, comparison, caption = explore_gamma(tmp_path, photo=small_photos[:1]).children
    assert (photo.value, list(weight.options)) == ("(your own)", ["0", "0.003"])
    plain = comparison.after
    weight.value = "0.003"
    expected = to_pixels(enhance(small_photos[:1], "tone", "tone-grid-nima"), 8)
    np.testing.assert_array_equal(pixels(comparison.after), expected)
    assert comparison.after != plain
    assert "dB to the operator&#x27;s output; compact" in caption.value
    trained.value = ("can24", "compact")
    assert list(weight.options) == ["0", "0.0003"]


# JupyterLab ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of JupyterLab on a copy of the notebook, with the token that opens it."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "notebooks").mkdir()
    (folder / "notebooks" / "explore.ipynb").write_bytes((PROJECT / "notebooks" / "explore.ipynb").read_bytes())
    (folder / "results").symlink_to(PROJECT / "results")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1"]
    command += [f"--notebook-dir={folder}", "--IdentityProvider.token=open", "--ServerApp.port_retries=0"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "JUPYTER_CONFIG_DIR": str(folder / "config")}
    with (folder / "log.txt").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    end = time.monotonic() + 90
    while "is running at" not in (folder / "log.txt").read_text():
        assert server.poll() is None, (folder / "log.txt").read_text()
        assert time.monotonic() < end, (folder / "log.txt").read_text()
        time.sleep(0.2)
    yield f"http://127.0.0.1:{port}/lab/tree/notebooks/explore.ipynb?token=open"
    server.terminate()
    server.wait()


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_in_jupyterlab_a_slider_moves_and_another_picture_is_seen(lab: str, chromium: str) -> None:
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 1600})
        page.goto(lab)
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for(timeout=90_000)
        accept, started_cells = page.locator(".jp-Dialog .jp-mod-accept"), page.get_by_text(re.compile(r"^\[[*1]\]:$"))
        while not started_cells.count():  # it may ask for the kernel first, and then forget what was asked of it
            page.get_by_text("Run", exact=True).first.click()
            page.get_by_text("Run All Cells", exact=True).click()
            page.wait_for_timeout(3000)
            if accept.count():
                accept.click()
                page.wait_for_timeout(3000)
        slider = page.locator(".widget-hslider", has_text="alpha").locator(".noUi-handle")
        slider.first.wait_for(timeout=120_000)
        after = page.locator('img-comparison-slider img[slot="second"]').first
        expect(after).to_have_js_property("complete", True)
        first = after.get_attribute("src")
        slider.first.focus()
        for _ in range(5):
            slider.first.press("ArrowRight")
        expect(after).not_to_have_attribute("src", first or "", timeout=30_000)
        handle = page.locator("img-comparison-slider").first
        before, end = handle.evaluate("element => element.value"), time.monotonic() + 60
        while handle.evaluate("element => element.value") == before:  # later answers to the five keys draw it anew
            assert time.monotonic() < end, "the comparison does not move by key"
            handle.focus()
            page.keyboard.press("ArrowLeft", delay=400)
        assert page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
        assert page.locator(".widget-html [role=alert]").count() == 0
        if shown := os.environ.get("LPIE_SCREENSHOT"):
            page.screenshot(path=shown)
        browser.close()
