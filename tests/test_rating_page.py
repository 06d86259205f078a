"""The page on which a person rates photographs: what it holds, and what a person does with it in a browser."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lpie.critic_training.opinions import read_opinions
from lpie.people.page import Trial
from lpie.people.rating import photographs, rate_photographs, write_rating_page

NAMES = ("a.jpg", "b.png", 'c,"d".png', "=1+1.png")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 1200, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def content_of(page):
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="content">(.*?)</script>', text, re.S)[1])


def test_the_page_holds_every_photograph_and_loads_nothing(folder, tmp_path):
    assert write_rating_page(folder, tmp_path / "rate.html") == 4
    text = (tmp_path / "rate.html").read_text(encoding="utf-8")
    trials = content_of(tmp_path / "rate.html")["trials"]
    assert {image["name"] for trial in trials for image in trial["images"]} == {
        "a.jpg",
        "b.png",
        'c,"d".png',
        "./=1+1.png",
    }
    assert all(image["data"].startswith("data:image/jpeg;base64,") for trial in trials for image in trial["images"])
    assert not re.findall(r"""(?:src|href)=["'](?!data:)|url\(|https?://""", text)


def test_pairs_are_of_two_photographs_each_asked_once(folder, tmp_path):
    assert write_rating_page(folder, tmp_path / "choose.html", choices=True) == 6
    pairs = [frozenset(i["name"] for i in t["images"]) for t in content_of(tmp_path / "choose.html")["trials"]]
    assert len(set(pairs)) == 6
    assert all(len(pair) == 2 for pair in pairs)


def test_the_same_seed_gives_the_same_page(folder, tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        write_rating_page(folder, tmp_path / name, seed=seed)
    one, two, other = ((tmp_path / name).read_text(encoding="utf-8") for name in ("one", "two", "other"))
    assert one == two != other


def test_a_broken_photograph_is_named_and_left_out(folder, tmp_path, caplog):
    (folder / "broken.jpg").write_bytes(b"no photograph")
    assert write_rating_page(folder, tmp_path / "rate.html") == 4
    assert "broken.jpg" in caplog.text


def test_folders_without_photographs_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no photographs in this folder"):
        photographs(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        photographs(tmp_path / "lost")
    with pytest.raises(ValueError, match="expected one image or two"):
        Trial("three", (Path("a"),) * 3, ("a",) * 3)


@pytest.fixture(scope="module")
def browser():
    sync = pytest.importorskip("playwright.sync_api", reason="playwright drives a browser")
    paths = [path for path in map(Path, ("/usr/bin/chromium", "/usr/bin/chromium-browser")) if path.exists()]
    if not paths:
        pytest.skip("no Chromium is here")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync.sync_playwright() as play:
        started = play.chromium.launch(executable_path=str(paths[0]), args=flags)
        yield started
        started.close()


def downloaded(page, path):
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(path)
    return path


@pytest.mark.timeout(180)
def test_keys_rate_and_take_back_and_the_table_is_read_again(browser, folder, tmp_path):
    write_rating_page(folder, tmp_path / "rate.html")
    context = browser.new_context()
    page = context.new_page()
    page.goto((tmp_path / "rate.html").as_uri())
    for key in ("7", "3", "Backspace", "0"):
        page.keyboard.press(key)
    assert page.inner_text("#count") == "2 of 4"
    page.reload()
    assert page.inner_text("#count") == "2 of 4"  # remembered
    page.click("button[title='rate 5 of 10']")
    opinions = read_opinions(downloaded(page, tmp_path / "ratings.csv"), folder)
    assert opinions.ratings.tolist() == [7, 10, 5]
    other = browser.new_context().new_page()
    other.goto((tmp_path / "rate.html").as_uri())
    other.set_input_files("#load", tmp_path / "ratings.csv")
    other.wait_for_function("document.querySelector('#count').textContent === '3 of 4'")
    other.keyboard.press("1")
    assert "Done" in other.inner_text("main")
    again = read_opinions(downloaded(other, tmp_path / "again.csv"), folder)
    assert again.ratings.tolist() == [7, 10, 5, 1]
    assert {photo.name for photo in again.photos} == set(NAMES)


@pytest.mark.timeout(180)
def test_arrows_choose_and_space_prefers_neither(browser, folder, tmp_path):
    write_rating_page(folder, tmp_path / "choose.html", choices=True)
    first = content_of(tmp_path / "choose.html")["trials"]
    page = browser.new_context().new_page()
    page.goto((tmp_path / "choose.html").as_uri())
    for key in ("ArrowLeft", "ArrowRight", " ", "5"):
        page.keyboard.press(key)
    assert page.inner_text("#count") == "3 of 6"
    opinions = read_opinions(downloaded(page, tmp_path / "choices.csv"), folder)
    chosen = [tuple(opinions.photos[place] for place in pair) for pair in opinions.choices]
    wanted = [(first[0]["images"][0], first[0]["images"][1]), (first[1]["images"][1], first[1]["images"][0])]
    assert chosen == [tuple(folder / image["name"] for image in pair) for pair in wanted]


def test_the_widget_keeps_each_answer_and_asks_only_what_is_left(folder, tmp_path):
    pytest.importorskip("ipywidgets")
    file = tmp_path / "ratings.csv"
    picture, buttons, typed, said = rate_photographs(folder, file).children
    assert "data:image/jpeg" in picture.value
    buttons.children[7].click()
    typed.value = "0"
    assert read_opinions(file, folder).ratings.tolist() == [8, 10]
    *_, said = rate_photographs(folder, file).children
    assert said.value == "2 rated, 2 to go"
