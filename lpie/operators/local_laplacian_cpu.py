"""The sampled local Laplacian filter on the CPU, float32, with its gradient: the order in which the kernels run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from lpie.operators import local_laplacian_kernels as kernels
from lpie.operators.pyramids import expansion, reduction

Array = NDArray[np.float32]
Run = Callable[..., None]

VOLUME = 2**25  # values of the half-size volume held at a time: 128 MiB, and a third more for the coarser ones
CENTERS = 16  # held at a time where a volume is only reduced
BANDS = 4  # of rows for each thread, which even out rows that take longer
ROW_WORK = 2**16  # values below which a kernel is not worth a second thread
NONE = np.zeros((0, 0, 0), np.float32)
NO_STARTS = np.zeros((0, 0, 0), np.int32)


class Taps(NamedTuple):
    """Samples of another level that make up one of this level, and their weights, for rows and for columns."""

    rows: NDArray[np.int32]
    row_weights: Array
    columns: NDArray[np.int32]
    column_weights: Array


def forward(
    values: Tensor, offsets: Tensor, table: Tensor, samples: int, levels: int, with_slopes: bool
) -> tuple[Tensor, list[Array]]:
    """The filtered `values` (N, 1, H, W) and, if asked, how each level's coefficients grow with their center."""
    image = values.numpy()[:, 0]
    with _threads() as run:
        gaussians = _gaussians(run, image, levels)
        changes = [np.zeros_like(level) for level in gaussians]
        slopes = [np.zeros_like(level) if with_slopes else NONE for level in gaussians]
        for first, volumes in _parts(gaussians, samples):
            runs, starts = table.numpy(), offsets.numpy()
            for level, volume in enumerate(volumes):
                size = gaussians[level].shape[1:]
                run(kernels.reduce_runs, volume, runs, starts, first, size, _reducing(*size), volume)
                where = (gaussians[level], runs, starts, first, volume, _expanding(*size), samples)
                run(kernels.slice_runs, changes[level], *where, changes[level], slopes[level])
                runs, starts = volume.reshape(-1), NO_STARTS
        for level in reversed(range(levels - 1)):
            expanded = np.empty_like(changes[level])
            run(kernels.gather_image, expanded, changes[level + 1], _expanding(*expanded.shape[1:]), expanded)
            changes[level] += expanded
    return torch.from_numpy(image + changes[0])[:, None], slopes


def reduced_changes(offsets: Tensor, table: Tensor, samples: int, levels: int) -> Tensor:
    """What remapping adds for each center, reduced `levels` >= 1 times: (N, samples, h, w)."""
    runs, starts, size = table.numpy(), offsets.numpy(), tuple(offsets.shape[1:])
    parts = []
    with _threads() as run:
        for first in range(0, samples, CENTERS):
            volume = runs
            for level in range(levels):
                count = min(CENTERS, samples - first)
                coarser = np.empty((len(starts), (size[0] + 1) // 2, (size[1] + 1) // 2, count), np.float32)
                where = (starts if level == 0 else NO_STARTS, first, size, _reducing(*size), coarser)
                run(kernels.reduce_runs, coarser, volume.reshape(-1), *where)
                volume, size = coarser, coarser.shape[1:3]
            parts.append(torch.from_numpy(volume.transpose(0, 3, 1, 2)))
            size = tuple(offsets.shape[1:])
    return torch.cat(parts, dim=1)


def backward(
    grad: Tensor, values: Tensor, offsets: Tensor, tables: Tensor, slopes: list[Array], samples: int
) -> tuple[Tensor, Tensor]:
    """Gradients of `values` (N, 1, H, W) and of alpha, beta and sigma_r (N, 3).

    `tables` (4, ...) hold how a table entry grows with value, alpha, beta and sigma_r.
    """
    image, starts, tables_, levels = values.numpy()[:, 0], offsets.numpy(), tables.numpy(), len(slopes)
    with _threads() as run:
        gaussians = _gaussians(run, image, levels)
        grads = [np.ascontiguousarray(grad.numpy()[:, 0])]  # of each level's coefficients
        for level in range(levels - 2):
            coarser = np.empty_like(gaussians[level + 1])
            run(kernels.gather_image, coarser, grads[-1], _expanding_back(*gaussians[level].shape[1:]), coarser)
            grads.append(coarser)
        total: Array = np.zeros_like(gaussians[-1])  # of each level's Gaussian, as centers move
        for level in reversed(range(levels - 1)):
            finer = np.empty_like(gaussians[level])
            run(kernels.gather_image, finer, total, _reducing_back(*finer.shape[1:]), finer)
            finer += grads[level] * slopes[level]
            total = finer
        out: Array = total + grads[0]
        sums = np.zeros((out.shape[0] * out.shape[1], 3))
        for first, volumes in _parts(gaussians, samples):
            upper: Array = np.zeros((0, 0, 0, 0), np.float32)  # gradient of the next coarser volume
            for level in reversed(range(1, levels)):
                volume, back = volumes[level - 1], _reducing_back(*gaussians[level].shape[1:])
                own = (gaussians[level], grads[level]) if level < levels - 1 else (NONE, NONE)
                below = (gaussians[level - 1], grads[level - 1], _expanding_back(*gaussians[level - 1].shape[1:]))
                run(kernels.scatter_volume, volume, upper, back, *own, *below, first, samples, volume)
                upper = volume
            if levels > 1:
                back = _reducing_back(*image.shape[1:])
                where = (image, grads[0], starts, tables_, first, samples)
                run(kernels.gather_table, out, upper, back, *where, out, sums)
    by_photo = sums.reshape(image.shape[0], -1, 3).sum(1)
    return torch.from_numpy(out)[:, None], torch.from_numpy(by_photo.astype(np.float32))


@contextmanager
def _threads() -> Iterator[Run]:
    """A call that runs a kernel over the rows of its output on torch's number of threads."""
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads) as pool:

        def run(kernel: Callable[..., None], output: Array, *arguments: Any) -> None:
            rows = output.shape[0] * output.shape[1]
            if threads == 1 or output.size < ROW_WORK:
                return kernel(*arguments, 0, rows)
            edges = np.linspace(0, rows, min(rows, BANDS * threads) + 1).astype(int).tolist()
            list(pool.map(partial(kernel, *arguments), edges[:-1], edges[1:]))

        yield run


def _gaussians(run: Run, image: Array, levels: int) -> list[Array]:
    pyramid = [np.ascontiguousarray(image)]
    for _ in range(levels - 1):
        height, width = pyramid[-1].shape[1:]
        coarser = np.empty((len(image), (height + 1) // 2, (width + 1) // 2), np.float32)
        run(kernels.gather_image, coarser, pyramid[-1], _reducing(height, width), coarser)
        pyramid.append(coarser)
    return pyramid


def _parts(gaussians: list[Array], samples: int) -> Iterator[tuple[int, list[Array]]]:
    """The first center of each part, and volumes to fill, one for each level but the finest: memory used again."""
    half = gaussians[min(1, len(gaussians) - 1)]
    most = min(samples, max(12, VOLUME // half.size // 4 * 4))
    memory = [np.empty(level.size * most, np.float32) for level in gaussians[1:]]
    for first in range(0, samples, most):
        count = min(most, samples - first)
        yield (
            first,
            [
                values[: level.size * count].reshape(*level.shape, count)
                for values, level in zip(memory, gaussians[1:], strict=True)
            ],
        )


@lru_cache(maxsize=64)
def _reducing(height: int, width: int) -> Taps:
    return Taps(*_taps(reduction(height), 4), *_taps(reduction(width), 4))


@lru_cache(maxsize=64)
def _expanding(height: int, width: int) -> Taps:
    return Taps(*_taps(expansion(height), 2), *_taps(expansion(width), 2))


@lru_cache(maxsize=64)
def _reducing_back(height: int, width: int) -> Taps:
    return Taps(*_taps(csr_array(reduction(height).T), 2), *_taps(csr_array(reduction(width).T), 2))


@lru_cache(maxsize=64)
def _expanding_back(height: int, width: int) -> Taps:
    return Taps(*_taps(csr_array(expansion(height).T), 4), *_taps(csr_array(expansion(width).T), 4))


def _taps(matrix: csr_array, most: int) -> tuple[NDArray[np.int32], Array]:
    """Columns and values of the entries of each row, at most `most`, filled up with weight 0."""
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    counts = np.diff(matrix.indptr)
    slot = np.minimum(np.arange(most), counts[:, None] - 1)  # repeats the last sample: always a valid one
    entry = matrix.indptr[:-1, None] + slot
    weights = np.where(np.arange(most) < counts[:, None], matrix.data[entry], 0)
    return matrix.indices[entry].astype(np.int32), weights.astype(np.float32)
