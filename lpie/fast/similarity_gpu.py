"""Structural similarity of float32 planes on a GPU: each program streams a band of rows, eleven in its registers.

Partial sums are added in a fixed order, so that equal inputs give equal bytes.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from lpie.fast.graded import mean_terms_by
from lpie.fast.similarity_gradients import similarity_gradients
from lpie.imaging.similarity_terms import STABILIZERS, WINDOW_SIZE, gaussian_window, luminance_and_contrast

W0, W1, W2, W3, W4, W5 = (tl.constexpr(weight) for weight in gaussian_window()[:6])
C1, C2 = (tl.constexpr(constant) for constant in STABILIZERS)
COLUMNS = 128  # of a program, one a thread
BANDS = (64, 32, 16)  # rows of a program: the tallest that makes enough programs
ENOUGH = 1024


def _compiled(formula: Callable[..., Any]) -> Any:
    """The shared formula as Triton reads it: without the tests' type checks, and where the interpreter finds `tl`."""
    plain = inspect.unwrap(formula)
    return triton.jit(FunctionType(plain.__code__, globals(), plain.__name__))


_terms, _gradients = _compiled(luminance_and_contrast), _compiled(similarity_gradients)


def terms_and_gradients(
    a: Tensor, b: Tensor, with_luminance: bool, gradient_a: bool, gradient_b: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Mean term of each plane of (planes, H, W), and its gradients by the planes' values where they are wanted."""
    planes, height, width = a.shape
    windows = (height - WINDOW_SIZE + 1, width - WINDOW_SIZE + 1)
    with torch.cuda.device_of(a):
        grid, band = _bands(planes, *windows)
        sums = a.new_empty(planes, grid[0] * grid[1])
        wanted = (gradient_a, gradient_b, gradient_a or gradient_b, gradient_a or gradient_b)
        maps = [a.new_empty(planes, *windows) if each else sums for each in wanted]
        terms_of_bands[grid](
            a, b, sums, *maps, height, width, BAND=band, COLUMNS=COLUMNS,
            WITH_LUMINANCE=with_luminance, GRADIENT_A=gradient_a, GRADIENT_B=gradient_b,
        )  # fmt: skip
        count = windows[0] * windows[1]
        gradients: list[Tensor | None] = [None, None]
        grid, band = _bands(planes, height, width)
        for which, (own, other) in enumerate(((a, b), (b, a))):
            if wanted[which]:
                gradients[which] = torch.empty_like(own)
                gradients_of_bands[grid](
                    own, other, maps[which], *maps[2:], gradients[which], height, width, 2.0 / count,
                    BAND=band, COLUMNS=COLUMNS,
                )  # fmt: skip
        return sums.sum(1) / count, gradients[0], gradients[1]


mean_terms = partial(mean_terms_by, terms_and_gradients)


def _bands(planes: int, height: int, width: int) -> tuple[tuple[int, int, int], int]:
    """The grid of programs and the rows of each."""
    columns = triton.cdiv(width, COLUMNS)
    enough = (band for band in BANDS if planes * columns * triton.cdiv(height, band) >= ENOUGH)
    band = next(enough, BANDS[-1])
    return (columns, triton.cdiv(height, band), planes), band


@triton.jit
def terms_of_bands(
    a, b, sums, by_mean_a, by_mean_b, by_power, by_error, height, width,
    BAND: tl.constexpr, COLUMNS: tl.constexpr, WITH_LUMINANCE: tl.constexpr, GRADIENT_A: tl.constexpr,
    GRADIENT_B: tl.constexpr,
):  # fmt: skip
    """Sum of a band's terms and, where wanted, each term's gradients by its window's statistics."""
    plane, start = tl.program_id(2).to(tl.int64), tl.program_id(1) * BAND
    x = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    across = width - 10
    a += plane * height * width
    b += plane * height * width
    zero = tl.zeros((COLUMNS,), tl.float32)
    means_a = (zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero)
    means_b, powers, errors = means_a, means_a, means_a
    total = zero
    for row in range(start, tl.minimum(start + BAND, height - 10) + 10):
        p, q = _eleven(a + row * width, x, 0, width), _eleven(b + row * width, x, 0, width)
        means_a, means_b = _pushed(means_a, _windowed(p)), _pushed(means_b, _windowed(q))
        powers, errors = _pushed(powers, _windowed(_power(p, q))), _pushed(errors, _windowed(_error(p, q)))
        if row >= start + 10:
            mean_a, mean_b, power, error = _windowed(means_a), _windowed(means_b), _windowed(powers), _windowed(errors)
            luminance, contrast = _terms(mean_a, mean_b, power, error, C1, C2)
            if WITH_LUMINANCE:
                term = luminance * contrast
                by = _gradients(mean_a, mean_b, power, error, C1, C2, contrast, luminance)
            else:
                term = contrast
                by = _gradients(mean_a, mean_b, power, error, C1, C2, 0.0, 1.0)
            inside = x < across
            total += tl.where(inside, term, 0.0)
            place = plane * (height - 10) * across + (row - 10) * across + x
            if GRADIENT_A:
                tl.store(by_mean_a + place, by[0], inside)
            if GRADIENT_B:
                tl.store(by_mean_b + place, by[1], inside)
            if GRADIENT_A or GRADIENT_B:
                tl.store(by_power + place, by[2], inside)
                tl.store(by_error + place, by[3], inside)
    program = (plane * tl.num_programs(1) + tl.program_id(1)) * tl.num_programs(0) + tl.program_id(0)
    tl.store(sums + program, tl.sum(total, 0))


@triton.jit
def gradients_of_bands(
    own, other, by_mean, by_power, by_error, out, height, width, scale, BAND: tl.constexpr, COLUMNS: tl.constexpr
):
    """The gradient by each value of `own`: what the windows that hold it have gathered."""
    plane, start = tl.program_id(2).to(tl.int64), tl.program_id(1) * BAND
    x = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    down, across = height - 10, width - 10
    by_mean += plane * down * across
    by_power += plane * down * across
    by_error += plane * down * across
    zero = tl.zeros((COLUMNS,), tl.float32)
    means = (zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero)
    powers, errors = means, means
    for row in range(start - 10, tl.minimum(start + BAND, height)):
        there = tl.where((row >= 0) & (row < down), across, 0)  # columns of windows in this row
        means = _pushed(means, _windowed(_eleven(by_mean + row * across, x, 10, there)))
        powers = _pushed(powers, _windowed(_eleven(by_power + row * across, x, 10, there)))
        errors = _pushed(errors, _windowed(_eleven(by_error + row * across, x, 10, there)))
        if row >= start:
            place = plane * height * width + row * width + x
            inside = x < width
            p, q = tl.load(own + place, inside, 0.0), tl.load(other + place, inside, 0.0)
            gradient = _windowed(means) + p * _windowed(powers) + (p - q) * _windowed(errors)
            tl.store(out + place, scale * gradient, inside)


@triton.jit
def _eleven(row, x, back, width):
    """The values from `x - back` to the tenth to its right; zero beyond the row."""
    values = ()
    for k in tl.static_range(11):
        at = x + (k - back)
        values = values + (tl.load(row + at, (at >= 0) & (at < width), 0.0),)  # noqa: RUF005 - Triton's tuples
    return values


@triton.jit
def _pushed(ring, newest):
    return ring[1], ring[2], ring[3], ring[4], ring[5], ring[6], ring[7], ring[8], ring[9], ring[10], newest


@triton.jit
def _windowed(v):
    """Weighted mean of eleven values."""
    outer = W0 * (v[0] + v[10]) + W1 * (v[1] + v[9]) + W2 * (v[2] + v[8])
    return outer + W3 * (v[3] + v[7]) + W4 * (v[4] + v[6]) + W5 * v[5]


@triton.jit
def _power(p, q):
    values = ()
    for k in tl.static_range(11):
        values = values + (p[k] * p[k] + q[k] * q[k],)  # noqa: RUF005
    return values


@triton.jit
def _error(p, q):
    values = ()
    for k in tl.static_range(11):
        values = values + ((p[k] - q[k]) * (p[k] - q[k]),)  # noqa: RUF005
    return values
