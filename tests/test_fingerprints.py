"""Fingerprints: what a notebook rests on, and how a change is put in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lpie.engine import fingerprints
from lpie.engine.fingerprints import PACKAGE, difference, fingerprint, imported_by, notebook_digest
from lpie.study.settings import digest_of
from lpie.study.study_file import find_profile

DEMO = find_profile("demo")


def write(path: Path, *sources: str, outputs: tuple = ()) -> Path:
    cells = [
        {"cell_type": "code", "source": source.splitlines(keepends=True), "metadata": {}, "outputs": list(outputs)}
        for source in sources
    ]
    path.write_text(json.dumps({"cells": cells, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}))
    return path


def names(modules: set[Path]) -> set[str]:
    return {module.relative_to(PACKAGE).as_posix() for module in modules}


def test_a_notebook_rests_on_what_its_imports_import(tmp_path: Path) -> None:
    notebook = write(
        tmp_path / "n.ipynb", "%matplotlib inline\nfrom lpie.losses.objective import l1", "import numpy as np"
    )
    found = names(imported_by(notebook))
    assert {"losses/objective.py", "losses/similarity.py", "vocabulary.py"} <= found
    assert "study/training.py" not in found
    assert "cli.py" not in found


def test_public_names_of_the_package_may_lead_to_all_of_it(tmp_path: Path) -> None:
    everything = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
    assert names(imported_by(write(tmp_path / "a.ipynb", "import lpie"))) == everything
    assert names(imported_by(write(tmp_path / "b.ipynb", "from lpie import ssim"))) == everything
    assert names(imported_by(write(tmp_path / "c.ipynb", "import pandas"))) == set()


def test_a_module_of_a_subpackage_is_found_by_either_import(tmp_path: Path) -> None:
    one = imported_by(write(tmp_path / "a.ipynb", "from lpie.operators import local_laplacian"))
    other = imported_by(write(tmp_path / "b.ipynb", "import lpie.operators.local_laplacian"))
    assert "operators/local_laplacian.py" in names(one) & names(other)


def test_outputs_do_not_count_but_sources_do(tmp_path: Path) -> None:
    clean = notebook_digest(write(tmp_path / "a.ipynb", "x = 1"))
    assert notebook_digest(write(tmp_path / "a.ipynb", "x = 1", outputs=({"text": "1"},))) == clean
    assert notebook_digest(write(tmp_path / "a.ipynb", "x = 2")) != clean


def test_changes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = write(tmp_path / "n.ipynb", "from lpie.losses.objective import l1")
    before = fingerprint(notebook, {"profile": "demo"}, {"first": "1"}, DEMO)
    assert difference(json.loads(json.dumps(before)), before) == ""
    after = fingerprint(notebook, {"profile": "demo", "alpha": 1}, {"first": "2"}, DEMO)
    assert difference(before, after) == "parameters changed (alpha), upstream changed (first)"
    assert digest_of(before) != digest_of(after)

    after = json.loads(json.dumps(before))
    after["package source"] |= dict.fromkeys("abcd", "new")
    assert difference(before, after) == "package source changed (a, b, c and 1 more)"
    monkeypatch.setattr(fingerprints.provenance, "versions", lambda: {"torch": "9"})
    assert "versions changed (" in difference(before, fingerprint(notebook, {"profile": "demo"}, {"first": "1"}, DEMO))


def test_data_that_arrives_is_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LPIE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LPIE_DATA", raising=False)
    notebook = write(tmp_path / "n.ipynb", "x = 1")
    before = fingerprint(notebook, {}, {}, DEMO)
    (tmp_path / "cache" / "kodak24").mkdir(parents=True)
    (tmp_path / "cache" / "kodak24" / "01.png").touch()
    assert difference(before, fingerprint(notebook, {}, {}, DEMO)) == "data changed (files_at_hand)"
