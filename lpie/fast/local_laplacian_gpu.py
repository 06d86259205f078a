"""The kernels of `local_laplacian_cpu` in Triton, float32, with the same arguments but for the range of rows.

Every output has one writer and a fixed order of addition: the same input gives the same bytes. Volumes are read and
written once a level, table runs stay in the caches, so that the time is that of the volume's bytes.
"""
# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: SIM108 - Triton compiles branches on constants, not conditional expressions

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

VOLUME = 2**28  # values of the half-size volume held at a time: 1 GiB, and a third more for the coarser ones
COLUMNS = 64  # pixels of a row whose gradients are summed together
PIXELS = 256  # of one program, where the work is by pixel
ELEMENTS = 1024  # of a volume, of one program


class Runner:
    """Calls a kernel of this module by name, for all of its output."""

    volume, columns = VOLUME, COLUMNS

    def __call__(self, name: str, output: Tensor, *arguments: Any) -> None:
        """Run kernel `name` with `arguments`, which end with the outputs."""
        globals()[f"_launch_{name}"](*arguments)


def runner() -> nullcontext[Runner]:
    """A runner on the current device and stream."""
    return nullcontext(Runner())


@triton.jit
def _gather_image(
    image, rows, row_weights, columns, column_weights, out, fine_height, fine_width, height, width, total,
    DOWN: tl.constexpr, ACROSS: tl.constexpr, ACCUMULATE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < total
    x, y, n = pixel % width, pixel // width % height, pixel // (width * height)
    value = tl.zeros([BLOCK], tl.float32)
    for i in tl.static_range(DOWN):
        line = (n * fine_height + tl.load(rows + y * DOWN + i, inside, 0)) * fine_width
        part = tl.zeros([BLOCK], tl.float32)
        for j in tl.static_range(ACROSS):
            weight = tl.load(column_weights + x * ACROSS + j, inside, 0.0)
            part += weight * tl.load(image + line + tl.load(columns + x * ACROSS + j, inside, 0), inside, 0.0)
        value += tl.load(row_weights + y * DOWN + i, inside, 0.0) * part
    if ACCUMULATE:
        value += tl.load(out + pixel, inside, 0.0)
    tl.store(out + pixel, value, inside)


@triton.jit
def _reduce_runs(
    runs, starts, rows, row_weights, columns, column_weights, volume,
    first, fine_height, fine_width, height, width, count,
    TABLE: tl.constexpr, BX: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    n, y = row // height, row % height
    x = tl.program_id(1) * BX + tl.arange(0, BX)
    k = tl.program_id(2) * BK + tl.arange(0, BK)
    inside = x < width
    both = inside[:, None] & (k < count)[None, :]
    value = tl.zeros([BX, BK], tl.float32)
    for i in tl.static_range(4):
        line = (n * fine_height + tl.load(rows + y * 4 + i)) * fine_width
        down = tl.load(row_weights + y * 4 + i)
        for j in tl.static_range(4):
            pixel = line + tl.load(columns + x * 4 + j, inside, 0)
            weight = down * tl.load(column_weights + x * 4 + j, inside, 0.0)
            if TABLE:
                begin = tl.load(starts + pixel, inside, 0) + first
            else:
                begin = pixel * count
            value += weight[:, None] * tl.load(runs + begin[:, None] + k[None, :], both, 0.0)
    tl.store(volume + ((row * width + x) * count)[:, None] + k[None, :], value, both)


@triton.jit
def _slice_runs(
    centers, runs, starts, coarse, rows, row_weights, columns, column_weights, change, gradient,
    first, samples, height, width, coarse_height, coarse_width, count, total,
    TABLE: tl.constexpr, GRADIENT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < total
    x, y, n = pixel % width, pixel // width % height, pixel // (width * height)
    place = tl.minimum(tl.maximum(tl.load(centers + pixel, inside, 0.0), 0.0), 1.0) * (samples - 1)
    k = tl.minimum(tl.maximum(place.to(tl.int32), 0), samples - 2)
    between = place - k
    has_lower = inside & (k >= first) & (k < first + count)
    has_upper = inside & (k + 1 >= first) & (k + 1 < first + count)
    if TABLE:
        begin = tl.load(starts + pixel, inside, 0) + k
    else:
        begin = pixel * count + k - first
    lower = tl.load(runs + begin, has_lower, 0.0)
    upper = tl.load(runs + begin + 1, has_upper, 0.0)
    for i in tl.static_range(2):
        line = (n * coarse_height + tl.load(rows + y * 2 + i, inside, 0)) * coarse_width
        down = tl.load(row_weights + y * 2 + i, inside, 0.0)
        for j in tl.static_range(2):
            begin = (line + tl.load(columns + x * 2 + j, inside, 0)) * count + k - first
            weight = down * tl.load(column_weights + x * 2 + j, inside, 0.0)
            lower -= weight * tl.load(coarse + begin, has_lower, 0.0)
            upper -= weight * tl.load(coarse + begin + 1, has_upper, 0.0)
    value = tl.load(change + pixel, inside, 0.0) + lower + between * (upper - lower)
    tl.store(change + pixel, value, inside)
    if GRADIENT:
        grown = tl.load(gradient + pixel, inside, 0.0) + (samples - 1) * (upper - lower)
        tl.store(gradient + pixel, grown, inside)


@triton.jit
def _hat(values, samples, center):
    """Share of each center in the interpolation at each value, (values, centers)."""
    place = tl.minimum(tl.maximum(values, 0.0), 1.0) * (samples - 1)
    return tl.maximum(1 - tl.abs(place[:, None] - center[None, :]), 0.0)


@triton.jit
def _scatter_volume(
    coarser, down_rows, down_weights, across_columns, across_weights, gaussian, grad, finer, finer_grad,
    rows, row_weights, columns, column_weights, volume,
    first, samples, coarser_height, coarser_width, fine_height, fine_width, height, width, count,
    COARSER: tl.constexpr, OWN: tl.constexpr, BX: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    n, y = row // height, row % height
    x = tl.program_id(1) * BX + tl.arange(0, BX)
    k = tl.program_id(2) * BK + tl.arange(0, BK)
    center = (first + k).to(tl.float32)
    inside = x < width
    both = inside[:, None] & (k < count)[None, :]
    value = tl.zeros([BX, BK], tl.float32)
    if COARSER:
        for i in tl.static_range(2):
            line = (n * coarser_height + tl.load(down_rows + y * 2 + i)) * coarser_width
            down = tl.load(down_weights + y * 2 + i)
            for j in tl.static_range(2):
                begin = (line + tl.load(across_columns + x * 2 + j, inside, 0)) * count
                weight = down * tl.load(across_weights + x * 2 + j, inside, 0.0)
                value += weight[:, None] * tl.load(coarser + begin[:, None] + k[None, :], both, 0.0)
    if OWN:
        pixel = row * width + x
        share = _hat(tl.load(gaussian + pixel, inside, 0.0), samples, center)
        value += tl.load(grad + pixel, inside, 0.0)[:, None] * share
    for i in tl.static_range(4):
        line = (n * fine_height + tl.load(rows + y * 4 + i)) * fine_width
        down = tl.load(row_weights + y * 4 + i)
        for j in tl.static_range(4):
            pixel = line + tl.load(columns + x * 4 + j, inside, 0)
            weight = down * tl.load(column_weights + x * 4 + j, inside, 0.0)
            share = _hat(tl.load(finer + pixel, inside, 0.0), samples, center)
            value -= (weight * tl.load(finer_grad + pixel, inside, 0.0))[:, None] * share
    tl.store(volume + ((row * width + x) * count)[:, None] + k[None, :], value, both)


@triton.jit
def _gather_table(
    coarser, down_rows, down_weights, across_columns, across_weights, values, grad, starts, tables, out, sums,
    first, samples, coarser_height, coarser_width, height, width, count, entries,
    BX: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    n, y = row // height, row % height
    x = tl.program_id(1) * BX + tl.arange(0, BX)
    inside = x < width
    pixel = row * width + x
    value, amount = tl.load(values + pixel, inside, 0.0), tl.load(grad + pixel, inside, 0.0)
    start = tl.load(starts + pixel, inside, 0) + first
    by_value, by_alpha = tl.zeros([BX], tl.float32), tl.zeros([BX], tl.float32)
    by_beta, by_sigma = tl.zeros([BX], tl.float32), tl.zeros([BX], tl.float32)
    for begin_k in range(0, count, BK):
        k = begin_k + tl.arange(0, BK)
        both = inside[:, None] & (k < count)[None, :]
        run = amount[:, None] * _hat(value, samples, (first + k).to(tl.float32))
        for i in tl.static_range(2):
            line = (n * coarser_height + tl.load(down_rows + y * 2 + i)) * coarser_width
            down = tl.load(down_weights + y * 2 + i)
            for j in tl.static_range(2):
                begin = (line + tl.load(across_columns + x * 2 + j, inside, 0)) * count
                weight = down * tl.load(across_weights + x * 2 + j, inside, 0.0)
                run += weight[:, None] * tl.load(coarser + begin[:, None] + k[None, :], both, 0.0)
        entry = tables + start[:, None] + k[None, :]
        by_value += tl.sum(run * tl.load(entry, both, 0.0), 1)
        by_alpha += tl.sum(run * tl.load(entry + entries, both, 0.0), 1)
        by_beta += tl.sum(run * tl.load(entry + 2 * entries, both, 0.0), 1)
        by_sigma += tl.sum(run * tl.load(entry + 3 * entries, both, 0.0), 1)
    tl.store(out + pixel, tl.load(out + pixel, inside, 0.0) + by_value, inside)
    place = sums + (row * tl.num_programs(1) + tl.program_id(1)) * 3
    tl.store(place, tl.load(place) + tl.sum(tl.where(inside, by_alpha, 0.0), 0))
    tl.store(place + 1, tl.load(place + 1) + tl.sum(tl.where(inside, by_beta, 0.0), 0))
    tl.store(place + 2, tl.load(place + 2) + tl.sum(tl.where(inside, by_sigma, 0.0), 0))


def _launch_gather_image(image, taps, accumulate, out):
    sizes = (*image.shape[1:], *out.shape[1:], out.numel())
    across = {"DOWN": taps.rows.shape[1], "ACROSS": taps.columns.shape[1], "ACCUMULATE": accumulate, "BLOCK": PIXELS}
    _gather_image[(triton.cdiv(out.numel(), PIXELS),)](image, *taps, out, *sizes, **across)


def _launch_reduce_runs(runs, starts, first, size, taps, volume):
    n, height, width, count = volume.shape
    grid, block = _blocks(n * height, width, count)
    sizes = (first, *size, height, width, count)
    _reduce_runs[grid](runs, starts, *taps, volume, *sizes, TABLE=starts.numel() > 0, **block)


def _launch_slice_runs(centers, runs, starts, first, coarse, taps, samples, change, gradient):
    sizes = (first, samples, *centers.shape[1:], *coarse.shape[1:], centers.numel())
    which = {"TABLE": starts.numel() > 0, "GRADIENT": gradient.numel() > 0, "BLOCK": PIXELS}
    grid = (triton.cdiv(centers.numel(), PIXELS),)
    _slice_runs[grid](centers, runs, starts, coarse, *taps, change, gradient, *sizes, **which)


def _launch_scatter_volume(coarser, back, gaussian, grad, finer, finer_grad, taps, first, samples, volume):
    n, height, width, count = volume.shape
    grid, block = _blocks(n * height, width, count)
    sizes = (first, samples, *coarser.shape[1:3], *finer.shape[1:], height, width, count)
    which = {"COARSER": coarser.numel() > 0, "OWN": gaussian.numel() > 0, **block}
    _scatter_volume[grid](coarser, *back, gaussian, grad, finer, finer_grad, *taps, volume, *sizes, **which)


def _launch_gather_table(coarser, back, values, grad, starts, tables, first, samples, out, sums):
    n, height, width = values.shape
    sizes = (first, samples, *coarser.shape[1:3], height, width, coarser.shape[3], tables.shape[1])
    block = {"BX": COLUMNS, "BK": min(16, triton.next_power_of_2(coarser.shape[3]))}
    grid = (n * height, triton.cdiv(width, COLUMNS))
    _gather_table[grid](coarser, *back, values, grad, starts, tables, out, sums, *sizes, **block)


def _blocks(rows: int, width: int, count: int) -> tuple[tuple[int, int, int], dict[str, int]]:
    """Grid over rows, columns and centers, and how many columns and centers one program takes."""
    bk = min(64, triton.next_power_of_2(count))
    bx = min(ELEMENTS // bk, triton.next_power_of_2(width))
    return (rows, triton.cdiv(width, bx), triton.cdiv(count, bk)), {"BX": bx, "BK": bk}
