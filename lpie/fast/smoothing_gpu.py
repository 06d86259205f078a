"""The multigrid of `lpie.operators.smoothing` in Triton: one launch for what takes torch ten to thirty.

The plain form is the definition. While grids are set up, an operator is a stencil (N, 9, H, W) in float64: each
pixel's links to its neighbors row by row, 0 beyond the photo, with its data weight in the middle. Cycles read the last
five of these planes in float32. Every output gathers what it needs: the same input gives the same bytes.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

PIXELS = 256  # of one program

_COMPILED: set[tuple[torch.Size, torch.device]] = set()  # shapes of photos whose kernels have run once


class Grid(NamedTuple):
    """One grid of the hierarchy, as the cycle reads it: float32, (N, planes, H, W)."""

    operator: Tensor  # data weights, links to the right, lower left, below and lower right
    scale: Tensor
    shares: Tensor
    diagonals: bool  # whether there are diagonal links: not on the finest grid


class System:
    """What `lpie.operators.smoothing.System` is, with its center, Chebyshev factors and pixels of the coarsest grid."""

    def __init__(
        self,
        weight: Tensor,
        links: tuple[Tensor, Tensor],
        center: float,
        factors: Sequence[tuple[float, float]],
        coarsest: int,
    ) -> None:
        self._first, self._factors = 1 / center, factors
        stencil = _stencil(weight, links)
        self._operator = stencil[:, 4:].float()
        self._grids: list[Grid] = []
        while stencil.shape[2] * stencil.shape[3] > coarsest:
            scale, shares = _interpolation(stencil)
            self._grids.append(Grid(stencil[:, 4:].float(), scale, shares[:, :4].float(), bool(self._grids)))
            stencil = _coarse_stencil(stencil, shares)
        n, _, height, width = stencil.shape
        units = torch.eye(height * width, dtype=torch.double, device=weight.device).reshape(-1, 1, height, width)
        units = units.repeat(n, 1, 1, 1)
        columns = torch.zeros_like(units)
        _step(stencil[:, 4:].repeat_interleave(height * width, dim=0), None, True, units, columns, columns)
        inverse, _ = torch.linalg.inv_ex(-columns.reshape(n, height * width, -1))  # an error would wait for the GPU
        self._inverse = inverse.float()

    def residual(self, x: Tensor, b: Tensor) -> Tensor:
        """b - A x."""
        r = torch.empty_like(b)
        _step(self._operator, None, False, x, b, r)
        return r

    def approximate(self, r: Tensor, depth: int = 0) -> Tensor:
        """An approximate solution of A x = r."""
        if depth == len(self._grids):
            return (self._inverse * r.flatten(1)[:, None]).sum(2).reshape(r.shape)  # no library, which would allocate
        operator, scale, shares, diagonals = self._grids[depth]
        grid = operator, scale, diagonals
        x, p, other, remainder = (torch.empty_like(r) for _ in range(4))
        _step(*grid, r, r, remainder, p, x, *self._factors[0], first=self._first)
        for k, factors in enumerate(self._factors[1:], 1):
            last = k == len(self._factors) - 1
            _step(*grid, p, remainder, remainder, None if last else other, None if k % 2 else x, *factors)
            p, other = other, p
        correction = _prolong(shares, self.approximate(_restrict(shares, remainder), depth + 1))
        _step(*grid, correction, remainder, remainder, p, x, 0.0, self._first, both=False)
        for k, factors in enumerate(self._factors[:-1]):
            last = k == len(self._factors) - 2
            _step(*grid, p, remainder, None if last else remainder, other, None if k % 2 else x, *factors)
            p, other = other, p
        return x


def repeat(step: Callable[[], None], count: int, values: Tensor) -> None:
    """`step` `count` times for such `values`, as a CUDA graph: its launches take longer than their work."""
    shape, device = values.shape, values.device
    if (shape, device) not in _COMPILED:
        step()
        _COMPILED.add((shape, device))
        count -= 1
    if count < 2 or torch.cuda.is_current_stream_capturing():
        for _ in range(count):
            step()
        return
    graph, stream, current = torch.cuda.CUDAGraph(), torch.cuda.Stream(device), torch.cuda.current_stream(device)
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        graph.capture_begin(capture_error_mode="thread_local")
        step()
        graph.capture_end()
    current.wait_stream(stream)
    for _ in range(count):
        graph.replay()


def _stencil(weight, links):
    n, _, height, width = weight.shape
    stencil = weight.new_zeros(n, 9, height, width, dtype=torch.double)
    stencil[:, 4:5] = weight
    stencil[:, 5:6, :, :-1] = stencil[:, 3:4, :, 1:] = links[0]
    stencil[:, 7:8, :-1] = stencil[:, 1:2, 1:] = links[1]
    return stencil


@triton.jit
def _place(height, width, BLOCK: tl.constexpr):
    """Index, row and column of a program's pixels, and which of them there are."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    return i, i // width, i % width, i < height * width


@triton.jit
def _value(p, scale, first, i, inside, FIRST: tl.constexpr):
    value = tl.load(p + i, inside, 0.0)
    if FIRST:
        value *= tl.load(scale + i, inside, 0.0) * first
    return value


@triton.jit
def _step_kernel(
    operator, scale, p, r, next_r, next_p, x, height, width, momentum, gain, first,
    DIAGONALS: tl.constexpr, FIRST: tl.constexpr, BOTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i, row, column, inside = _place(height, width, BLOCK)
    plane = height * width
    start = tl.program_id(1).to(tl.int64) * plane
    operator, p, r = operator + start * 5, p + start, r + start
    if scale is not None:
        scale += start
    own = _value(p, scale, first, i, inside, FIRST)
    remainder = tl.load(r + i, inside, 0.0) - tl.load(operator + i, inside, 0.0) * own
    for k in tl.static_range(1, 5):  # flows along the links
        down, right = (k + 4) // 3 - 1, (k + 4) % 3 - 1
        if DIAGONALS or down * right == 0:
            step = down * width + right
            there = inside & (row + down < height) & (column + right >= 0) & (column + right < width)
            flow = _value(p, scale, first, i + step, there, FIRST) - own
            remainder += tl.load(operator + k * plane + i, inside, 0.0) * flow
            there = inside & (row >= down) & (column >= right) & (column - right < width)
            flow = _value(p, scale, first, i - step, there, FIRST) - own
            remainder += tl.load(operator + k * plane + i - step, there, 0.0) * flow
    if next_r is not None:
        tl.store(next_r + start + i, remainder, inside)
    if next_p is not None:
        following = momentum * own + gain * tl.load(scale + i, inside, 0.0) * remainder
        tl.store(next_p + start + i, following, inside)
        if x is not None:
            if BOTH:
                own += following
            if not FIRST:
                own += tl.load(x + start + i, inside, 0.0)
            tl.store(x + start + i, own, inside)


def _step(operator, scale, diagonals, p, r, next_r, next_p=None, x=None, momentum=0.0, gain=0.0, first=None, both=True):
    """r -= A p, then p' = momentum p + gain scale r; x += p + p' or, without `both`, p. What is None is not kept.

    With `first`, p is scale r `first`, and x begins with 0. A p is summed as flows along the links.
    """
    n, _, height, width = r.shape
    which = {"DIAGONALS": diagonals, "FIRST": first is not None, "BOTH": both, "BLOCK": PIXELS}
    arguments = operator, scale, p, r, next_r, next_p, x, height, width, momentum, gain, first or 0.0
    _step_kernel[triton.cdiv(height * width, PIXELS), n](*arguments, **which)


@triton.jit
def _prolong_kernel(shares, coarse, out, height, width, coarse_height, coarse_width, BLOCK: tl.constexpr):
    i, row, column, inside = _place(height, width, BLOCK)
    plane = height * width
    n = tl.program_id(1).to(tl.int64)
    shares, coarse = shares + n * 4 * plane, coarse + n * coarse_height * coarse_width
    total = tl.zeros([BLOCK], tl.float32)
    for k in tl.static_range(4):
        y, x = row // 2 + k // 2, column // 2 + k % 2
        there = inside & (y < coarse_height) & (x < coarse_width) & (row % 2 >= k // 2) & (column % 2 >= k % 2)
        total += tl.load(shares + k * plane + i, there, 0.0) * tl.load(coarse + y * coarse_width + x, there, 0.0)
    tl.store(out + n * plane + i, total, inside)


def _prolong(shares, coarse):
    n, _, height, width = shares.shape
    out = shares.new_empty(n, 1, height, width)
    grid = triton.cdiv(height * width, PIXELS), n
    _prolong_kernel[grid](shares, coarse, out, height, width, *coarse.shape[-2:], BLOCK=PIXELS)
    return out


@triton.jit
def _restrict_kernel(shares, fine, out, height, width, coarse_height, coarse_width, BLOCK: tl.constexpr):
    i, row, column, inside = _place(coarse_height, coarse_width, BLOCK)
    plane = height * width
    n = tl.program_id(1).to(tl.int64)
    shares, fine = shares + n * 4 * plane, fine + n * plane
    total = tl.zeros([BLOCK], tl.float32)
    for k in tl.static_range(9):
        y, x = 2 * row + k // 3 - 1, 2 * column + k % 3 - 1
        which = (2 - k // 3) // 2 * 2 + (2 - k % 3) // 2
        there = inside & (y >= 0) & (y < height) & (x >= 0) & (x < width)
        total += tl.load(shares + which * plane + y * width + x, there, 0.0) * tl.load(fine + y * width + x, there, 0.0)
    tl.store(out + n * coarse_height * coarse_width + i, total, inside)


def _restrict(shares, fine):
    n, _, height, width = shares.shape
    out = shares.new_empty(n, 1, (height + 1) // 2, (width + 1) // 2)
    grid = triton.cdiv(out[0].numel(), PIXELS), n
    _restrict_kernel[grid](shares, fine, out, height, width, *out.shape[-2:], BLOCK=PIXELS)
    return out


@triton.jit
def _between_kernel(stencil, scale, shares, height, width, BLOCK: tl.constexpr):
    """The scale, and the shares of pixels on coarse ones and between two of them, in a row or in a column."""
    i, row, column, inside = _place(height, width, BLOCK)
    plane = height * width
    n = tl.program_id(1).to(tl.int64)
    middle, scale, shares = stencil + (n * 9 + 4) * plane + i, scale + n * plane + i, shares + n * 5 * plane + i
    diagonal = tl.load(middle, inside, 1.0)
    amounts = tl.zeros([BLOCK], tl.float64)
    for k in tl.static_range(1, 5):
        before, after = tl.load(middle - k * plane, inside, 0.0), tl.load(middle + k * plane, inside, 0.0)
        diagonal += before + after
        amounts += tl.abs(before) + tl.abs(after)
    tl.store(scale, (1 / tl.maximum(diagonal, (diagonal + amounts) / 2)).to(tl.float32), inside)
    in_column = row % 2 == 1
    along, across = tl.where(in_column, 3, 1) * plane, tl.where(in_column, 1, 3) * plane
    whole = diagonal - tl.load(middle - across, inside, 0.0) - tl.load(middle + across, inside, 0.0)
    between = inside & ((row + column) % 2 == 1)
    for k in tl.static_range(2):
        side = middle + (2 * k - 1) * along
        share = tl.load(side - across, inside, 0.0) + tl.load(side, inside, 0.0) + tl.load(side + across, inside, 0.0)
        tl.store(shares + k * tl.where(in_column, 2, 1) * plane, share / whole, between)
    tl.store(shares, tl.full([BLOCK], 1.0, tl.float64), inside & (row % 2 == 0) & (column % 2 == 0))


@triton.jit
def _amid_kernel(stencil, shares, height, width, BLOCK: tl.constexpr):
    """Shares of the pixels amid four coarse ones, from those of their neighbors."""
    i, row, column, inside = _place(height, width, BLOCK)
    plane = height * width
    n = tl.program_id(1).to(tl.int64)
    middle, shares = stencil + (n * 9 + 4) * plane + i, shares + n * 5 * plane + i
    amid = inside & (row % 2 == 1) & (column % 2 == 1)
    diagonal = tl.load(middle, amid, 1.0)
    for k in tl.static_range(1, 5):
        diagonal += tl.load(middle - k * plane, amid, 0.0) + tl.load(middle + k * plane, amid, 0.0)
    for k in tl.static_range(4):
        down, right = 2 * (k // 2) - 1, 2 * (k % 2) - 1
        share = tl.load(middle + (3 * down + right) * plane, amid, 0.0)
        by_row = tl.load(shares + k % 2 * plane + down * width, amid & (row + down < height), 0.0)
        share += tl.load(middle + 3 * down * plane, amid, 0.0) * by_row
        by_column = tl.load(shares + k // 2 * 2 * plane + right, amid & (column + right < width), 0.0)
        share += tl.load(middle + right * plane, amid, 0.0) * by_column
        tl.store(shares + k * plane, share / diagonal, amid)


def _interpolation(stencil):
    """Scale in float32; shares, and in a fifth plane their sum."""
    n, _, height, width = stencil.shape
    scale = stencil.new_empty(n, 1, height, width, dtype=torch.float32)
    shares = stencil.new_zeros(n, 5, height, width)
    grid = triton.cdiv(height * width, PIXELS), n
    _between_kernel[grid](stencil, scale, shares, height, width, BLOCK=PIXELS)
    _amid_kernel[grid](stencil, shares, height, width, BLOCK=PIXELS)
    torch.sum(shares[:, :4], 1, out=shares[:, 4])
    return scale, shares


@triton.jit
def _share(shares, row, column, coarse_row, coarse_column, inside, alone, width, plane):
    """Share of a coarse pixel in a fine one; where `alone` is 0, of all of them."""
    down, right = (coarse_row - row // 2) * alone, (coarse_column - column // 2) * alone
    near = inside & (down >= 0) & (down < 2) & (right >= 0) & (right < 2)
    return tl.load(shares + (2 * down + right + 4 - 4 * alone) * plane + row * width + column, near, 0.0)


@triton.jit
def _galerkin_kernel(stencil, shares, out, height, width, coarse_height, coarse_width, BLOCK: tl.constexpr):
    """A plane of the stencil of P^T A P; in the middle, what it makes of ones."""
    i, row, column, inside = _place(coarse_height, coarse_width, BLOCK)
    plane, kind = height * width, tl.program_id(2)
    n = tl.program_id(1).to(tl.int64)
    stencil, shares = stencil + n * 9 * plane, shares + n * 5 * plane
    to_row, to_column = row + kind // 3 - 1, column + kind % 3 - 1
    alone = tl.minimum(tl.abs(kind - 4), 1)
    there = (to_row >= 0) & (to_row < coarse_height) & (to_column >= 0) & (to_column < coarse_width)
    total = tl.zeros([BLOCK], tl.float64)
    for k in range(9):
        y, x = 2 * row + k // 3 - 1, 2 * column + k % 3 - 1
        here = inside & there & (y >= 0) & (y < height) & (x >= 0) & (x < width)
        own = _share(shares, y, x, to_row, to_column, here, alone, width, plane)
        product = tl.load(stencil + 4 * plane + y * width + x, here, 0.0) * own
        for link in tl.static_range(9):
            down, right = link // 3 - 1, link % 3 - 1
            joined = here & (y + down >= 0) & (y + down < height) & (x + right >= 0) & (x + right < width)
            other = _share(shares, y + down, x + right, to_row, to_column, joined, alone, width, plane)
            product += tl.load(stencil + link * plane + y * width + x, joined, 0.0) * (own - other)
        which = (2 - k // 3) // 2 * 2 + (2 - k % 3) // 2
        total += tl.load(shares + which * plane + y * width + x, here, 0.0) * product
    tl.store(out + (n * 9 + kind) * coarse_height * coarse_width + i, total * (1 - 2 * alone), inside)


def _coarse_stencil(stencil, shares):
    n, _, height, width = stencil.shape
    out = stencil.new_empty(n, 9, (height + 1) // 2, (width + 1) // 2)
    grid = triton.cdiv(out[0, 0].numel(), PIXELS), n, 9
    _galerkin_kernel[grid](stencil, shares, out, height, width, *out.shape[-2:], BLOCK=PIXELS)
    return out
