"""The study itself at the smoke profile, through papermill, as a user starts it; once killed half-way."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from PIL import Image

from lpie.engine.run_all import study_graph

PROJECT = Path(__file__).parents[1]
GRAPH = study_graph(("tone", "dehaze"))

pytestmark = pytest.mark.timeout(900)


def start(results: Path) -> subprocess.Popen:
    """`make study` at the smoke profile, its own process group, results in `results`."""
    command = [sys.executable, "-m", "papermill", "notebooks/run_all.ipynb", results / "run_all.ipynb"]
    environment = {key: value for key, value in os.environ.items() if key not in ("LPIE_DATA", "OMP_NUM_THREADS")}
    log = (results.parent / "log.txt").open("w")
    return subprocess.Popen(
        [*command, "-p", "profile", "smoke", "--no-progress-bar", "--log-level", "WARNING", "--stdout-file", "-"],
        cwd=PROJECT,
        env={**environment, "LPIE_RESULTS": str(results), "LPIE_CACHE": str(results / "cache")},
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def log_of(results: Path) -> str:
    return (results.parent / "log.txt").read_text()[-4000:]


def states(results: Path) -> dict[str, Any]:
    path = results / "manifest.json"
    return json.loads(path.read_text())["notebooks"] if path.exists() else {}


def finished(results: Path) -> set[str]:
    return {name for name, state in states(results).items() if state["status"] == "finished"}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smoke") / "results"
    folder.mkdir()
    return folder


@pytest.mark.slow
def test_a_study_killed_half_way_goes_on_and_ends_with_verdicts_and_figures(results: Path) -> None:
    process = start(results)
    end = time.monotonic() + 400
    while not (finished(results) and "running" in {state["status"] for state in states(results).values()}):
        assert process.poll() is None, log_of(results)
        assert time.monotonic() < end, states(results)
        time.sleep(0.2)
    time.sleep(3)  # into the next notebook
    done = finished(results)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

    assert start(results).wait() == 0, log_of(results)
    assert finished(results) == set(GRAPH)
    for name in done:
        assert states(results)[name]["reason"] == "it has not run here yet", "ran a second time"
    assert "it was interrupted" in {state["reason"] for state in states(results).values()}

    verdicts = pd.read_csv(results / "verdicts.csv")
    assert list(verdicts.iloc[:, 0]) == [f"C{number}" for number in range(1, 8)]
    figures = list(results.rglob("figures/*.png"))
    assert figures
    for path in figures:
        assert min(Image.open(path).size) > 100
    leftovers = [path for path in results.rglob(".*") if path.name != ".lock" and path.is_file()]
    assert [path.name for path in leftovers if not path.name.endswith(".running.ipynb")] == []


@pytest.mark.slow
def test_a_second_start_finds_everything_unchanged_and_shows_it_again(results: Path) -> None:
    if finished(results) != set(GRAPH):
        pytest.fail("the study did not finish in the test before")
    before = {path: path.stat().st_mtime_ns for path in results.glob("*.csv")}
    assert start(results).wait() == 0, log_of(results)
    assert {path: path.stat().st_mtime_ns for path in results.glob("*.csv")} == before

    shown = nbformat.read(results / "run_all.ipynb", as_version=4)
    text = "".join(output.get("text", "") for cell in shown.cells for output in cell.get("outputs", []))
    assert text.count("unchanged since") == len(GRAPH)
    kinds = {kind for cell in shown.cells for output in cell.get("outputs", []) for kind in output.get("data", {})}
    assert "text/html" in kinds
    pages = "".join(str(output["data"]["text/html"]) for output in _shown(shown) if "text/html" in output["data"])
    assert re.search(r'<img [^>]*alt="[^"]+', pages)


def _shown(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The outputs of a notebook that show something."""
    return [output for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
