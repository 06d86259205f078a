"""Runs the kernels of the sampled local Laplacian filter on the CPU, over bands of rows in torch's threads."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lpie.fast import local_laplacian_numba as kernels
from lpie.fast.local_laplacian_taps import Taps

VOLUME = 2**25  # values of the half-size volume held at a time: 128 MiB, and a third more for the coarser ones
COLUMNS = 2**31  # of a row that share one place in the sums of gradients: all
BANDS = 4  # of rows for each thread, which even out rows that take longer
ROW_WORK = 2**16  # values below which a kernel is not worth a second thread


class Runner:
    """Calls a kernel of `local_laplacian_kernels` by name, for all rows of its output."""

    volume, columns = VOLUME, COLUMNS

    def __init__(self, pool: ThreadPoolExecutor, threads: int) -> None:
        self.pool, self.threads = pool, threads

    def __call__(self, name: str, output: Tensor, *arguments: Any) -> None:
        """Run kernel `name` with `arguments`, which end with the outputs; `output` is the one whose rows count."""
        kernel = partial(getattr(kernels, name), *map(_array, arguments))
        rows = output.shape[0] * output.shape[1]
        if self.threads == 1 or output.numel() < ROW_WORK:
            return kernel(0, rows)
        edges = np.linspace(0, rows, min(rows, BANDS * self.threads) + 1).astype(int).tolist()
        list(self.pool.map(kernel, edges[:-1], edges[1:]))


@contextmanager
def runner() -> Iterator[Runner]:
    """A runner on as many threads as torch uses."""
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads) as pool:
        yield Runner(pool, threads)


def _array(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return argument.numpy()
    return tuple(tensor.numpy() for tensor in argument) if isinstance(argument, Taps) else argument
