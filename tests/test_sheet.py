"""The contact sheet: alternative text everywhere, the worst photograph first, nothing loaded from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lpie.photos.photographs import demo_photographs
from lpie.registry import registered
from lpie.study.sheet import SHEET, write_sheet


def test_the_sheet_shows_the_worst_first_and_marks_it(tmp_path: Path) -> None:
    pytest.importorskip("pycvvdp")
    photographs = {name: demo_photographs(128)[name] for name in ("coffee", "chelsea")}
    found = write_sheet(tmp_path / "sheet.html", ["tone-grid-plain", "tone-grid-nima"], photographs=photographs)
    text = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert [change for _, change in found] == sorted((change for _, change in found), reverse=True)
    assert re.findall(r"<h2[^>]*>(\w+):", text) == [name for name, _ in found]
    assert "2 of 2 photographs plainly changed" in text
    assert len(re.findall(r'<img alt="\w+, [^"]+" src="data:', text)) == 2 * 6
    assert not re.findall(r"""(?:src|href)="(?!data:)|https?://""", text)


def test_the_sheets_thirty_photographs_are_registered() -> None:
    names = [name for of in SHEET.values() for name in of]
    assert len(set(names)) == 30
    assert set(names) <= registered().keys()


def test_a_sheet_without_a_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one network"):
        write_sheet(tmp_path / "sheet.html", [])
