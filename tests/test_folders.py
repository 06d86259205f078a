"""One bad file never stops a folder, and nothing is left out without a word: the same for enhance and score."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lpie.names import printable
from lpie.photos.decoding import KINDS
from lpie.photos.folders import Skipped, photos_in

GRAY = Image.fromarray(np.full((20, 30, 3), 99, np.uint8))


def run(*arguments: str | bytes, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lpie.cli", *arguments],
        capture_output=True,
        text=True,
        errors="backslashreplace",
        check=False,
        env={**os.environ, **environment},
    )


def test_every_kind_of_name_is_found_and_what_cannot_be_entered_is_named(tmp_path, monkeypatch):
    for suffix in KINDS:
        (tmp_path / f"photo{suffix.upper()}").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".hidden.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "elsewhere").symlink_to(tmp_path)
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    locked = tmp_path / "locked"
    locked.mkdir()
    listed = os.scandir
    refused = PermissionError(13, "Permission denied", str(locked))

    def scandir(path):
        if Path(path) == locked:
            raise refused
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)  # root may read everything
    found = list(photos_in([tmp_path]))
    names = {path.suffix.lower() for path, _ in (one for one in found if not isinstance(one, Skipped))}
    assert names == set(KINDS)
    told = [str(one) for one in found if isinstance(one, Skipped)]
    assert any("elsewhere: a link to a folder is not followed" in line for line in told)
    assert any("locked: cannot be read (Permission denied)" in line for line in told)
    for name in ("gone.jpg", "pipe.jpg"):
        assert any(f"{name}: is no file, or a link that leads to none" in line for line in told)
    assert len(told) == 4


def test_names_are_shown_and_not_obeyed():
    assert printable("a\nb\x1b[31m\udcff é\u202e\u3000ü") == "a\\nb\\x1b[31m\\udcff é\\u202e\u3000ü"


@pytest.fixture
def awkward(tmp_path: Path) -> Path:
    """A folder with names that are hard to print, and broken files among whole ones."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in (b"a.png", b"b\nc\x1b[31m.png", b"d\xff.png", b"z.bmp"):
        GRAY.save(folder / "photo.png")
        os.rename(folder / "photo.png", os.path.join(os.fsencode(folder), name))
    (folder / "broken.jpg").write_bytes(b"no photograph")
    return folder


def test_enhance_does_what_can_be_done_and_names_the_rest(awkward, tmp_path):
    too_long = str(tmp_path / ("n" * 300 + ".png"))
    done = run("enhance", str(awkward), too_long, "-o", str(tmp_path / "out"), PYTHONIOENCODING="ascii:strict")
    assert done.returncode == 1
    assert len(os.listdir(tmp_path / "out")) == 4
    assert "broken.jpg" in done.stderr
    assert "nnn.png" in done.stderr
    assert "Traceback" not in done.stderr


def test_score_does_what_can_be_done_and_names_the_rest(awkward, tmp_path):
    too_long = str(tmp_path / ("n" * 300 + ".png"))
    done = run("score", str(awkward), too_long, "--json", PYTHONIOENCODING="ascii:strict")
    assert done.returncode == 1
    scored = [json.loads(line)["photo"] for line in done.stdout.splitlines()]
    assert sorted(map(os.fsencode, scored)) == sorted(
        os.path.join(os.fsencode(awkward), name) for name in (b"a.png", b"b\nc\x1b[31m.png", b"d\xff.png", b"z.bmp")
    )
    people = run("score", str(awkward), PYTHONIOENCODING="ascii:strict")
    assert "\x1b" not in people.stdout + people.stderr
    assert "b\\nc\\x1b[31m.png" in people.stdout
    assert "broken.jpg" in people.stderr
