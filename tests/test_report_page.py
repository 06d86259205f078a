"""The report's page in a browser: sliders, tables, links, cards and the loupe answer keys, and nothing goes wrong."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from synthetic_records import invent_study

from lpie.figures.report import PUBLISHED, write_report
from lpie.records import write_csv

pytestmark = pytest.mark.usefixtures("people_agree_with_the_judges")
api = pytest.importorskip("playwright.sync_api", reason="playwright is in the dev extra")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="it is in the dev extra")
BROWSER = os.environ.get("LPIE_BROWSER") or next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser() -> Iterator[api.Browser]:
    if BROWSER is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with api.sync_playwright() as started:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        opened = started.chromium.launch(executable_path=BROWSER, args=options)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, people_agree_with_the_judges: None) -> Path:
    """The page of an invented study with crops, and of pictures as the published evidence has them."""
    folder = tmp_path_factory.mktemp("study")
    runs, scores = invent_study(networks=("parameters",), operators=("tone",), seeds=2)
    write_csv(folder / "runs.csv", runs)
    write_csv(folder / "scores.csv", scores)
    for shade, run in enumerate(runs["run"]):
        (folder / "crops" / run).mkdir(parents=True)
        Image.new("RGB", (96, 64), (shade, 90, 160)).save(folder / "crops" / run / "tone-test-3.webp")
    rows = []
    for scene in ("houses", "airplane"):
        for shade, name in enumerate(("input", "operator", "tone-grid-plain", "tone-grid-robust", "tone-grid-nima")):
            (folder / "pictures").mkdir(exist_ok=True)
            Image.new("RGB", (96, 64), (40 * shade, 80, 80)).save(folder / "pictures" / f"{scene}-{name}.webp")
            rows.append({"scene": scene, "rendition": name, "psnr": 30.0, "ssim": 0.9, "ms_ssim": 0.95, "compact": 5.0})
    write_csv(folder / "pictures" / "pictures.csv", pd.DataFrame(rows))
    return write_report(folder)


@pytest.fixture(params=SIZES)
def page(request: pytest.FixtureRequest, browser: api.Browser, report: Path) -> Iterator[api.Page]:
    """The page opened from disk without a network; whatever the browser complains about fails the test."""
    width, height = SIZES[request.param]
    context = browser.new_context(viewport={"width": width, "height": height}, offline=True)
    opened, complaints = context.new_page(), []
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(report.as_uri())
    yield opened
    context.close()
    assert complaints == []


def test_a_slider_moves_by_key_and_says_where_it_is(page: api.Page) -> None:
    slider = page.locator("img-comparison-slider").first
    slider.focus()
    page.keyboard.down("ArrowRight")
    page.wait_for_function("Number(document.querySelector('img-comparison-slider').ariaValueNow) > 55")
    page.keyboard.up("ArrowRight")
    choice = page.locator("select[data-slider]").first
    left = page.locator("img-comparison-slider [slot=first]").first
    before = left.get_attribute("src")
    choice.select_option(index=1)
    assert left.get_attribute("src") != before
    assert left.get_attribute("alt")


def test_sorting_sorts_and_filtering_filters(page: api.Page) -> None:
    page.locator("#table-headline summary").press("Enter")
    rows = page.locator("#table-headline tbody tr")
    heading = page.locator("#table-headline thead th").filter(has_text="objective").first
    heading.click()
    names = rows.locator("td:nth-child(3)").all_text_contents()
    assert names == sorted(names, key=str.lower)
    page.locator("#table-headline input").fill("MS-SSIM")
    page.wait_for_timeout(500)
    assert all("MS-SSIM" in text for text in rows.all_text_contents())


def test_every_link_lands_on_something_of_its_own(page: api.Page) -> None:
    dead = page.evaluate("""() => [...document.querySelectorAll("a[href^='#']")]
        .map((link) => link.getAttribute("href").slice(1)).filter((name) => !document.getElementById(name))""")
    assert dead == []
    twice = page.evaluate("""() => { const names = [...document.querySelectorAll("[id]")].map((one) => one.id);
        return names.filter((name, place) => names.indexOf(name) !== place); }""")
    assert twice == []


def test_a_point_of_the_frontier_shows_its_scores_on_focus(page: api.Page) -> None:
    page.locator(".plate a").first.focus()
    card = page.locator(".tippy-box .card").first
    card.wait_for(state="visible")
    assert re.search(r"\d+\.\d dB, SSIM .* Gains: compact [+-]", card.inner_text())


def test_a_photograph_opens_at_full_size_with_a_loupe_by_keys(page: api.Page) -> None:
    page.locator("a.zoom").first.press("Enter")
    page.locator(".pswp--open").wait_for()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("z")
    page.keyboard.press("Escape")
    page.locator(".pswp--open").wait_for(state="detached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_accessibility_checker_finds_nothing_serious(page: api.Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    found = axe.Axe().run(page).response["violations"]
    assert [
        (one["id"], one["nodes"][0]["html"][:120]) for one in found if one["impact"] in ("serious", "critical")
    ] == []


def test_nothing_is_wider_than_the_screen_and_every_picture_has_words_of_its_own(page: api.Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    words = page.evaluate("[...document.querySelectorAll('.tiles img')].map((one) => one.alt)")
    assert all(words)
    assert len(set(words)) == len(words)


def test_the_published_page_is_small_needs_nothing_and_prints_on_twelve_pages(browser: api.Browser) -> None:
    published = PUBLISHED / "report.html"
    assert published.stat().st_size <= 8e6
    opened = browser.new_context(offline=True).new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(published.as_uri())
    pages = len(re.findall(rb"/Type\s*/Page\b", opened.pdf()))
    opened.context.close()
    assert complaints == []
    assert 1 <= pages <= 12
