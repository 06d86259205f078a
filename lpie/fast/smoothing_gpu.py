"""Triton kernels of the multigrid solver: each does in one launch what `weighted_least_squares` writes in many.

All fields are contiguous, (N, 1, H, W) but for the links and the four shares. One program takes BLOCK pixels of the
batch, counted through. float32 in the V-cycle, float64 while the hierarchy is set up.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 512


def smooth_step(
    data: Tensor, links: tuple[Tensor, ...], scale: Tensor, p: Tensor, x: Tensor, r: Tensor, keep: float, add: float
) -> Tensor:
    """x += p and r -= A p in place; returns the next p = keep p + add scale r."""
    following = torch.empty_like(p)
    _launch_step(data, links, scale, p, x, r, following, keep, add)
    return following


def subtract_product(data: Tensor, links: tuple[Tensor, ...], p: Tensor, r: Tensor) -> None:
    """r -= A p in place."""
    _launch_step(data, links, None, p, None, r, None, 0.0, 0.0)


def _launch_step(data, links, scale, p, x, r, following, keep, add) -> None:
    height, width = data.shape[-2:]
    right, down = links[:2]
    diagonal, antidiagonal = links[2:] if len(links) == 4 else (right, right)
    grid = (triton.cdiv(data.numel(), BLOCK),)
    _step[grid](
        data,
        right,
        down,
        diagonal,
        antidiagonal,
        data if scale is None else scale,
        p,
        r if x is None else x,
        r,
        r if following is None else following,
        keep,
        add,
        data.numel(),
        height,
        width,
        NINE=len(links) == 4,
        SMOOTH=following is not None,
        BLOCK=BLOCK,
    )


@triton.jit(do_not_specialize=["count", "height", "width"])
def _step(
    data,
    right,
    down,
    diagonal,
    antidiagonal,
    scale,
    p,
    x,
    r,
    following,
    keep,
    add,
    count,
    height,
    width,
    NINE: tl.constexpr,
    SMOOTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = at < count
    column = at % width
    row = (at // width) % height
    photo = at // (width * height)
    first, last = column > 0, column < width - 1
    top, bottom = row > 0, row < height - 1

    value = tl.load(p + at, mask=here, other=0)
    product = tl.load(data + at, mask=here, other=0) * value
    link = (photo * height + row) * (width - 1) + column
    product += _flow(right + link, p + at + 1, value, here & last)
    product += _flow(right + link - 1, p + at - 1, value, here & first)
    link = (photo * (height - 1) + row) * width + column
    product += _flow(down + link, p + at + width, value, here & bottom)
    product += _flow(down + link - width, p + at - width, value, here & top)
    if NINE:
        link = (photo * (height - 1) + row) * (width - 1) + column
        product += _flow(diagonal + link, p + at + width + 1, value, here & bottom & last)
        product += _flow(diagonal + link - width, p + at - width - 1, value, here & top & first)
        product += _flow(antidiagonal + link - 1, p + at + width - 1, value, here & bottom & first)
        product += _flow(antidiagonal + link - (width - 1), p + at - width + 1, value, here & top & last)
    rest = tl.load(r + at, mask=here, other=0) - product
    tl.store(r + at, rest, mask=here)
    if SMOOTH:
        tl.store(x + at, tl.load(x + at, mask=here, other=0) + value, mask=here)
        scaled = tl.load(scale + at, mask=here, other=0) * rest
        tl.store(following + at, keep * value + add * scaled, mask=here)


@triton.jit
def _flow(link, neighbor, value, there):
    return tl.load(link, mask=there, other=0) * (value - tl.load(neighbor, mask=there, other=0))


def prolong(shares: Tensor, coarse: Tensor) -> Tensor:
    """Each fine pixel's share of the four coarse pixels around it."""
    height, width = shares.shape[-2:]
    fine = torch.empty_like(shares[:, :1], memory_format=torch.contiguous_format)
    grid = (triton.cdiv(fine.numel(), BLOCK),)
    _prolong[grid](shares, coarse, fine, fine.numel(), height, width, *coarse.shape[-2:], BLOCK=BLOCK)
    return fine


@triton.jit(do_not_specialize=["count", "height", "width", "coarse_height", "coarse_width"])
def _prolong(shares, coarse, fine, count, height, width, coarse_height, coarse_width, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = at < count
    column = at % width
    row = (at // width) % height
    photo = at // (width * height)
    above, left = row // 2, column // 2
    origin = (photo * coarse_height + above) * coarse_width + left
    plane = height * width
    share = shares + photo * 4 * plane + row * width + column
    right, below = here & (left + 1 < coarse_width), here & (above + 1 < coarse_height)
    total = tl.load(share, mask=here, other=0) * tl.load(coarse + origin, mask=here, other=0)
    total += tl.load(share + plane, mask=here, other=0) * tl.load(coarse + origin + 1, mask=right, other=0)
    under = origin + coarse_width
    total += tl.load(share + 2 * plane, mask=here, other=0) * tl.load(coarse + under, mask=below, other=0)
    total += tl.load(share + 3 * plane, mask=here, other=0) * tl.load(coarse + under + 1, mask=right & below, other=0)
    tl.store(fine + at, total, mask=here)


def restrict(shares: Tensor, fine: Tensor) -> Tensor:
    """The transpose of `prolong`."""
    photos, _, height, width = fine.shape
    coarse = fine.new_empty(photos, 1, (height + 1) // 2, (width + 1) // 2)
    grid = (triton.cdiv(coarse.numel(), BLOCK),)
    _restrict[grid](shares, fine, coarse, coarse.numel(), height, width, *coarse.shape[-2:], BLOCK=BLOCK)
    return coarse


@triton.jit(do_not_specialize=["count", "height", "width", "coarse_height", "coarse_width"])
def _restrict(shares, fine, coarse, count, height, width, coarse_height, coarse_width, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = at < count
    left = at % coarse_width
    above = (at // coarse_width) % coarse_height
    photo = at // (coarse_width * coarse_height)
    plane = height * width
    total = tl.load(fine + photo * plane, mask=here, other=0) * 0
    for k in tl.static_range(4):
        for corner in tl.static_range(4):
            row = 2 * (above - k // 2) + corner // 2
            column = 2 * (left - k % 2) + corner % 2
            there = here & (row >= 0) & (row < height) & (column >= 0) & (column < width)
            pixel = row * width + column
            share = tl.load(shares + (photo * 4 + k) * plane + pixel, mask=there, other=0)
            total += share * tl.load(fine + photo * plane + pixel, mask=there, other=0)
    tl.store(coarse + at, total, mask=here)
