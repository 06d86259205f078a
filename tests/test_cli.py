"""The command line: fast to start, one clear line for an error, exit status 2 for what cannot be asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from lpie.cli import app
from lpie.engine import run_all as runner


def lpie(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_help_and_data_do_not_wait_for_torch() -> None:
    modules = "lpie.cli, lpie.engine.run_all, lpie.registry"
    code = f"import sys, {modules}; print([m for m in ('torch', 'pooch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["study", "run", "smok"], "Unknown profile 'smok', did you mean 'smoke'?"),
        (["study", "run", "-p", "gama=1"], "Unknown parameter of the study 'gama', did you mean 'gammas'"),
        (["study", "run", "-p", "gamma"], "Expected name=value"),
        (["study", "train", "--name", "tone-can24-l3-s0"], "did you mean 'tone-can24-l"),
        (["data", "fetch"], "Name the sets to fetch"),
        (["data", "fetch", "kodak"], "The registry has no folder 'kodak'"),
        (["enhance", "no-such-photo.jpg", "-o", "out.jpg", "--weights", "operatr"], "did you mean 'operator'"),
        (["enhance", "photo.jpg", "-o", "out.jpg", "--operator", "tones"], "Unknown operator 'tones'"),
        (["enhance", "photo.jpg", "-o", "out.jpg", "--weights", "robust"], "robust is a critic, not an enhancing"),
        (["enhance", "p.jpg", "-o", "o.jpg", "--operator", "dehaze", "--alpha", "0.3"], "alpha belongs to tone"),
        (["enhance", "p.jpg", "-o", "o.jpg", "--safeguard", "0"], "safeguard belongs to dehaze"),
        (["enhance", "p.jpg", "q.jpg", "-o", "out", "--sigma-r", "0"], "sigma_r must be finite and above 0, got 0"),
        (
            ["critic", "train", "--ratings", "no.csv", "--data", ".", "--out", "mine"],
            "lpie: no.csv: no such file or directory.",
        ),
        (["score", "photo.jpg", "--critic", "tone-grid-nima"], "tone-grid-nima is an enhancing network, not a critic"),
        (["score", "photo.jpg", "--critic", "niqe"], "niqe is a judge, not a critic. Choose one of ava, technical"),
    ],
)
def test_what_cannot_be_asked_ends_with_one_line_and_status_2(arguments: list[str], said: str) -> None:
    result = lpie(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("stage", ["fidelity", "ladder", "rivals"])
def test_every_stage_is_listed_and_nothing_is_done(stage: str, tmp_path: Path) -> None:
    result = lpie("study", "train", "smoke", "--list", "--stage", stage, "--output", str(tmp_path / "results"))
    assert result.exit_code == 0
    assert all(name.startswith(("tone-", "dehaze-")) for name in result.stdout.splitlines())
    assert len(result.stdout.splitlines()) >= 4
    assert not (tmp_path / "results").exists()


def test_a_network_that_is_not_there_is_answered_with_each_name_once() -> None:
    said = lpie("study", "train", "smoke", "--name", "zzz").stderr
    assert said.count("tone-grid-l1-s0") == 1


def test_init_prints_commands_that_can_be_pasted(tmp_path: Path) -> None:
    folder = tmp_path / "two words"
    folder.mkdir()
    for index in range(4):
        Image.new("RGB", (96, 64), (60 * index, 90, 30)).save(folder / f"{index}.png")
    assert f"`lpie study check '{folder}/study.toml'`" in lpie("study", "init", str(folder)).stdout


def test_data_lists_each_set_once() -> None:
    names = [line.split()[0] for line in lpie("data").stdout.splitlines() if line and line[0] != " "]
    assert len(set(names)) == len(names)
    assert "haze/real" in names


def test_the_version_is_said() -> None:
    assert lpie("--version").stdout.startswith("lpie ")


def test_debug_shows_where_an_error_arose() -> None:
    result = lpie("--debug", "study", "run", "smok")
    assert isinstance(result.exception, ValueError)


def test_run_all_passes_its_parameters_on_as_numbers_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    received: dict[str, Any] = {}
    monkeypatch.setattr(runner, "run_all", lambda *positional, **named: received.update(positional=positional, **named))
    assert lpie("study", "run", "smoke", "-p", "gammas=[0.1, 1]", "-p", "operator=tone").exit_code == 0
    assert received["positional"] == ("smoke", None, {"gammas": [0.1, 1], "operator": "tone"})


def test_a_failed_study_ends_with_the_path_of_the_notebook_and_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise runner.StudyError("gamma failed: ValueError: no\nresults/demo/gamma.failed.ipynb")

    monkeypatch.setattr(runner, "run_all", fail)
    result = lpie("study", "run")
    assert result.exit_code == 1
    assert result.stderr.strip().splitlines()[-1] == "results/demo/gamma.failed.ipynb"


def test_data_lists_every_set_with_its_terms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LPIE_CACHE", str(tmp_path))
    monkeypatch.delenv("LPIE_DATA", raising=False)
    listing = lpie("data").stdout
    assert "kodak24" in listing
    assert "released by Kodak for unrestricted use" in listing
    assert "0 of   24 files" in listing


def test_doctor_names_what_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LPIE_DATA", str(tmp_path / "nowhere"))
    result = lpie("doctor")
    assert result.exit_code == 1
    assert "BAD  data" in result.stdout
    assert "is not a folder" in result.stdout
    assert "ok   torchvision" in result.stdout
