"""SSIM and MS-SSIM of float32 photos on a GPU, in as few launches as may be: they take longer than the work itself.

Each program streams a band of rows, eleven in its registers. Partial sums are added in a fixed order, so that equal
inputs give equal bytes.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, cast

import torch
import triton
import triton.language as tl
from torch import Tensor

from lpie.imaging.kernels import gradient_of_plain
from lpie.imaging.similarity_terms import (
    SCALE_WEIGHTS,
    SMALLEST_CONTRAST,
    STABILIZERS,
    STEEPEST_CONTRAST,
    WINDOW_SIZE,
    gaussian_window,
    luminance_and_contrast,
    similarity_gradients,
)

W0, W1, W2, W3, W4, W5 = (tl.constexpr(weight) for weight in gaussian_window()[:6])
C1, C2 = (tl.constexpr(constant) for constant in STABILIZERS)
FLOOR, STEEPEST = tl.constexpr(SMALLEST_CONTRAST), tl.constexpr(STEEPEST_CONTRAST)
COLUMNS = 128  # of a program, one a thread
BANDS = (64, 32, 16)  # rows of a program: the tallest that makes enough programs
ENOUGH = 1024
PIXELS = 1024  # of a program that halves photos or adds gradients


def _compiled(formula: Callable[..., Any]) -> Any:
    """The shared formula as Triton reads it: without the tests' type checks, and where the interpreter finds `tl`."""
    plain = inspect.unwrap(formula)
    return triton.jit(FunctionType(plain.__code__, globals(), plain.__name__))


_terms, _gradients = _compiled(luminance_and_contrast), _compiled(similarity_gradients)


def similarity(a: Tensor, b: Tensor, scales: int, plain: Callable[[Tensor, Tensor, int], Tensor]) -> Tensor:
    """`plain(a, b, scales)`, the similarity of each photo: SSIM at one scale, MS-SSIM at five."""
    return cast(Tensor, _Similarity.apply(a, b, scales, plain))


class _Similarity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, scales: int, plain: Callable[..., Tensor]) -> Tensor:
        wanted = ctx.needs_input_grad[:2]
        count, channels = a.shape[:2]
        with torch.cuda.device_of(a):
            levels = [(a.contiguous().flatten(0, 1), b.contiguous().flatten(0, 1))]
            while len(levels) < scales:
                levels.append(_half_size(*levels[-1]))
            grids = [_bands(count * channels, *(side - WINDOW_SIZE + 1 for side in own.shape[1:])) for own, _ in levels]
            programs = max(grid[0] * grid[1] for grid, _ in grids)
            sums = a.new_zeros(scales, count * channels, programs)
            gradients = [
                _terms_and_gradients(*level, *bands, sums[scale], scale == scales - 1, wanted)
                for scale, (level, bands) in enumerate(zip(levels, grids, strict=True))
            ]
            similarities, factors = a.new_empty(count), a.new_empty(scales, count * channels)
            combine[(count,)](
                sums.sum(2), similarities, factors, channels, *levels[0][0].shape[1:], *SCALE_WEIGHTS,
                SCALES=scales, CHANNELS=triton.next_power_of_2(channels),
            )  # fmt: skip
        ctx.plain, ctx.scales = plain, scales
        ctx.save_for_backward(a, b, factors, *(each for level in gradients for each in level))
        return similarities

    @staticmethod
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor | None, ...]:
        a, b, factors, *gradients = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():  # this gradient will be differentiated again
            found = gradient_of_plain(ctx.plain, (a, b, ctx.scales), (*wanted, False), output_gradient)
            return found[0], found[1], None, None
        each_scale = iter(gradients[place :: sum(wanted)] for place in range(sum(wanted)))
        with torch.cuda.device_of(a):
            given = output_gradient.contiguous()
            return *(_added(next(each_scale), factors, given, a) if each else None for each in wanted), None, None


def _half_size(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    planes, height, width = a.shape
    halves = a.new_empty(2, planes, (height + 1) // 2, (width + 1) // 2)
    halve[triton.cdiv(halves[0, 0].numel(), PIXELS), planes, 2](a, b, halves, height, width, PIXELS=PIXELS)
    return halves[0], halves[1]


def _terms_and_gradients(
    a: Tensor, b: Tensor, grid: tuple[int, int, int], band: int, sums: Tensor, with_luminance: bool,
    wanted: tuple[bool, bool],
) -> list[Tensor]:  # fmt: skip
    """Fills the sums of the terms of bands; gives the gradients of each plane's sum of terms that are wanted."""
    planes, height, width = a.shape
    windows = (height - WINDOW_SIZE + 1, width - WINDOW_SIZE + 1)
    maps = [a.new_empty(planes, *windows) if each else sums for each in (*wanted, any(wanted), any(wanted))]
    terms_of_bands[grid](
        a, b, sums, *maps, height, width, sums.stride(0), BAND=band, COLUMNS=COLUMNS,
        WITH_LUMINANCE=with_luminance, GRADIENT_A=wanted[0], GRADIENT_B=wanted[1],
    )  # fmt: skip
    grid, band = _bands(planes, height, width)
    gradients = []
    for needed, by_mean, own, other in zip(wanted, maps, (a, b), (b, a), strict=False):
        if needed:
            gradients.append(torch.empty_like(own))
            gradients_of_bands[grid](
                own, other, by_mean, *maps[2:], gradients[-1], height, width, BAND=band, COLUMNS=COLUMNS
            )
    return gradients


def _added(gradients: list[Tensor], factors: Tensor, output_gradient: Tensor, photos: Tensor) -> Tensor:
    """The gradient by the photos, of those at each scale by what the scale before it halved."""
    coarser = gradients[-1]
    for scale in reversed(range(len(gradients))):
        own = gradients[scale]
        total = torch.empty_like(own)
        add_coarser[triton.cdiv(own[0].numel(), PIXELS), len(own)](
            own, coarser, factors[scale], output_gradient, total, *own.shape[1:], photos.shape[1],
            COARSER=scale < len(gradients) - 1, PIXELS=PIXELS,
        )  # fmt: skip
        coarser = total
    return coarser.view_as(photos)


def _bands(planes: int, height: int, width: int) -> tuple[tuple[int, int, int], int]:
    """The grid of programs and the rows of each."""
    columns = triton.cdiv(width, COLUMNS)
    enough = (band for band in BANDS if planes * columns * triton.cdiv(height, band) >= ENOUGH)
    band = next(enough, BANDS[-1])
    return (columns, triton.cdiv(height, band), planes), band


@triton.jit
def halve(a, b, out, height, width, PIXELS: tl.constexpr):
    """Means of 2 x 2 px, of those that there are at the last row and column of an odd side; `b` behind `a` in `out`."""
    plane, pixel = tl.program_id(1).to(tl.int64), tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    down, across = (height + 1) // 2, (width + 1) // 2
    y, x = pixel // across * 2, pixel % across * 2
    source = tl.where(tl.program_id(2) == 0, a, b) + plane * height * width
    below, right = tl.minimum(y + 1, height - 1), tl.minimum(x + 1, width - 1)
    inside = pixel < down * across
    upper = tl.load(source + y * width + x, inside, 0.0) + tl.load(source + y * width + right, inside, 0.0)
    lower = tl.load(source + below * width + x, inside, 0.0) + tl.load(source + below * width + right, inside, 0.0)
    out += (tl.program_id(2) * tl.num_programs(1) + plane) * down * across
    tl.store(out + pixel, (upper + lower) * 0.25, inside)


@triton.jit
def combine(
    sums, similarities, factors, channels, height, width, e0, e1, e2, e3, e4,
    SCALES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Sums of terms (scales, planes) -> a photo's similarity, and its gradient by those sums.

    As `lpie.losses.similarity.plain_similarity`: the floors of a term differ in its power and in the power's gradient.
    """
    n, channel = tl.program_id(0), tl.arange(0, CHANNELS)
    there, at = channel < channels, n * channels + channel
    planes = tl.num_programs(0) * channels
    exponents, logarithm = (e0, e1, e2, e3, e4), tl.zeros((CHANNELS,), tl.float32)
    down, across = height, width
    for scale in tl.static_range(SCALES):
        term = tl.load(sums + scale * planes + at, there, 1.0) / ((down - 10) * (across - 10)).to(tl.float32)
        if SCALES > 1:
            logarithm += exponents[scale] * tl.log(tl.maximum(term, FLOOR))
        else:
            logarithm = term
        down, across = (down + 1) // 2, (across + 1) // 2
    value = tl.exp(logarithm) if SCALES > 1 else logarithm
    tl.store(similarities + n, tl.sum(tl.where(there, value, 0.0), 0) / channels)
    down, across = height, width
    for scale in tl.static_range(SCALES):
        windows = ((down - 10) * (across - 10)).to(tl.float32)
        factor = tl.full((CHANNELS,), 1.0, tl.float32)
        if SCALES > 1:
            term = tl.load(sums + scale * planes + at, there, 1.0) / windows
            factor = value * exponents[scale] / tl.maximum(term, STEEPEST)
        tl.store(factors + scale * planes + at, factor / (windows * channels), there)
        down, across = (down + 1) // 2, (across + 1) // 2


@triton.jit
def add_coarser(
    own, coarser, factors, output_gradient, out, height, width, channels, COARSER: tl.constexpr, PIXELS: tl.constexpr
):
    """A scale's own gradient, and what reaches it from the next through the means of 2 x 2 px."""
    plane, pixel = tl.program_id(1).to(tl.int64), tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    inside, y, x = pixel < height * width, pixel // width, pixel % width
    factor = tl.load(factors + plane) * tl.load(output_gradient + plane // channels)
    total = factor * tl.load(own + plane * height * width + pixel, inside, 0.0)
    if COARSER:
        down, across = (height + 1) // 2, (width + 1) // 2
        alone = ((y == height - 1) & (height % 2 == 1)).to(tl.float32) + 1.0
        alone *= ((x == width - 1) & (width % 2 == 1)).to(tl.float32) + 1.0
        total += 0.25 * alone * tl.load(coarser + plane * down * across + y // 2 * across + x // 2, inside, 0.0)
    tl.store(out + plane * height * width + pixel, total, inside)


@triton.jit
def terms_of_bands(
    a, b, sums, by_mean_a, by_mean_b, by_power, by_error, height, width, programs,
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
    program = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    tl.store(sums + plane * programs + program, tl.sum(total, 0))


@triton.jit
def gradients_of_bands(
    own, other, by_mean, by_power, by_error, out, height, width, BAND: tl.constexpr, COLUMNS: tl.constexpr
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
            tl.store(out + place, 2.0 * gradient, inside)


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
