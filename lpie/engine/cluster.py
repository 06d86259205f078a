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
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from lpie.critic import CRITICS
from lpie.records import atomic_path, sharing
from lpie.study.settings import Profile, Study, fidelity_studies, ladder_studies, preview_studies

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

ANSWER_WITHIN = 20  # seconds


def train_on(scheduler: str, profile: Profile, folder: Path) -> None:
    """Every network that the notebooks will ask for, trained and evaluated by `scheduler`'s workers, into `folder`.

    What is finished there is not done again. Raises ConnectionError where the scheduler does not answer, RuntimeError
    that names the networks whose tasks failed, once all others are back.
    """
    from lpie.study.experiments import stage_studies

    with sharing(folder), _client(scheduler) as client:
        first = [
            study
            for operator in profile.operators
            for kind in (fidelity_studies, preview_studies, ladder_studies)
            for study in kind(profile, operator)
        ]
        _gather(client, profile, dict.fromkeys(first), folder)
        headline = [
            study for operator in profile.operators for study in stage_studies(profile, operator, "headline", folder)
        ]
        _gather(client, profile, headline, folder)


def _gather(client: Client, profile: Profile, studies: Iterable[Study], folder: Path) -> None:
    from distributed import as_completed
    from torch import get_num_threads

    from lpie.study.experiments import is_evaluated, load_judges
    from lpie.study.targets import load_scenes

    judges = load_judges(profile, "cpu")
    critics = {name: CRITICS[name] for name in profile.critics}
    tasks: dict[Any, str] = {}
    for operator in profile.operators:
        wanted: list[Study | str] = [study for study in studies if study.operator == operator]
        wanted = [f"{operator}-input", f"{operator}-target", *wanted]
        wanted = [one for one in wanted if not is_evaluated(folder, _name(one), judges)]
        if not wanted:
            continue
        scenes: Any = load_scenes(profile, operator, folder / "targets")
        if all(client.run(_sees, str(folder)).values()):
            scenes = folder / "targets"
        else:
            scenes = client.scatter(scenes, broadcast=True)
        for one in wanted:
            future = client.submit(
                run_task,
                profile,
                operator,
                one,
                scenes,
                critics,
                get_num_threads(),
                key=f"lpie-{_name(one)}",
                pure=False,
            )
            tasks[future] = _name(one)
    failed = []
    for future in as_completed(tasks):
        if future.status == "error":
            failed.append(f"{tasks[future]} ({future.exception()})")
        else:
            _keep(folder / "runs" / tasks[future], future.result())
            log.info("%s is back", tasks[future])
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(tasks)} tasks failed: {'; '.join(failed)[:2000]}")


def run_task(
    profile: Profile, operator: str, wanted: Study | str, scenes: Any, critics: Mapping[str, Any], threads: int
) -> dict[str, bytes]:
    """On a worker: train and evaluate one network, or evaluate the operator's input or target; the files of its run."""
    from importlib import import_module

    import torch

    from lpie.study.experiments import load_judges, reference_run, train_and_evaluate
    from lpie.study.targets import load_scenes
    from lpie.study.training import default_device

    for module in profile.modules:
        import_module(module)
    CRITICS.update(critics)
    torch.set_num_threads(threads)  # sums depend on it
    device = default_device()
    judges = load_judges(profile, device)
    if isinstance(scenes, Path):
        scenes = load_scenes(profile, operator, scenes)
    with TemporaryDirectory(prefix="lpie-task-") as temporary:
        folder = Path(temporary)
        if isinstance(wanted, Study):
            train_and_evaluate([wanted], scenes, folder, device, judges)
        else:
            reference_run(profile, operator, wanted.rpartition("-")[2], scenes, folder, device, judges)
        place = folder / "runs" / _name(wanted)
        files = (path for path in place.rglob("*") if path.is_file())
        return {path.relative_to(place).as_posix(): path.read_bytes() for path in files}


def _name(wanted: Study | str) -> str:
    return wanted if isinstance(wanted, str) else wanted.name


def _keep(place: Path, files: Mapping[str, bytes]) -> None:
    """Write a run's files; the record last, since its presence says that the run is whole."""
    for name in sorted(files, key=lambda name: name == "run.json"):
        with atomic_path(place / name) as temporary:
            temporary.write_bytes(files[name])


def _sees(folder: str) -> bool:
    return (Path(folder) / "study.json").exists()


@contextmanager
def _client(scheduler: str) -> Iterator[Client]:
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ImportError("A cluster needs Dask: pip install 'lpie[cluster]'.") from error
    kind, _, count = scheduler.partition(":")
    if kind == "local":
        from lpie.engine.provenance import usable_cores

        with (
            LocalCluster(int(count or usable_cores()), threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            yield client
    elif kind == "slurm":
        from dask_jobqueue import SLURMCluster

        with SLURMCluster() as cluster, Client(cluster) as client:
            cluster.scale(int(count or 1))
            yield client
    else:
        try:
            client = Client(scheduler, timeout=ANSWER_WITHIN)
        except (OSError, ValueError) as error:
            raise ConnectionError(f"The scheduler {scheduler} does not answer: start it, or name another.") from error
        with client:
            yield client
