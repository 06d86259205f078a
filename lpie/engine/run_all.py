"""Runs the notebooks of the study in the order they build on each other, each only if something it rests on changed.

What was run, from what, and what came of it stands in `manifest.json` of the results folder, where all of it comes
from in `provenance.json`. Executed notebooks lie beside them; one that failed is kept as `<name>.failed.ipynb`.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from lpie.engine import fingerprints
from lpie.engine.manifest import Manifest
from lpie.engine.notebook_parameters import (
    STUDY_PARAMETERS,
    cells_of,
    declared_parameters,
    folder_of,
    start_notebook,
    write_study,
)
from lpie.engine.provenance import PROJECT, provenance, usable_cores
from lpie.evidence.results import read_results
from lpie.names import find
from lpie.records import atomic_path, exclusive, write_json
from lpie.study.settings import Profile, digest_of
from lpie.study.sources import find_sources, refuse_overlaps
from lpie.study.study_file import asked_profile


def study_graph(operators: Iterable[str], own: bool = False) -> dict[str, tuple[str, ...]]:
    """Each notebook and the ones whose results it reads; `learning` comes once for each operator.

    Of those that can run, the first of it do: training, on which others wait, comes before the rest. What follows a
    hyphen in a name is the parameter `operator` of the notebook before it. A study of one's `own` photographs does
    without the notebooks on operators, critics and judges themselves.
    """
    learning = {f"learning-{operator}": () for operator in operators}
    checks = () if own else ("aesthetic_scores", "instruments")
    graph = {**learning, "gamma": tuple(learning), **dict.fromkeys(checks, ()), "comparison": ("gamma", *checks)}
    targets = {"tone": "tone_targets", "dehaze": "haze_targets"}
    return graph if own else graph | {targets[name]: () for name in operators if name in targets} | {"taste": ()}


class StudyError(RuntimeError):
    """A notebook failed; the message ends with the path of its executed copy."""


def run_all(
    profile: str | Path = "demo",
    output: Path | str | None = None,
    parameters: Mapping[str, Any] | None = None,
    *,
    notebooks: Path | str | None = None,
    graph: Mapping[str, tuple[str, ...]] | None = None,
    workers: int | None = None,
    force: bool = False,
    scheduler: str | None = None,
) -> Path:
    """Execute every notebook whose result is not there yet or rests on something that changed.

    Arguments:
        profile: name of a built-in profile, or a study file.
        output: the results folder; else `results/<profile>`, with a digest of `parameters` if there are any.
        parameters: for every notebook that declares them; each must be declared by one at least.
        notebooks: the folder of notebooks; else that of the checkout or of the installed package.
        graph: each notebook's name and the names it builds on; else `study_graph` of the profile's operators.
        workers: notebooks at a time; else two on two cores or more. The cores are shared among them.
        force: run everything, changed or not.
        scheduler: where networks are trained first: see `lpie.engine.cluster`.

    Returns the results folder. Raises ValueError for an unknown profile, parameter or value before anything runs,
    OSError when the folder cannot be written, and StudyError when a notebook failed; those that do not build on it have
    run then. Interrupted at any moment, the next call goes on from the last finished notebook and the last checkpoint.
    """
    overrides = {name: value for name, value in (parameters or {}).items() if value is not None}
    given = {"study": str(Path(profile).absolute())} if str(profile).endswith(".toml") else {"profile": str(profile)}
    settings, _ = asked_profile({name: overrides[name] for name in STUDY_PARAMETERS if name in overrides} | given)
    own = "study" in given
    graph = graph or study_graph(settings.operators, own)
    source = Path(notebooks) if notebooks else notebooks_folder()
    files = {name: source / f"{name.partition('-')[0]}.ipynb" for name in graph}
    for path in files.values():
        if not path.is_file():
            raise FileNotFoundError(f"The study's notebook {path} is missing: run from a checkout of the project.")
    declared = {name: declared_parameters(path) for name, path in files.items()}
    for name in overrides:
        find({key: None for names in declared.values() for key in names}, name, "parameter of the study")
    folder = (Path(output) if output else folder_of(settings.name, overrides)).resolve()
    asked = {}
    for name in graph:
        operator = name.partition("-")[2]
        wanted = given | overrides | ({"operator": operator} if operator else {})
        asked[name] = {key: value for key, value in wanted.items() if key in declared[name]}
    if not (folder / "targets").exists():
        for operator in settings.operators:
            refuse_overlaps(find_sources(settings, operator))
    workers = workers or min(2, usable_cores())  # the study's graph is hardly wider
    with exclusive(folder) as lock:
        run = _Run(files, folder, graph, asked, settings, workers, lock)
        run.say("", f"{settings.name}: {len(graph)} notebooks, results in {folder}")
        origin = provenance(settings, overrides)
        write_json(folder / "provenance.json", origin)  # the report shows it, so it is there before
        write_study(folder, settings)
        if scheduler:
            from lpie.engine.cluster import train_on

            train_on(scheduler, settings, folder, threads=max(1, usable_cores() // workers))  # as a notebook would
        run.everything(force)
        write_json(folder / "provenance.json", {**origin, "wall_seconds": run.seconds()})
        run.manifest.conclude()
        if own:
            for line in keep_enhancers(folder):
                run.say("", line)
    return run.verdict()


def keep_enhancers(folder: Path) -> Iterator[str]:
    """The network of each operator that is nearest to the target where weights are chosen, as `<operator>.safetensors`.

    Yields how to use each.
    """
    with suppress(FileNotFoundError):  # nothing was finished
        runs, scores = read_results(folder)
        nearest = scores[scores["split"] == "validation"].groupby("run")["psnr"].mean()
        trained = [run for run in runs["run"] if (folder / "runs" / run / "weights.safetensors").exists()]
        for operator, names in runs[runs["run"].isin(trained)].groupby("operator")["run"]:
            best = str(nearest[list(names)].idxmax())
            kept = folder / f"{str(operator).replace(':', '.')}.safetensors"
            with atomic_path(kept) as temporary:
                shutil.copyfile(folder / "runs" / best / "weights.safetensors", temporary)
            yield f"nearest to the target, {nearest[best]:.1f} dB: {best}; use it by"
            yield f"  lpie enhance PHOTO -o OUT --weights {shlex.quote(str(kept))}"


def run_study(given: Mapping[str, Any]) -> Path:
    """`run_all` as the parameters of a notebook ask for it; `given`: the notebook's `globals()`."""
    start_notebook()
    parameters = {name: given[name] for name in STUDY_PARAMETERS if name in given}
    profile, study = parameters.pop("profile"), parameters.pop("study")
    return run_all(study or profile, parameters=parameters)


def notebooks_folder() -> Path:
    """The notebooks: of the checkout, else those in the installed package."""
    checkout = PROJECT / "notebooks"
    return checkout if checkout.is_dir() else PROJECT / "lpie" / "notebooks"


@dataclass
class _Run:
    """One pass over the graph."""

    files: Mapping[str, Path]
    folder: Path
    graph: Mapping[str, tuple[str, ...]]
    parameters: Mapping[str, Mapping[str, Any]]
    settings: Profile
    workers: int
    lock: int

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        self.speaking = threading.Lock()
        self.manifest = Manifest(self.folder)
        self.digests: dict[str, str] = {}
        self.children: set[subprocess.Popen[str]] = set()
        self.stopping = False
        if self.manifest.damaged:
            self.say("", f"{self.manifest.path} is no manifest: everything runs again")
        if said := self.manifest.renew_networks(fingerprints.training_fingerprint()):
            self.say("", said)

    def everything(self, force: bool) -> None:
        """Each notebook once those it builds on are done, the first of the graph first; returns when none can run."""
        order = TopologicalSorter(self.graph)
        order.prepare()
        running: dict[Future[None], str] = {}
        waiting: dict[str, tuple[str, fingerprints.Fingerprint]] = {}
        pool = ThreadPoolExecutor(self.workers)
        try:
            while order.is_active():
                for name in order.get_ready():
                    now = self._fingerprint(name)
                    if reason := self._reason_to_run(name, now, force):
                        waiting[name] = reason, now
                    else:
                        order.done(name)
                for name in [name for name in self.graph if name in waiting][: self.workers - len(running)]:
                    running[pool.submit(self._execute, name, *waiting.pop(name))] = name
                for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
                    future.result()
                    order.done(running.pop(future))
        except BaseException:
            self.say("", "stopped: the next start goes on from here")
            raise
        finally:
            self.stopping = True
            for child in list(self.children):
                if child.stdin:
                    child.stdin.close()  # its sign to end, see notebook_run
            pool.shutdown(cancel_futures=True)

    def verdict(self) -> Path:
        """The results folder; raises StudyError if a notebook failed."""
        failed = [name for name in self.graph if self.manifest.status(name) == "failed"]
        if failed:
            skipped = [name for name in self.graph if self.manifest.status(name) == "skipped"]
            what = f"{' and '.join(failed)} failed" + (f"; skipped: {', '.join(skipped)}" if skipped else "")
            error = self.manifest.states[failed[0]]["error"]
            raise StudyError(f"{what}. {error}\n{self._copy(failed[0], 'failed')}")
        page = self.folder / "report.html"
        self.say("", f"done in {_clock(self.seconds())}: {page if page.exists() else self.folder}")
        return self.folder

    def _fingerprint(self, name: str) -> fingerprints.Fingerprint:
        upstream = {other: self.digests[other] for other in self.graph[name]}
        now = fingerprints.fingerprint(self.files[name], self.parameters[name], upstream, self.settings)
        self.digests[name] = digest_of(now)
        return now

    def _reason_to_run(self, name: str, now: fingerprints.Fingerprint, force: bool) -> str:
        """Why the notebook has to run; empty if it is finished as things stand, or if it cannot run."""
        for other in self.graph[name]:
            if self.manifest.status(other) != "finished":
                self.manifest.skip(name, f"{other} did not finish")
                self.say(name, f"skipped: {other} did not finish")
                return ""
        reason = "asked for" if force else self.manifest.reason_to_run(name, now)
        if not reason:
            self.say(name, f"unchanged since {self.manifest.states[name]['finished']}")
        return reason

    def _execute(self, name: str, reason: str, now: fingerprints.Fingerprint) -> None:
        """Run one notebook in its own process; its executed copy takes its name only when all cells have run."""
        self.say(name, f"runs: {reason}")
        self.manifest.begin(name, reason, now)
        failed = self._copy(name, "failed")
        running, record = (failed.with_name(f".{failed.stem}{end}") for end in (".running.ipynb", ".outputs"))
        for leftover in (running, record):
            leftover.unlink(missing_ok=True)
        began = time.monotonic()
        with self._start(name, running, record) as child:
            self.children.add(child)
            last = self._retell(name, child.stdout or ())
            status = child.wait()
            self.children.discard(child)
        if self.stopping:
            return  # still marked as running: the next start says that it was interrupted
        seconds = round(time.monotonic() - began, 1)
        if status == 0:
            os.replace(running, self._copy(name))
            failed.unlink(missing_ok=True)
            self.manifest.finish(name, seconds, [*self.manifest.written(record), self._copy(name).name])
            record.unlink(missing_ok=True)
            self.say(name, f"finished in {_clock(seconds)}")
        else:
            if running.exists():
                os.replace(running, failed)
            self.manifest.fail(name, seconds, _error_in(failed) or last)
            self.say(name, f"failed after {_clock(seconds)}: {self.manifest.states[name]['error']}")

    def _start(self, name: str, output: Path, record: Path) -> subprocess.Popen[str]:
        threads = str(max(1, usable_cores() // self.workers))
        parameters = json.dumps(dict(self.parameters[name]))
        return subprocess.Popen(
            [sys.executable, "-m", "lpie.engine.notebook_run", self.files[name], output, parameters, str(self.lock)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                **os.environ,
                "LPIE_RESULTS": str(self.folder),
                "LPIE_LOCKED": str(self.folder),
                "LPIE_OUTPUTS": str(record),  # where the notebook's process notes what it writes
                "OMP_NUM_THREADS": threads,
            },
            pass_fds=(self.lock,) if os.name == "posix" else (),
            start_new_session=True,  # Ctrl-C reaches this process alone, which then ends the others
        )

    def _retell(self, name: str, lines: Iterable[str]) -> str:
        """Pass on what the notebook says; returns its last line."""
        last = ""
        for line in lines:
            last = line.strip() or last
            self.say(name, "| " + line.rstrip())
        return last

    def _copy(self, name: str, state: str = "") -> Path:
        return self.folder / ".".join(filter(None, (name.replace(":", "."), state, "ipynb")))

    def say(self, name: str, text: str) -> None:
        width = max(map(len, self.graph))
        with self.speaking:
            print(f"{_clock(self.seconds()):>6}  {name:{width}}  {text}", flush=True)

    def seconds(self) -> float:
        return round(time.monotonic() - self.began, 1)


def _error_in(notebook: Path) -> str:
    """The error that an executed notebook ends with, or nothing if there is none."""
    outputs = [output for cell in cells_of(notebook) for output in cell.get("outputs", ())] if notebook.exists() else []
    errors = [f"{output['ename']}: {output['evalue']}" for output in outputs if output["output_type"] == "error"]
    return errors[-1] if errors else ""


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
