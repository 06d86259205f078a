"""Machine code (numba) of the sampled local Laplacian filter and its gradient, float32 on the CPU.

What remapping adds to the photo, for K centers, is a volume (N, H, W, K), centers side by side. For one pixel that
is a run of a table, since it depends only on the value less the center: `offsets` says where the run begins. So the
full-size volume is never stored. Each function does the rows `start..stop` of all photos, counted through; `taps`
are the samples of another level that make up one of this level, and their weights, for rows and for columns.
`first` is the first center held.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import inspect
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from lpie.fast.local_laplacian_taps import Taps

VOLUME = 2**25  # values of the half-size volume held at a time: 128 MiB, and a third more for the coarser ones
COLUMNS = 2**31  # of a row that share one place in the sums of gradients: all
BANDS = 4  # of rows for each thread, which even out rows that take longer
ROW_WORK = 2**16  # values below which a kernel is not worth a second thread


def compiled(function):
    """`function` as machine code that leaves Python's lock, cached between runs; NaN and infinity are respected."""
    plain = inspect.unwrap(function)  # the tests' type checks wrap every function
    return njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz", "arcp"}, error_model="numpy")(plain)


@compiled
def reduce_runs(runs, starts, first, size, taps, volume, start, stop):
    """The volume reduced once, from the table (where `starts` is given) or from the finer volume of `size` (h, w)."""
    rows, row_weights, columns, column_weights = taps
    height, width, count = volume.shape[1:]
    for r in range(start, stop):
        n, y = r // height, r % height
        for x in range(width):
            out = volume[n, y, x]
            i0, i1, i2, i3 = columns[x, 0], columns[x, 1], columns[x, 2], columns[x, 3]
            for i in range(4):
                if starts.size > 0:
                    line = starts[n, rows[y, i]]
                    s0, s1, s2, s3 = line[i0] + first, line[i1] + first, line[i2] + first, line[i3] + first
                else:
                    line_start = (n * size[0] + rows[y, i]) * size[1]
                    s0, s1 = (line_start + i0) * count, (line_start + i1) * count
                    s2, s3 = (line_start + i2) * count, (line_start + i3) * count
                a, b, c, d = runs[s0:][:count], runs[s1:][:count], runs[s2:][:count], runs[s3:][:count]
                weight = row_weights[y, i]
                wa, wb = weight * column_weights[x, 0], weight * column_weights[x, 1]
                wc, wd = weight * column_weights[x, 2], weight * column_weights[x, 3]
                if i == 0:
                    for k in range(count):
                        out[k] = wa * a[k] + wb * b[k] + wc * c[k] + wd * d[k]
                else:
                    for k in range(count):
                        out[k] += wa * a[k] + wb * b[k] + wc * c[k] + wd * d[k]


@compiled
def gather_image(image, taps, accumulate, out, start, stop):
    """One channel (N, h, w) of another level through any taps: reduced, expanded, or the adjoint of either.

    `accumulate` adds it to what is there.
    """
    rows, row_weights, columns, column_weights = taps
    height, width = out.shape[1:]
    down, across = rows.shape[1], columns.shape[1]
    for r in range(start, stop):
        n, y = r // height, r % height
        for x in range(width):
            total = np.float32(0)
            for i in range(down):
                line = image[n, rows[y, i]]
                part = np.float32(0)
                for j in range(across):
                    part += column_weights[x, j] * line[columns[x, j]]
                total += row_weights[y, i] * part
            out[n, y, x] = out[n, y, x] + total if accumulate else total


@compiled
def slice_runs(centers, runs, starts, first, coarse, taps, samples, change, gradient, start, stop):
    """Adds a level's coefficients, interpolated between the two centers nearest to the level's Gaussian, and how
    they grow with it (where `gradient` is wanted); `coarse` is the next volume, `runs` this one or the table."""
    rows, row_weights, columns, column_weights = taps
    height, width = centers.shape[1:]
    count = coarse.shape[3]
    last = first + count
    for r in range(start, stop):
        n, y = r // height, r % height
        for x in range(width):
            k, between = _place(centers[n, y, x], samples)
            if k + 1 < first or k >= last:
                continue
            begin = starts[n, y, x] if starts.size > 0 else (r * width + x) * count - first
            lower, upper = np.float32(0), np.float32(0)
            if k >= first:
                lower = runs[begin + k]
            if k + 1 < last:
                upper = runs[begin + k + 1]
            for i in range(2):
                line = coarse[n, rows[y, i]]
                for j in range(2):
                    weight = row_weights[y, i] * column_weights[x, j]
                    if k >= first:
                        lower -= weight * line[columns[x, j], k - first]
                    if k + 1 < last:
                        upper -= weight * line[columns[x, j], k + 1 - first]
            change[n, y, x] += lower + between * (upper - lower)
            if gradient.size > 0:
                gradient[n, y, x] += np.float32(samples - 1) * (upper - lower)


@compiled
def _place(value, samples):
    """The center at or below `value` that has one above it, and how far towards that one the value lies."""
    place = np.float32(0)
    if value > 0:  # not NaN either, which must not become an index
        place = min(value, np.float32(1)) * np.float32(samples - 1)
    k = min(int(place), samples - 2)
    return k, place - np.float32(k)


@compiled
def scatter_volume(coarser, back, gaussian, grad, finer, finer_grad, taps, first, samples, volume, start, stop):
    """Gradient of a volume: of the coarser one through `back`, of slicing this level (`gaussian`, `grad`), and of
    slicing the finer level, which took this one expanded; `coarser` and `gaussian` are empty where there is none."""
    down, down_weights, across, across_weights = back
    rows, row_weights, columns, column_weights = taps
    height, width, count = volume.shape[1:]
    for r in range(start, stop):
        n, y = r // height, r % height
        for x in range(width):
            out = volume[n, y, x]
            if coarser.size > 0:
                upper, lower = coarser[n, down[y, 0]], coarser[n, down[y, 1]]
                a, b, c, d = upper[across[x, 0]], upper[across[x, 1]], lower[across[x, 0]], lower[across[x, 1]]
                wa, wb = down_weights[y, 0] * across_weights[x, 0], down_weights[y, 0] * across_weights[x, 1]
                wc, wd = down_weights[y, 1] * across_weights[x, 0], down_weights[y, 1] * across_weights[x, 1]
                for k in range(count):
                    out[k] = wa * a[k] + wb * b[k] + wc * c[k] + wd * d[k]
            else:
                for k in range(count):
                    out[k] = np.float32(0)
            if gaussian.size > 0:
                _add_hat(out, first, samples, gaussian[n, y, x], grad[n, y, x])
            for i in range(4):
                for j in range(4):
                    weight = row_weights[y, i] * column_weights[x, j]
                    if weight != 0:
                        q, p = rows[y, i], columns[x, j]
                        _add_hat(out, first, samples, finer[n, q, p], -weight * finer_grad[n, q, p])


@compiled
def _add_hat(out, first, samples, value, amount):
    k, between = _place(value, samples)
    if first <= k < first + len(out):
        out[k - first] += (np.float32(1) - between) * amount
    if first <= k + 1 < first + len(out):
        out[k + 1 - first] += between * amount


@compiled
def gather_table(coarser, back, values, grad, offsets, tables, first, samples, out, sums, start, stop):
    """Gradient of the photo (added to `out`) and of alpha, beta and sigma_r (a row of `sums` for each row).

    `tables` hold how a table entry grows with value, alpha, beta and sigma_r; `sums` is (rows, 1, 3) here.
    """
    down, down_weights, across, across_weights = back
    height, width = values.shape[1:]
    count = coarser.shape[3]
    by_value, by_alpha, by_beta, by_sigma = tables[0], tables[1], tables[2], tables[3]
    run = np.empty(count, np.float32)
    for r in range(start, stop):
        n, y = r // height, r % height
        upper, lower = coarser[n, down[y, 0]], coarser[n, down[y, 1]]
        for x in range(width):
            a, b, c, d = upper[across[x, 0]], upper[across[x, 1]], lower[across[x, 0]], lower[across[x, 1]]
            wa, wb = down_weights[y, 0] * across_weights[x, 0], down_weights[y, 0] * across_weights[x, 1]
            wc, wd = down_weights[y, 1] * across_weights[x, 0], down_weights[y, 1] * across_weights[x, 1]
            for k in range(count):
                run[k] = wa * a[k] + wb * b[k] + wc * c[k] + wd * d[k]
            _add_hat(run, first, samples, values[n, y, x], grad[n, y, x])
            begin = offsets[n, y, x] + first
            t, u, v, w = by_value[begin:], by_alpha[begin:], by_beta[begin:], by_sigma[begin:]
            value, alpha, beta, sigma = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for k in range(count):
                value += run[k] * t[k]
                alpha += run[k] * u[k]
                beta += run[k] * v[k]
                sigma += run[k] * w[k]
            out[n, y, x] += value
            sums[r, 0, 0] += alpha
            sums[r, 0, 1] += beta
            sums[r, 0, 2] += sigma


class Runner:
    """Calls a kernel of this module by name, for all rows of its output."""

    volume, columns = VOLUME, COLUMNS

    def __init__(self, pool: ThreadPoolExecutor, threads: int) -> None:
        self.pool, self.threads = pool, threads

    def __call__(self, name: str, output: Tensor, *arguments: Any) -> None:
        """Run kernel `name` with `arguments`, which end with the outputs; `output` is the one whose rows count."""
        kernel = partial(globals()[name], *map(_array, arguments))
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
