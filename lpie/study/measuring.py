"""Measures what networks make of scenes in processes of its own, so that a GPU trains on meanwhile.

Models of the eye keep a core busy for seconds a photo, and are no faster on a GPU that trains.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch
from joblib.externals.loky import ProcessPoolExecutor, cpu_count  # copies tensors; torch would send descriptors
from torch import Tensor

from lpie.judges import load_rater
from lpie.judges.robustness import Score as Judge
from lpie.records import write_csv
from lpie.study.evaluation import measure
from lpie.study.targets import Scene

log = logging.getLogger(__name__)

AT_ONCE = 6  # scenes that a process measures before it asks for more
WAITING = 8  # runs whose outputs may wait in memory, about 0.5 GB each with their scenes
SPARE = 2  # cores left to the training
MOST = 14  # processes, each of which loads every judge: 2 GB or more

_judges: dict[str, Judge] = {}  # of this process, see `_start`


class Measuring:
    """Processes that measure outputs on the CPU. A run's table is written once all of its scenes are back."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool
        self._parts: dict[Path, list[Future[pd.DataFrame]]] = {}

    def submit(self, path: Path, run: str, outputs: Sequence[Tensor], scenes: Sequence[Scene]) -> None:
        """Have `outputs` measured as `measure` would and written to `path`; waits while too many others are left."""
        self.write_finished(WAITING - 1)
        parts = [slice(start, start + AT_ONCE) for start in range(0, len(scenes), AT_ONCE)]
        self._parts[path] = [self._pool.submit(_measure, run, outputs[part], scenes[part]) for part in parts]

    def write_finished(self, left: int = 0) -> None:
        """Write the tables that are whole, and wait until at most `left` are not; raises what a process raised."""
        for path, parts in list(self._parts.items()):
            if len(self._parts) > left or all(part.done() for part in parts):
                table = pd.concat([part.result() for part in parts], ignore_index=True)
                del self._parts[path]
                write_csv(path, table)
                log.info("%s: %.2f dB", table["run"].iloc[0], table["psnr"].mean())


def spare_processes() -> int:
    """How many may measure beside a training, by the cores that this process may use."""
    return min(MOST, cpu_count() - SPARE)


@contextmanager
def measuring(judges: Sequence[str], processes: int) -> Iterator[Measuring]:
    """`processes` that load these raters, one thread each; leaving it waits for every table."""
    pool = ProcessPoolExecutor(processes, initializer=_start, initargs=(tuple(judges),))
    beside = Measuring(pool)
    try:
        yield beside
        beside.write_finished()
    finally:
        pool.shutdown(kill_workers=True)


def _start(judges: Sequence[str]) -> None:
    torch.set_num_threads(1)
    _judges.update({name: load_rater(name, "cpu") for name in judges})


def _measure(run: str, outputs: Sequence[Tensor], scenes: Sequence[Scene]) -> pd.DataFrame:
    return measure(run, outputs, scenes, _judges, "cpu")
