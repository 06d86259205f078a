"""Executed notebooks as pages, and published evidence that notebooks read without training."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from notebook_pages import OPEN_PAGES, PAGES, as_page
from PIL import Image

from lpie.engine.provenance import PROJECT
from lpie.evidence.results import is_gathered, read_results
from lpie.records import PUBLISHED
from lpie.study.experiments import run_studies
from lpie.study.rivals import run_rivals
from lpie.study.settings import fidelity_studies
from lpie.study.study_file import find_profile


def executed_notebook(work: Path) -> nbformat.NotebookNode:
    """A notebook with a noisy picture, and a line that names a path of this machine."""
    noise = np.random.default_rng(0).integers(0, 255, (300, 2400, 3), dtype=np.uint8)
    stored = io.BytesIO()
    Image.fromarray(noise).save(stored, "PNG")
    picture = nbformat.v4.new_output("display_data", {"image/png": base64.b64encode(stored.getvalue()).decode()})
    line = nbformat.v4.new_output("stream", text=f"wrote {work}/study/figures/a.png and {PROJECT}/results/b.png")
    cell = nbformat.v4.new_code_cell("draw()", outputs=[picture, line])
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Why?"), cell])


def test_a_page_holds_the_pictures_in_a_tenth_of_their_size(tmp_path: Path) -> None:
    notebook = executed_notebook(tmp_path)
    png = len(notebook.cells[1].outputs[0].data["image/png"])
    page = as_page(notebook, tmp_path)
    assert "data:image/webp;base64," in page
    assert "image/png" not in page
    assert len(page) < png / 10
    assert "Why?" in page
    assert "draw" in page


def test_a_page_names_no_path_of_the_machine_that_made_it(tmp_path: Path) -> None:
    page = as_page(executed_notebook(tmp_path), tmp_path)
    assert str(tmp_path) not in page
    assert str(PROJECT) not in page
    assert "wrote study/figures/a.png and results/b.png" in page


def test_gathered_evidence_is_read_and_nothing_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lpie.study.experiments.train", lambda *_: pytest.fail("trained"))
    for name in ("runs.csv", "scores.csv.xz"):
        (tmp_path / name).write_bytes((PUBLISHED / name).read_bytes())
    assert is_gathered(tmp_path)
    profile = find_profile("study")
    runs, scores = run_studies(profile, fidelity_studies(profile, "tone"), tmp_path, "cpu")
    run_rivals(profile, "tone", tmp_path, profile.critics, "cpu")
    for found, kept in zip((runs, scores), read_results(PUBLISHED), strict=True):
        pd.testing.assert_frame_equal(found, kept)
    assert not (tmp_path / "runs").exists()


def test_tables_whose_runs_were_set_aside_are_not_taken_for_evidence(tmp_path: Path) -> None:
    for name in ("runs.csv", "scores.csv"):
        (tmp_path / name).write_text("run\n")
    assert not is_gathered(tmp_path)


def test_a_folder_with_runs_of_its_own_is_not_taken_for_evidence(tmp_path: Path) -> None:
    (tmp_path / "scores.csv.xz").touch()
    assert is_gathered(tmp_path)
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "run.json").write_text("{}")
    assert not is_gathered(tmp_path)


def test_every_notebook_but_the_one_that_runs_them_has_its_page() -> None:
    notebooks = {path.stem for path in (PROJECT / "notebooks").glob("*.ipynb")} - {"run_all"}
    assert {name.partition("-")[0] for name in (*PAGES, *OPEN_PAGES)} <= notebooks
    assert {*PAGES, *OPEN_PAGES} <= {path.stem for path in (PUBLISHED / "notebooks").glob("*.html")}
