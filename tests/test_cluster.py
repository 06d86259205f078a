"""A study on a Dask cluster: the same tables as in one process, resumable; a lost scheduler is named."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from lpie.study.experiments import run_studies
from lpie.study.settings import Lists, Photographs, Schedule, fidelity_studies, ladder_studies, preview_studies
from lpie.study.study_file import find_profile

distributed = pytest.importorskip("distributed")

from distributed import Client  # noqa: E402

from lpie.engine import cluster  # noqa: E402 - without Dask there is nothing to test

SMALL = replace(
    find_profile("smoke"),
    operators=("tone",),
    fidelities=("l2",),
    gammas=(0.01,),
    judges=("niqe",),
    shortest_side=48,
    photographs=(Photographs(set="demo", split=Lists(("astronaut",), ("coffee",), ("china",))),),
    schedule=Schedule(steps=2, batch=1, sides=(32,), checkpoint_every=2, validate_every=2),
)


def kill_a_busy_worker(client: Client, seconds: float = 60) -> str:
    """Kills, as the system would, the first worker seen at a task; its address."""
    processes = client.run(os.getpid)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        busy = [worker for worker, tasks in client.processing().items() if tasks and worker in processes]
        if busy:
            os.kill(processes[busy[0]], signal.SIGKILL)
            return busy[0]
        time.sleep(0.05)
    raise TimeoutError("no worker had a task")


@pytest.mark.slow
def test_two_workers_one_of_them_killed_make_the_bytes_of_one_process_and_a_second_start_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    studies = [study for kind in (fidelity_studies, preview_studies, ladder_studies) for study in kind(SMALL, "tone")]
    monkeypatch.setattr(cluster, "sees", lambda _: False)  # as on other machines: photographs are sent
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as machines,
        distributed.Client(machines) as client,
    ):
        killed: list[str] = []
        killing = threading.Thread(target=lambda: killed.append(kill_a_busy_worker(client)))
        killing.start()
        cluster.train_on(machines.scheduler_address, SMALL, there)
        killing.join()
        assert killed[0] not in client.scheduler_info()["workers"]
    run_studies(SMALL, studies, here, "cpu")
    names = {path.name for path in (here / "runs").iterdir()}
    assert names == {path.name for path in (there / "runs").iterdir()}
    for name in names:
        one, other = (
            {path.relative_to(folder / "runs" / name): path.read_bytes() for path in files(folder / "runs" / name)}
            for folder in (here, there)
        )
        assert one == other, name
    before = {path: path.stat().st_mtime_ns for path in there.rglob("*")}
    cluster.train_on("tcp://127.0.0.1:9", SMALL, there)  # nobody answers there, and nobody is asked
    assert {path: path.stat().st_mtime_ns for path in before} == before


def files(run: Path) -> list[Path]:
    """Of a run, but for the record, in which seconds stand."""
    return [path for path in run.rglob("*") if path.is_file() and path.name != "run.json"]


def test_a_scheduler_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "ANSWER_WITHIN", 1)
    with pytest.raises(ConnectionError, match=r"tcp://127\.0\.0\.1:9 does not answer"):
        cluster.train_on("tcp://127.0.0.1:9", SMALL, tmp_path)


def test_a_run_that_came_back_is_whole_only_with_its_record(tmp_path: Path) -> None:
    cluster.keep_run(
        tmp_path / "run", {"run.json": json.dumps({}).encode(), "crops/a.png": b"x", "scores.csv": b"run\n"}
    )
    assert pd.read_csv(tmp_path / "run" / "scores.csv").empty
    assert (tmp_path / "run" / "crops" / "a.png").read_bytes() == b"x"


QUEUE = """#!/bin/sh
# What a queue does with a job, at once and here: keeps the script, starts it, and answers with its number.
cp "$1" "$QUEUE_LOG.sh"
sh "$QUEUE_LOG.sh" > "$QUEUE_LOG" 2>&1 &
echo "Submitted batch job $!"
"""


@pytest.mark.slow
def test_a_job_of_slurm_trains_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through dask-jobqueue's own job script, handed to a stand-in for `sbatch`: no SLURM is at hand."""
    pytest.importorskip("dask_jobqueue")
    import dask

    for name, text in (("sbatch", QUEUE), ("scancel", '#!/bin/sh\nkill "$1" || true\n')):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("QUEUE_LOG", str(tmp_path / "job.log"))
    asked = {"cores": 1, "memory": "4GB", "processes": 1, "death-timeout": 60, "interface": "lo"}
    with dask.config.set({"jobqueue.slurm": {**dask.config.get("jobqueue.slurm", {}), **asked}}):
        cluster.train_on("slurm:1", replace(SMALL, critics=()), tmp_path / "results")
    trained = [path.parent.name for path in (tmp_path / "results").glob("runs/*/weights.safetensors")]
    assert [name.rpartition("-")[0] for name in trained] == ["tone-grid-l2-s0"]
    assert "dask" in (tmp_path / "job.log").read_text()


def test_local_starts_as_many_processes_as_asked_for() -> None:
    with cluster.client_of("local:1") as client:
        assert len(client.scheduler_info()["workers"]) == 1
