"""Votes between renditions: a blind page, simulated voters of known taste found, careless ones left out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pillow_heif
import pytest
from PIL import Image
from synthetic_records import invent_study
from typer.testing import CliRunner

from lpie.cli import app
from lpie.evidence import Evidence
from lpie.evidence.answers import answers
from lpie.evidence.comparisons import comparisons
from lpie.evidence.verdicts import verdicts
from lpie.figures.page_data import instruments
from lpie.people.votes import agreement, by_photograph, preferences, read_votes, write_voting_page
from lpie.records import write_csv

TASTE = {"critic": 0.6, "l2": -0.4, "operator": 0.0}  # log strengths


@pytest.fixture
def renditions(tmp_path: Path) -> Path:
    folder = tmp_path / "renditions"
    for shade, name in enumerate(TASTE):
        (folder / name).mkdir(parents=True)
        for photo in range(3):
            Image.new("RGB", (60, 40), (80 * shade, 60 * photo, 90)).save(folder / name / f"{photo}.png")
    return folder


def trials_of(page: Path) -> list[dict[str, Any]]:
    found = re.search(r'id="content">(.*?)</script>', page.read_text(encoding="utf-8"), re.S)
    assert found
    return json.loads(found[1])["trials"]


def simulated(folder: Path, voter: int, photographs: int = 12, careless: bool = False) -> Path:
    """The file of one voter who prefers by TASTE, or at random without looking."""
    draw = np.random.default_rng(voter)
    lines = []
    for photo in range(photographs):
        for one, two in (("critic", "l2"), ("operator", "critic"), ("l2", "operator"), ("check", "critic")):
            chance = 0.0 if "check" in (one, two) else 1 / (1 + np.exp(TASTE[two] - TASTE[one]))
            chance = 0.5 if careless else chance
            tied = draw.random() < 0.1 and chance > 0
            preferred = "" if tied else one if draw.random() < chance else two
            lines.append({"trial": f"{one}|{two}|{photo}.png", "preferred": preferred, "ms": 900})
    path = folder / f"voter{voter}.csv"
    pd.DataFrame(lines).to_csv(path, index=False)
    return path


def test_renditions_of_a_phone_are_shown_and_one_that_cannot_be_read_is_left_out(
    renditions: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for place in [path for path in renditions.rglob("*.png") if path.stem != "2"]:
        pillow_heif.from_pillow(Image.open(place)).save(place.with_suffix(".heic"))
        place.unlink()
    for name in TASTE:
        (renditions / name / "2.png").write_text("no picture")
    write_voting_page(renditions, tmp_path / "vote.html")
    shown = {trial["name"].rpartition("|")[2] for trial in trials_of(tmp_path / "vote.html")}
    assert shown == {"0.heic", "1.heic"}
    assert "2.png: expected a photograph" in caplog.text


def test_the_page_shows_every_pair_once_on_random_sides_with_checks_between(renditions: Path, tmp_path: Path) -> None:
    page = tmp_path / "vote.html"
    assert write_voting_page(renditions, page) == 3 * 3 + 2
    names = [trial["name"].split("|") for trial in trials_of(page)]
    pairs = [(photo, frozenset((one, two))) for one, two, photo in names if "check" not in (one, two)]
    assert len(set(pairs)) == 9
    assert sum("check" in name for name in names) == 2
    assert any(one > two for one, two, _ in names)
    assert any(one < two for one, two, _ in names)


def test_the_interval_covers_the_taste_of_simulated_voters(tmp_path: Path) -> None:
    covered = []
    for study in range(8):
        votes = read_votes([simulated(tmp_path, 100 * study + voter) for voter in range(6)])
        table = preferences(votes, "operator").set_index("rendition")
        for name in ("critic", "l2"):
            truth = 1 / (1 + np.exp(-TASTE[name]))
            covered.append(table.loc[name, "low"] <= truth <= table.loc[name, "high"])
            assert table.loc[name, "low"] < table.loc[name, "preferred"] < table.loc[name, "high"]
    assert np.mean(covered) >= 0.8


def test_careless_voters_are_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    votes = read_votes([simulated(tmp_path, 1), simulated(tmp_path, 2, careless=True)])
    assert set(votes["voter"]) == {"voter1"}
    assert "voter2.csv" in caplog.text
    with pytest.raises(ValueError, match="No voter is left"):
        read_votes([simulated(tmp_path, 2, careless=True)])


def test_equal_voters_agree_and_opposite_ones_do_not(tmp_path: Path) -> None:
    votes = read_votes([simulated(tmp_path, 1)])
    same = pd.concat([votes, votes.assign(voter="other")])
    opposite = pd.concat([votes, votes.assign(voter="other", outcome=1 - votes["outcome"])])
    assert agreement(same) == 1
    assert agreement(opposite) < 0.2
    assert np.isnan(agreement(votes))
    assert by_photograph(same)["votes"].eq(2).all()


def test_other_files_and_folders_are_refused(tmp_path: Path, renditions: Path) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match="a voting page downloads"):
        read_votes([tmp_path / "other.csv"])
    (renditions / "l2" / "1.png").unlink()
    with pytest.raises(FileNotFoundError, match="same photographs"):
        write_voting_page(renditions, tmp_path / "vote.html")
    with pytest.raises(ValueError, match="two or more renditions"):
        write_voting_page(renditions / "l2", tmp_path / "vote.html")


def test_votes_are_a_judge_of_the_study_with_the_role_of_preference(tmp_path: Path) -> None:
    runs, scores = invent_study(networks=("parameters",), operators=("tone",), rivals=False)
    write_csv(tmp_path / "runs.csv", runs)
    write_csv(tmp_path / "scores.csv", scores)
    assert "people" not in Evidence.read(tmp_path).judges
    photos = scores.loc[scores["split"] == "test", "photo"].unique()
    taught = runs.loc[(runs["gamma"] > 0) & (runs["network"] == "parameters"), "run"]
    plain = runs.loc[(runs["gamma"] == 0) & (runs["network"] == "parameters"), "run"]

    def vote(like_the_critics: float, voters: int) -> dict[str, str]:
        draw = np.random.default_rng(0)
        pairs = [(one, other) for one in taught for other in ("operator", *plain)]
        cast = pd.DataFrame(
            [(f"voter{voter}", f"{photo}.png", *pair) for voter in range(voters) for photo in photos for pair in pairs],
            columns=["voter", "photo", "first", "second"],
        )
        cast["outcome"] = (draw.random(len(cast)) < like_the_critics).astype(float)
        write_csv(tmp_path / "votes.csv", cast)
        table = verdicts(Evidence.read(tmp_path))
        return dict(zip(table["claim"], table["verdict"], strict=True))

    for like, expected in ((0.8, "supported"), (0.2, "not supported")):
        found = vote(like, 3)
        assert {claim: found[claim] for claim in ("C1", "C2", "C7")} == dict.fromkeys(("C1", "C2", "C7"), expected)
    said = answers(comparisons(Evidence.read(tmp_path)))
    assert set(said.loc[said["instrument"] == "people", ["role", "verdict"]].agg(": ".join, axis=1)) == {
        "preference: contradicted"
    }
    found = vote(0.8, 2)  # too few people
    assert {found[claim] for claim in ("C1", "C2", "C7")} == {"undecided"}


def test_lpie_vote_gives_a_study_its_voters_and_the_report_shows_them(tmp_path: Path) -> None:
    study = tmp_path / "study"
    files = [simulated(tmp_path, voter) for voter in range(4)]
    read = [argument for file in files for argument in ("--read", str(file))]
    done = CliRunner().invoke(app, ["vote", *read, "--baseline", "operator", "--study", str(study)])
    assert done.exit_code == 0, done.output
    assert "two voters agree in" in done.output
    assert len(pd.read_csv(study / "votes.csv")) == 4 * 12 * 3
    write_csv(study / "instruments.csv", pd.DataFrame({"instrument": ["niqe"]}))
    shown = instruments(study)
    assert shown is not None
    assert "critic" in shown["people"]
    assert "preferred" in shown["people"]


@pytest.fixture
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api", reason="playwright drives a browser")
    paths = [path for path in map(Path, ("/usr/bin/chromium", "/usr/bin/chromium-browser")) if path.exists()]
    if not paths:
        pytest.skip("no Chromium here")
    with sync.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=paths[0], args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


def test_votes_by_keys_on_a_phone_are_saved_and_read(browser: Any, renditions: Path, tmp_path: Path) -> None:
    page_file = tmp_path / "vote.html"
    count = write_voting_page(renditions, page_file)
    page = browser.new_page(viewport={"width": 390, "height": 780})
    page.goto(page_file.as_uri())
    for trial in trials_of(page_file):
        shown = [image["name"] for image in trial["images"]]
        best = max(shown, key=lambda name: TASTE.get(name, -9))
        page.keyboard.press(("ArrowLeft", "ArrowRight")[shown.index(best)])
    assert page.locator("#count").inner_text() == f"{count} of {count}"
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(tmp_path / "anna.csv")
    votes = read_votes([tmp_path / "anna.csv"])
    assert len(votes) == 9
    assert preferences(votes, "operator").set_index("rendition")["preferred"]["critic"] > 0.5
