"""Measures what networks make of scenes in processes of its own, so that a GPU trains on meanwhile.

Most of what `evaluation.measure` computes is a model of eyes that needs a core for two seconds a photo and is no
faster on a GPU which trains: 105 scenes took 100 s there, 16 cores do them in 20 s.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load, save
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

TENSORS = ("photo", "target", "airlight", "transmission", "truth")  # of a scene

_judges: dict[str, Judge] = {}  # of this process, see `_start`


class Measuring:
    """Processes that measure outputs on the CPU. A run's table is written once all of its scenes are back."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool
        self._parts: dict[Path, list[Future[pd.DataFrame]]] = {}

    def submit(self, path: Path, run: str, outputs: Sequence[Tensor], scenes: Sequence[Scene]) -> None:
        """Have `outputs` measured as `measure` would and written to `path`; waits while too many others are left."""
        self.write_finished(WAITING - 1)
        self._parts[path] = [
            self._pool.submit(_measure, run, *_sent(outputs[start : start + AT_ONCE], scenes[start : start + AT_ONCE]))
            for start in range(0, len(scenes), AT_ONCE)
        ]

    def write_finished(self, left: int = 0) -> None:
        """Write the tables that are whole, and wait until at most `left` are not; raises what a process raised."""
        for path, parts in list(self._parts.items()):
            if len(self._parts) > left or all(part.done() for part in parts):
                table = pd.concat([part.result() for part in parts], ignore_index=True)
                del self._parts[path]
                write_csv(path, table)
                log.info("%s: %.2f dB", table["run"].iloc[0], table["psnr"].mean())


@contextmanager
def measuring(judges: Sequence[str], processes: int) -> Iterator[Measuring]:
    """`processes` that load these raters, one thread each; leaving it waits for every table."""
    with ProcessPoolExecutor(processes, get_context("spawn"), _start, (tuple(judges),)) as pool:
        beside = Measuring(pool)
        try:
            yield beside
            beside.write_finished()
        finally:
            pool.shutdown(cancel_futures=True)


def spare_cores() -> int:
    """How many processes may measure beside a training."""
    return max(0, (os.cpu_count() or 1) - SPARE)


def _start(judges: Sequence[str]) -> None:
    torch.set_num_threads(1)
    _judges.update({name: load_rater(name, "cpu") for name in judges})


def _measure(run: str, sent: bytes, known: Sequence[dict[str, Any]]) -> pd.DataFrame:
    tensors = load(sent)
    outputs = [tensors[f"{place} output"] for place in range(len(known))]
    scenes = [
        Scene(**fields | {name: tensors[key] for name in TENSORS if (key := f"{place} {name}") in tensors})
        for place, fields in enumerate(known)
    ]
    return measure(run, outputs, scenes, _judges, "cpu")


def _sent(outputs: Sequence[Tensor], scenes: Sequence[Scene]) -> tuple[bytes, list[dict[str, Any]]]:
    """Tensors as bytes: torch would send a file descriptor for each, of which there are not enough."""
    tensors = {f"{place} output": output for place, output in enumerate(outputs)}
    for place, scene in enumerate(scenes):
        tensors |= {f"{place} {name}": getattr(scene, name) for name in TENSORS if getattr(scene, name) is not None}
    copies = {key: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in tensors.items()}
    return save(copies), [{"name": scene.name, "split": scene.split} for scene in scenes]
