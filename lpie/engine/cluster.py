"""Trains and evaluates a study on several machines through Dask: one network a task, whole results back.

    lpie study run study.toml --scheduler tcp://head:8786     # workers: dask worker tcp://head:8786 --nthreads 1
    lpie study run study.toml --scheduler local:2             # processes of this machine
    lpie study run study.toml --scheduler slurm:64            # through dask-jobqueue, as its configuration says

Start one worker for each GPU, with CUDA_VISIBLE_DEVICES set. A worker that sees the results folder reads photographs
there; to others they are sent. A task that loses its worker begins anew elsewhere, and a start after the scheduler was
lost goes on with what has not come back. Networks of one training on several GPUs: `lpie.critic_training`, by torchrun.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from lpie.critic import CRITICS
from lpie.records import sharing, write_whole
from lpie.study.settings import Profile, Study, fidelity_studies, ladder_studies, preview_studies

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

ANSWER_WITHIN = 20  # seconds
WORKERS_WITHIN = 3600  # seconds; a queue may let them wait


def train_on(scheduler: str, profile: Profile, folder: Path, threads: int | None = None) -> None:
    """Every network that the notebooks will ask for, trained and evaluated by `scheduler`'s workers, into `folder`.

    What is finished there is not done again. `threads`: of PyTorch in a task (sums depend on them in their last bits);
    else as many as here. Raises ConnectionError where the scheduler does not answer or is lost, RuntimeError that names
    the networks whose tasks failed, once all others are back.
    """
    from torch import get_num_threads

    from lpie.study.experiments import Results

    results, client = Results.of(profile, folder, "cpu"), None
    with sharing(folder), ExitStack() as stack:
        for tasks in _stages(profile, folder):
            waiting = [task for task in dict.fromkeys(tasks) if not results.have(_name(task[1]))]
            while waiting:
                client = client or stack.enter_context(client_of(scheduler))
                waiting = _gather(client, profile, waiting, folder, threads or get_num_threads())


def _stages(profile: Profile, folder: Path) -> Iterator[list[tuple[str, Study | str]]]:
    """Tasks that need no weight chosen by validation, then those that do.

    Each is an operator, and a study or the name of the operator's input or target.
    """
    from lpie.study.experiments import chosen_studies

    first: list[tuple[str, Study | str]] = []
    for operator in profile.operators:
        first += [(operator, f"{operator}-input"), (operator, f"{operator}-target")]
        kinds = (fidelity_studies, preview_studies, ladder_studies)
        first += [(operator, study) for kind in kinds for study in kind(profile, operator)]
    yield first
    if profile.critics:
        yield [(one, study) for one in profile.operators for study in chosen_studies(profile, one, folder)]


def _gather(
    client: Client, profile: Profile, tasks: list[tuple[str, Study | str]], folder: Path, threads: int
) -> list[tuple[str, Study | str]]:
    """Do the tasks and keep what comes back; returns those to be done again, since the data they needed were lost."""
    from distributed import as_completed

    from lpie.study.targets import load_scenes

    critics = {name: CRITICS[name] for name in profile.critics}
    scenes: dict[str, Any] = {}
    for operator in dict.fromkeys(operator for operator, _ in tasks):
        scenes[operator] = load_scenes(profile, operator, folder / "targets")
        if all(client.run(sees, str(folder), on_error="return").values()):
            scenes[operator] = folder / "targets"
        else:
            scenes[operator] = client.scatter(scenes[operator], broadcast=True)
    sent = {
        client.submit(
            run_task, profile, operator, wanted, scenes[operator], critics, threads, key=f"{_name(wanted)}-{uuid4()}"
        ): (operator, wanted)
        for operator, wanted in tasks
    }
    failed, lost = [], []
    for future in as_completed(sent):
        name = _name(sent[future][1])
        if future.status == "error":
            failed.append(f"{name} ({future.exception()})")
        elif future.status != "finished":
            lost.append(sent[future])
        else:
            keep_run(folder / "runs" / name, future.result())
            log.info("%s is back", name)
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(sent)} tasks failed: {'; '.join(failed)[:2000]}")
    if lost and client.status != "running":
        raise ConnectionError(f"The scheduler was lost before {len(lost)} of {len(sent)} tasks were back: start again.")
    return lost


def run_task(
    profile: Profile, operator: str, wanted: Study | str, scenes: Any, critics: Mapping[str, Any], threads: int
) -> dict[str, bytes]:
    """On a worker: train and evaluate one network, or evaluate the operator's input or target; the files of its run."""
    from importlib import import_module

    import torch

    from lpie.study.experiments import Results
    from lpie.study.targets import load_scenes

    for module in profile.modules:
        import_module(module)
    CRITICS.update(critics)
    torch.set_num_threads(threads)  # sums depend on it
    if isinstance(scenes, Path):
        scenes = load_scenes(profile, operator, scenes)
    with TemporaryDirectory(prefix="lpie-task-") as temporary:
        results = Results.of(profile, temporary)
        if isinstance(wanted, Study):
            results.add_trained([wanted], scenes)
        else:
            results.add_reference(profile, operator, wanted.rpartition("-")[2], scenes)
        place = results.folder / "runs" / _name(wanted)
        files = (path for path in place.rglob("*") if path.is_file())
        return {path.relative_to(place).as_posix(): path.read_bytes() for path in files}


def _name(wanted: Study | str) -> str:
    return wanted if isinstance(wanted, str) else wanted.name


def keep_run(place: Path, files: Mapping[str, bytes]) -> None:
    """Write a run's files; the record last, since its presence says that the run is whole."""
    for name in sorted(files, key=lambda name: name == "run.json"):
        write_whole(place / name, files[name])


def sees(folder: str) -> bool:
    """Whether a worker sees this folder."""
    return (Path(folder) / "study.json").exists()


@contextmanager
def client_of(scheduler: str) -> Iterator[Client]:
    """A client of the scheduler at an address, or of one started for `local:N` or `slurm:N`; errors as `train_on`."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ImportError("A cluster needs Dask: pip install 'lpie[cluster]'.") from error
    kind, _, count = scheduler.partition(":")
    with ExitStack() as stack:
        if kind == "local":
            from lpie.engine.provenance import usable_cores

            processes = int(count or usable_cores())
            cluster: Any = LocalCluster(n_workers=processes, threads_per_worker=1, dashboard_address=None)
        elif kind == "slurm":
            from dask_jobqueue import SLURMCluster

            cluster = SLURMCluster()
            cluster.scale(int(count or 1))
        else:
            cluster = scheduler
        if not isinstance(cluster, str):
            stack.enter_context(cluster)
        try:
            client = stack.enter_context(Client(cluster, timeout=ANSWER_WITHIN))
        except (OSError, ValueError) as error:
            raise ConnectionError(f"The scheduler {scheduler} does not answer: start it, or name another.") from error
        try:
            client.wait_for_workers(1, WORKERS_WITHIN)
        except TimeoutError as error:
            raise ConnectionError(f"The scheduler {scheduler} has no worker: `dask worker {scheduler}`.") from error
        yield client
