"""Runs the notebooks of the study in the order they build on each other, each only if something it rests on changed.

What was run, from what, and what came of it stands in `manifest.json` of the results folder. Executed notebooks lie
beside it; one that failed is kept as `<name>.failed.ipynb`.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import datetime
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import nbformat

from lpie import fingerprints
from lpie.notebook_parameters import check_names, declared_parameters
from lpie.provenance import PROJECT, file_digest, provenance, usable_cores
from lpie.records import results_folder, write_json
from lpie.study import find_profile

GRAPH: dict[str, tuple[str, ...]] = {
    "operator_targets": (),
    "aesthetic_scores": (),
    "tone_mapping": ("operator_targets",),
    "dehazing": ("operator_targets",),
    "gamma": ("tone_mapping", "dehazing"),
    "comparison": ("gamma", "aesthetic_scores"),
}
"""Each notebook and the ones whose results it reads."""

WAIT_FOR_LOCK = 20  # seconds; the processes of a killed run are gone by then


class StudyError(RuntimeError):
    """A notebook failed; the message ends with the path of its executed copy."""


def run_all(
    profile: str = "demo",
    output: Path | str | None = None,
    parameters: Mapping[str, Any] | None = None,
    *,
    notebooks: Path | str | None = None,
    graph: Mapping[str, tuple[str, ...]] = GRAPH,
    workers: int | None = None,
    force: bool = False,
) -> Path:
    """Execute every notebook whose result is not there yet or rests on something that changed.

    Arguments:
        profile: name of a profile in `study.PROFILES`.
        output: the results folder; else `results/<profile>`, with a digest of `parameters` if there are any.
        parameters: for every notebook that declares them; each must be declared by one at least.
        notebooks: the folder of notebooks; else that of the checkout.
        graph: each notebook's name and the names it builds on.
        workers: notebooks at a time; else one for every two cores. The cores are shared among them.
        force: run everything, changed or not.

    Returns the results folder. Raises ValueError for an unknown profile or parameter or a negative gamma before
    anything runs, OSError when the folder cannot be written, and StudyError when a notebook failed; those that do
    not build on it have run then. Interrupted at any moment, the next call goes on from the last finished notebook
    and the last checkpoint.
    """
    find_profile(profile)
    overrides = dict(parameters or {})
    source = Path(notebooks) if notebooks else PROJECT / "notebooks"
    declared = {name: declared_parameters(_existing(source / f"{name}.ipynb")) for name in graph}
    check_names(overrides, {key: None for names in declared.values() for key in names}, "No notebook of the study")
    check_values(overrides)
    folder = Path(output) if output else default_folder(profile, overrides)
    run = _Run(profile, overrides, source, folder.resolve(), graph, declared)
    with _locked(run.folder) as lock:
        return run.everything(workers or max(1, usable_cores() // 2), force, lock)


def default_folder(profile: str, overrides: Mapping[str, Any]) -> Path:
    """`results/<profile>`; with overrides a folder of their own, so that they never replace the profile's results."""
    folder = results_folder(profile)
    if not overrides:
        return folder
    key = hashlib.sha256(json.dumps(dict(overrides), sort_keys=True).encode()).hexdigest()[:8]
    return folder.with_name(f"{folder.name}-{key}")


def check_values(parameters: Mapping[str, Any]) -> None:
    """Raises ValueError for a negative weight gamma, alone or in a list, before hours are spent on it."""
    for name, value in parameters.items():
        if name in ("gamma", "gammas"):
            for number in value if isinstance(value, list | tuple) else [value]:
                if not isinstance(number, int | float) or not number >= 0:
                    raise ValueError(f"{name} weighs a penalty: expected numbers of at least 0, got {value!r}.")


class _Run:
    """One pass over the graph; the manifest is written after every change of state."""

    def __init__(
        self,
        profile: str,
        overrides: dict[str, Any],
        source: Path,
        folder: Path,
        graph: Mapping[str, tuple[str, ...]],
        declared: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self.profile, self.overrides, self.source, self.folder = profile, overrides, source, folder
        self.graph, self.declared = graph, declared
        self.began = time.monotonic()
        self.speaking = threading.Lock()
        self.children: set[subprocess.Popen[str]] = set()
        self.stopping = False
        self.manifest: dict[str, Any] = {"notebooks": {}}
        self.digests: dict[str, str] = {}

    def everything(self, workers: int, force: bool, lock: int) -> Path:
        self.manifest["notebooks"] = self._read_manifest()
        self.say("", f"profile {self.profile}: {len(self.graph)} notebooks, results in {self.folder}")
        order = TopologicalSorter(self.graph)
        order.prepare()
        self._write_manifest(None)
        pending: dict[Future[None], str] = {}
        pool = ThreadPoolExecutor(workers)
        try:
            while order.is_active():
                for name in order.get_ready():
                    reason = self._reason_to_run(name, force)
                    if reason is None:
                        order.done(name)
                    else:
                        self.say(name, f"runs: {reason}")
                        pending[pool.submit(self._execute, name, reason, workers, lock)] = name
                done, _ = wait(pending, return_when=FIRST_COMPLETED) if pending else (set(), None)
                for future in done:
                    future.result()
                    order.done(pending.pop(future))
        except BaseException:
            self.say("", "stopped; the next start goes on from here")
            raise
        finally:
            self.stopping = True
            for child in list(self.children):
                if child.stdin:
                    child.stdin.close()  # the sign for it to end, see notebook_run
            pool.shutdown(cancel_futures=True)
        return self._conclude()

    # What is to be done ------------------------------------------------------------------------------------------

    def _reason_to_run(self, name: str, force: bool) -> str | None:
        """Why the notebook has to run, or None if it is finished as things stand or cannot run."""
        states = self.manifest["notebooks"]
        if failed := [other for other in self.graph[name] if states.get(other, {}).get("status") != "finished"]:
            states[name] = {**states.get(name, {}), "status": "skipped", "reason": f"{failed[0]} did not finish"}
            self.say(name, f"skipped: {failed[0]} did not finish")
            self._write_manifest(None)
            return None
        notebook = self.source / f"{name}.ipynb"
        upstream = {other: self.digests[other] for other in self.graph[name]}
        now = fingerprints.fingerprint(notebook, self._parameters(name), upstream)
        self.digests[name] = fingerprints.digest(now)
        before = states.get(name, {})
        reason = self._difference(before, now) if not force else "asked for"
        if reason is None:
            self.say(name, f"unchanged since {before['finished']}")
            return None
        states[name] = {"status": "running", "fingerprint": now, "reason": reason}
        self._write_manifest(None)
        return reason

    def _difference(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
        if before.get("status") != "finished":
            reasons = {"running": "it was interrupted", "failed": "it failed", "skipped": "it was skipped"}
            return reasons.get(before.get("status", ""), "it has not run here yet")
        missing = [file for file in before["outputs"] if not (self.folder / file).is_file()]
        if missing:
            return f"{missing[0]} is missing"
        return fingerprints.difference(before["fingerprint"], now) or None

    def _parameters(self, name: str) -> dict[str, Any]:
        given = {"profile": self.profile, **self.overrides}
        return {key: value for key, value in given.items() if key in self.declared[name]}

    # Doing it ----------------------------------------------------------------------------------------------------

    def _execute(self, name: str, reason: str, workers: int, lock: int) -> None:
        """Run one notebook in its own process; its executed copy takes its name only when all cells have run."""
        running = self.folder / f".{name}.running.ipynb"
        finished, failed = self.folder / f"{name}.ipynb", self.folder / f"{name}.failed.ipynb"
        began, started = time.monotonic(), time.time()
        running.unlink(missing_ok=True)
        command = [sys.executable, "-m", "lpie.notebook_run", str(self.source / f"{name}.ipynb"), str(running)]
        command += [json.dumps(self._parameters(name)), str(lock)]
        threads = str(max(1, usable_cores() // workers))
        environment = {**os.environ, "LPIE_RESULTS": str(self.folder), "OMP_NUM_THREADS": threads}
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            pass_fds=(lock,),
            start_new_session=True,
        )
        self.children.add(child)
        last = self._retell(name, child.stdout) if child.stdout else ""
        status = child.wait()
        self.children.discard(child)
        if self.stopping:
            return  # still marked as running: the next start says that it was interrupted
        seconds = round(time.monotonic() - began, 1)
        state = self.manifest["notebooks"][name]
        if status == 0:
            os.replace(running, finished)
            failed.unlink(missing_ok=True)
            now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
            state |= {
                "status": "finished",
                "finished": now,
                "seconds": seconds,
                "outputs": self._written_since(started),
            }
            self.say(name, f"finished in {_clock(seconds)}")
        else:
            if running.exists():
                os.replace(running, failed)
            state |= {"status": "failed", "seconds": seconds, "error": _error_in(failed) or last}
            self.say(name, f"failed after {_clock(seconds)}: {state['error']}")
        self._write_manifest(None)

    def _retell(self, name: str, lines: Iterable[str]) -> str:
        last = ""
        for line in lines:
            if line.strip():
                last = line.strip()
                self.say(name, "| " + line.rstrip())
        return last

    def _written_since(self, started: float) -> list[str]:
        """The files of the results folder that are new since then: executed notebook, tables, figures."""
        found = [path for path in self.folder.rglob("*") if path.is_file() and path.stat().st_mtime >= started - 1]
        names = [path.relative_to(self.folder).as_posix() for path in found]
        kept = [
            name for name in names if not name.startswith(("runs/", "manifest.json", "run_all")) and "/." not in name
        ]
        return sorted(name for name in kept if not name.startswith(".") and not name.endswith(".failed.ipynb"))

    # Saying and writing it ---------------------------------------------------------------------------------------

    def say(self, name: str, text: str) -> None:
        width = max(map(len, self.graph))
        with self.speaking:
            print(f"{_clock(time.monotonic() - self.began):>6}  {name:{width}}  {text}", flush=True)

    def _read_manifest(self) -> dict[str, Any]:
        path = self.folder / "manifest.json"
        if not path.exists():
            return {}
        try:
            notebooks = json.loads(path.read_text(encoding="utf-8"))["notebooks"]
            return {name: dict(notebooks[name]) for name in self.graph if name in notebooks}
        except (ValueError, KeyError, TypeError, UnicodeDecodeError):
            self.say("", f"{path} is no manifest: everything runs again")
            return {}

    def _write_manifest(self, seconds: float | None) -> None:
        with self.speaking:
            write_json(self.folder / "manifest.json", self.manifest)

    def _conclude(self) -> Path:
        states = self.manifest["notebooks"]
        seconds = round(time.monotonic() - self.began, 1)
        self.manifest["provenance"] = provenance(self.profile, self.overrides, seconds)
        outputs = sorted({file for state in states.values() for file in state.get("outputs", [])})
        self.manifest["sha256"] = {file: file_digest(self.folder / file) for file in outputs}
        self._write_manifest(seconds)
        failed = [name for name in self.graph if states[name]["status"] == "failed"]
        if failed:
            skipped = [name for name in self.graph if states[name]["status"] == "skipped"]
            raise StudyError(
                f"{', '.join(failed)} failed"
                + (f", {', '.join(skipped)} skipped" if skipped else "")
                + f": {states[failed[0]]['error']}\n{self.folder / f'{failed[0]}.failed.ipynb'}"
            )
        self.say("", f"done in {_clock(seconds)}: {self.folder}")
        return self.folder


def _existing(notebook: Path) -> Path:
    if not notebook.is_file():
        raise FileNotFoundError(f"The study's notebook {notebook} is missing: run from a checkout of the project.")
    return notebook


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Makes the folder, sees that it can be written, and keeps every other run out of it while this one lasts."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        why = "the disk is full" if error.errno == errno.ENOSPC else str(error.strerror).lower()
        raise OSError(
            error.errno, f"The results folder {folder} cannot be written ({why}): name another one."
        ) from error
    try:
        _take(handle, folder)
        yield handle
    finally:
        os.close(handle)


def _take(handle: int, folder: Path) -> None:
    for left in range(WAIT_FOR_LOCK, -1, -1):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if not left:
                raise BlockingIOError(
                    errno.EWOULDBLOCK, f"Another run is at work in {folder}: wait for it, or name another folder."
                ) from error
            time.sleep(1)
        else:
            return


def _error_in(notebook: Path) -> str:
    """The error that an executed notebook ends with, or nothing if there is none."""
    if not notebook.exists():
        return ""
    for cell in nbformat.read(notebook, as_version=4).cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                return f"{output.ename}: {output.evalue}"
    return ""


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
