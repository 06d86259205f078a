"""run_all on tiny notebooks: what runs and why, failures, kills, and what it refuses."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest

from lpie.engine import run_all as module
from lpie.engine.manifest import Manifest
from lpie.engine.notebook_parameters import folder_of
from lpie.engine.notebook_run import _remove_sockets_of_the_dead
from lpie.engine.run_all import StudyError, run_all
from lpie.records import exclusive

CHAIN = {"first": (), "second": ("first",)}
FORK = {"first": (), "second": ("first",), "third": ()}

WRITES = (
    "from pathlib import Path\nimport os\nfrom lpie.records import atomic_path\n"
    "with atomic_path(Path(os.environ['LPIE_RESULTS'], '{name}.csv')) as part:\n    part.write_text(str(strength))"
)
FAILS = "raise RuntimeError('the operator broke')"
WAITS = (
    "from pathlib import Path\nimport os, time\n"
    "Path(os.environ['LPIE_RESULTS'], 'kernel.pid').write_text(str(os.getpid()))\n"
    "time.sleep(0 if Path(os.environ['LPIE_RESULTS'], 'go').exists() else 60)"
)


def write_notebook(folder: Path, name: str, code: str, parameters: str = "profile = 'smoke'\nstrength = 1.0") -> Path:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    notebook.cells = [
        nbformat.v4.new_markdown_cell(f"# The {name} question"),
        nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(code.format(name=name)),
    ]
    path = folder / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder with a results folder, and notebooks that each write one table."""
    (tmp_path / "notebooks").mkdir()
    for name in FORK:
        write_notebook(tmp_path / "notebooks", name, WRITES)
    return tmp_path


def run(study: Path, graph: dict[str, tuple[str, ...]] = CHAIN, **settings: object) -> dict:
    """run_all in the study's folder; returns the manifest's notebooks."""
    settings = {"output": study / "results", "notebooks": study / "notebooks", **settings}
    folder = run_all("smoke", graph=graph, **settings)
    return json.loads((folder / "manifest.json").read_text())["notebooks"]


def start_process(study: Path) -> subprocess.Popen:
    """The chain in a process of its own, ready to be killed, also where a shell in the background ignores SIGINT."""
    code = (
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from lpie.engine.run_all import run_all\n"
        f"run_all('smoke', {str(study / 'results')!r}, notebooks={str(study / 'notebooks')!r}, graph={CHAIN!r})"
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(path: Path, seconds: float = 60) -> Path:
    end = time.monotonic() + seconds
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.05)
    return path


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]


@pytest.mark.slow
def test_what_is_unchanged_is_not_run_again_and_the_rest_says_why(study: Path, capsys: pytest.CaptureFixture) -> None:
    manifest = run(study, FORK, workers=2)
    assert {state["status"] for state in manifest.values()} == {"finished"}
    assert manifest["first"]["reason"] == "it has not run here yet"
    assert {name: state["outputs"] for name, state in manifest.items()} == {
        name: [f"{name}.csv", f"{name}.ipynb"] for name in FORK
    }  # though they ran side by side
    record = json.loads((study / "results" / "manifest.json").read_text())
    assert record["outputs_sha256"]["first.csv"] == hashlib.sha256(b"1.0").hexdigest()
    origin = json.loads((study / "results" / "provenance.json").read_text())
    assert origin["wall_seconds"] > 0
    assert origin["seeds"] == [0]
    assert {"source", "lock_sha256", "versions", "hardware", "data", "parameters"} <= origin.keys()
    capsys.readouterr()

    run(study, FORK)
    assert capsys.readouterr().out.count("unchanged since") == 3

    write_notebook(study / "notebooks", "first", WRITES + "\n# now different")
    manifest = run(study, FORK)
    assert manifest["first"]["reason"] == "notebook changed"
    assert manifest["second"]["reason"] == "upstream changed (first)"


@pytest.mark.slow
def test_of_those_that_can_run_the_first_of_the_graph_does(study: Path, capsys: pytest.CaptureFixture) -> None:
    run(study, FORK, workers=1)
    said = capsys.readouterr().out
    begun = [line.split()[1] for line in said.splitlines() if "runs: " in line]
    assert begun == ["first", "second", "third"]  # the second waited for the first, the third for neither


@pytest.mark.slow
def test_looking_into_a_notebook_does_not_change_it_but_losing_its_table_does(study: Path) -> None:
    run(study, {"first": ()})
    source = study / "notebooks" / "first.ipynb"
    notebook = nbformat.read(source, as_version=4)
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text="looked")]
    nbformat.write(notebook, source)
    assert run(study, {"first": ()})["first"]["reason"] == "it has not run here yet"  # the reason of its only run
    (study / "results" / "first.csv").unlink()
    assert run(study, {"first": ()})["first"]["reason"] == "first.csv is missing"


@pytest.mark.slow
def test_a_failure_is_kept_with_its_error_and_what_builds_on_it_is_skipped(study: Path) -> None:
    write_notebook(study / "notebooks", "first", FAILS)
    kept = study / "results" / "first.failed.ipynb"
    with pytest.raises(StudyError, match="the operator broke") as raised:
        run(study, FORK)
    assert str(raised.value).splitlines()[-1] == str(kept)
    assert "the operator broke" in kept.read_text()
    manifest = json.loads((study / "results" / "manifest.json").read_text())["notebooks"]
    assert {name: state["status"] for name, state in manifest.items()} == {
        "first": "failed",
        "second": "skipped",
        "third": "finished",
    }
    assert not (study / "results" / "first.ipynb").exists()

    write_notebook(study / "notebooks", "first", WRITES)
    manifest = run(study, FORK)
    assert (manifest["first"]["reason"], manifest["second"]["reason"]) == ("it failed", "it was skipped")
    assert not kept.exists()


@pytest.mark.slow
def test_a_stopped_run_leaves_no_process_and_goes_on_from_the_last_finished_notebook(study: Path) -> None:
    write_notebook(study / "notebooks", "second", WAITS)
    kernels = []
    for sign in (signal.SIGKILL, signal.SIGINT):
        process = start_process(study)
        kernels.append(int(wait_for(study / "results" / "kernel.pid").read_text()))
        (study / "results" / "kernel.pid").unlink()
        process.send_signal(sign)
        assert process.wait(120) != 0
    (study / "results" / "go").touch()
    manifest = run(study)
    assert not any(map(is_alive, kernels))
    assert manifest["first"]["reason"] == "it has not run here yet"
    assert manifest["second"]["reason"] == "it was interrupted"
    assert manifest["second"]["status"] == "finished"


LEARNS = """
from lpie.engine import start_study
from lpie.study import learn

settings, folder = start_study(globals())
learn(settings, "tone", folder)
"""
STUDY = """
operators = ["tone"]
networks = ["grid"]
fidelities = ["l2"]
critics = []
gammas = []
judges = []
shortest_side = 48
schedule = { steps = 200, batch = 1, sides = [32], checkpoint_every = 10, validate_every = 50 }
[[photographs]]
set = "demo"
split = { train = ["astronaut"], validation = ["coffee"], test = ["china"] }
"""


@pytest.mark.slow
def test_a_study_killed_in_training_goes_on_and_ends_with_the_bytes_of_an_undisturbed_one(tmp_path: Path) -> None:
    write_notebook(tmp_path, "learn", LEARNS, "profile = 'smoke'\nstudy = None")
    (tmp_path / "small.toml").write_text(STUDY)
    code = (
        "import sys\nfrom lpie.engine.run_all import run_all\n"
        f"here = {str(tmp_path)!r}\n"
        "run_all(here + '/small.toml', here + '/' + sys.argv[1], notebooks=here, graph={'learn': ()})"
    )
    command = [sys.executable, "-c", code]
    whole = subprocess.Popen([*command, "whole"], stdout=subprocess.DEVNULL)
    with subprocess.Popen([*command, "killed"], stdout=subprocess.DEVNULL) as killed:
        end = time.monotonic() + 120
        while not list((tmp_path / "killed").glob("runs/*/checkpoint.safetensors")):
            assert time.monotonic() < end
            time.sleep(0.01)
        killed.kill()
    assert not list((tmp_path / "killed").glob("runs/*/weights.safetensors"))
    assert whole.wait(120) == 0
    assert subprocess.run([*command, "killed"], stdout=subprocess.DEVNULL, check=False).returncode == 0
    results = [_results(tmp_path / name) for name in ("whole", "killed")]
    assert any(name.endswith("weights.safetensors") for name in results[0])
    assert results[0] == results[1]


def _results(folder: Path) -> dict[str, bytes]:
    """Every file with its bytes, but for those that say when and how long: of `runs.csv` all but that column."""
    table = pd.read_csv(folder / "runs.csv").drop(columns="seconds")
    timed = ("run.json", "runs.csv", "manifest.json", "provenance.json", "learn.ipynb", ".lock")
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in timed]
    return {"runs": table.to_csv().encode()} | {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in files
    }


def test_parameters_reach_the_notebooks_and_a_folder_of_their_own(
    study: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also: a damaged manifest counts as none."""
    monkeypatch.setenv("LPIE_RESULTS", str(study / "results"))
    folder = folder_of("smoke", {"strength": 2.5})
    folder.mkdir()
    (folder / "manifest.json").write_text('{"notebooks": {"first": {"status"')
    run(study, {"first": ()}, output=None, parameters={"strength": 2.5})
    assert (folder / "first.csv").read_text() == "2.5"
    assert "is no manifest" in capsys.readouterr().out
    assert folder.name.startswith("results-")
    assert folder != folder_of("smoke", {"strength": 2.0})
    assert folder_of("smoke", {}) == study / "results"


def test_an_unknown_parameter_stops_the_run_with_the_near_miss_named(study: Path) -> None:
    with pytest.raises(ValueError, match="parameter of the study 'strenght', did you mean 'strength'"):
        run(study, parameters={"strenght": 2.0})
    assert not (study / "results").exists()


def test_unknown_profiles_and_negative_gammas_are_refused_before_anything_runs(study: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'smoke'"):
        run_all("smok", study / "results", notebooks=study / "notebooks", graph=CHAIN)
    write_notebook(study / "notebooks", "first", WRITES, "profile = 'smoke'\ngammas = [0.1]\nstrength = 1")
    with pytest.raises(ValueError, match=r"gammas.1: expected a number greater than 0"):
        run(study, parameters={"gammas": [0.1, -0.1]})
    assert not (study / "results").exists()


def test_plain_papermill_stops_on_an_unknown_parameter_too(study: Path) -> None:
    code = "from lpie.engine.notebook_parameters import start_notebook\nstart_notebook()"
    path = write_notebook(study / "notebooks", "alone", code)
    with pytest.raises(papermill.PapermillExecutionError, match="did you mean 'strength'"):
        papermill.execute_notebook(path, study / "out.ipynb", {"strenght": 1}, progress_bar=False)


def test_two_runs_in_one_folder_do_not_mix(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "exclusive", partial(exclusive, patience=0))
    (study / "results").mkdir()
    with (study / "results" / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError, match="Another run is at work"):
            run(study)


def test_a_results_folder_that_cannot_be_written_is_named(study: Path) -> None:
    (study / "file").touch()
    with pytest.raises(OSError, match="cannot be written"):
        run(study, output=study / "file" / "results")


def test_a_missing_notebook_is_named(study: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"fourth\.ipynb is missing"):
        run(study, {"fourth": ()})


def test_networks_that_other_source_trained_are_set_aside_not_used(tmp_path: Path) -> None:
    (tmp_path / "runs" / "tone").mkdir(parents=True)
    manifest = Manifest(tmp_path)
    assert manifest.renew_networks({"package source": {"losses.py": "1"}}) == ""  # they came without a manifest
    manifest.skip("first", "only to save it")

    assert Manifest(tmp_path).renew_networks({"package source": {"losses.py": "1"}}) == ""
    assert (tmp_path / "runs" / "tone").is_dir()
    assert "losses.py" in Manifest(tmp_path).renew_networks({"package source": {"losses.py": "2"}})
    assert (tmp_path / "runs-before" / "tone").is_dir()
    assert not (tmp_path / "runs").exists()


def test_socket_folders_of_killed_notebooks_are_removed_and_others_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = subprocess.Popen([sys.executable, "-c", ""])
    died.wait()
    names = [f"lpie-sockets-{died.pid}-x", f"lpie-sockets-{os.getpid()}-x", "lpie-sockets-mine", "lpie-other"]
    for name in names:
        (tmp_path / name).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    _remove_sockets_of_the_dead()
    assert {path.name for path in tmp_path.iterdir()} == set(names[1:])
