"""The contact sheet: alternative text everywhere, the worst photograph first, nothing loaded from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lpie.figures.page_data import instruments
from lpie.photos.photographs import demo_photographs
from lpie.registry import registered
from lpie.study.settings import Shares
from lpie.study.sheet import SHEET, write_sheet
from lpie.study.sources import deal
from lpie.study.study_file import find_profile


def test_the_sheet_shows_the_worst_first_and_marks_it(tmp_path: Path) -> None:
    pytest.importorskip("pycvvdp")
    photographs = {name: demo_photographs(128)[name] for name in ("coffee", "chelsea")}
    found = write_sheet(tmp_path / "sheet.html", ["tone-grid-plain", "tone-grid-nima"], photographs=photographs)
    text = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert list(found) == ["tone-grid-plain", "tone-grid-nima"]
    assert found["tone-grid-nima"].is_monotonic_decreasing
    assert (found["tone-grid-nima"] > found["tone-grid-plain"]).all()
    assert re.findall(r"<h2[^>]*>(\w+):", text) == list(found.index)
    assert "2 of 2 photographs plainly changed" in text
    assert len(re.findall(r'<img alt="\w+, [^"]+" src="data:', text)) == 2 * (1 + 1 + 3 + 3)
    assert not re.findall(r"""(?:src|href)="(?!data:)|https?://""", text)


def test_a_report_gets_strips_of_what_may_be_published_alone(tmp_path: Path) -> None:
    pytest.importorskip("pycvvdp")
    photo = demo_photographs(96)["coffee"]
    photographs = {f"walls: {name}": photo for name in ("kodak24/01.png", "unsplash800/2489.jpg")}
    for _ in range(2):
        write_sheet(tmp_path / "sheet.html", ["tone-grid-nima"], photographs=photographs, pictures=tmp_path / "contact")
    assert {path.name for path in (tmp_path / "contact").iterdir()} == {
        "kodak24-01.webp",
        "captions.csv",
        "unexplained.csv",
    }
    (tmp_path / "instruments.csv").write_text("instrument,value\nniqe,0.8\n", encoding="utf-8")
    shown = instruments(tmp_path)
    assert shown is not None
    assert [sheet.label.split(": ")[1] for sheet in shown["sheets"]] == ["kodak24/01.png"]


def test_no_shipped_network_trained_on_the_sheets_photographs() -> None:
    sheet = {name for of in SHEET.values() for name in of}
    stems = [name[12:-4] for name in sorted(registered()) if name.startswith("unsplash800/")]
    trained = set()
    for rows in find_profile("study").photographs:
        if rows.set == "unsplash800":
            assert isinstance(rows.split, Shares)
            trained |= {
                f"unsplash800/{stem}.jpg" for stem, split in deal(stems, rows.split).items() if split == "train"
            }
        else:
            trained |= {name for name in sheet if rows.split == "train" and name.startswith(f"{rows.set}/")}
    assert len(trained) == 300
    assert not trained & sheet


def test_the_sheets_thirty_photographs_are_registered() -> None:
    names = [name for of in SHEET.values() for name in of]
    assert len(set(names)) == 30
    assert set(names) <= registered().keys()


def test_a_sheet_without_a_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one network"):
        write_sheet(tmp_path / "sheet.html", [])
