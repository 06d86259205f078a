"""Haze-lines on a GPU: no table of pixels by lines is written, and pixels of one line do not wait for each other."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

COPIES = 64  # of each line's sums
PIXELS = 1024  # of one program, several a thread: they share the loads of the directions


def nearest_directions(offsets: Tensor, directions: Tensor) -> Tensor:
    """Index of the direction (LINES, 3) nearest in angle to each offset (M, 3), the first of several."""
    line = torch.empty(len(offsets), dtype=torch.long, device=offsets.device)
    _nearest_kernel[(triton.cdiv(len(offsets), PIXELS),)](
        offsets, directions, line, len(offsets), *offsets.stride(), LINES=len(directions), BLOCK=PIXELS
    )
    return line


@triton.jit
def _nearest_kernel(offsets, directions, line, count, by_pixel, by_channel, LINES: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < count
    offsets += by_pixel * i
    x = tl.load(offsets, inside, 0.0)
    y = tl.load(offsets + by_channel, inside, 0.0)
    z = tl.load(offsets + 2 * by_channel, inside, 0.0)
    largest = tl.full([BLOCK], float("-inf"), x.dtype)
    nearest = tl.zeros([BLOCK], tl.int32)
    for k in range(LINES):
        cosine = x * tl.load(directions + 3 * k)
        cosine += y * tl.load(directions + 3 * k + 1)
        cosine += z * tl.load(directions + 3 * k + 2)
        nearer = cosine > largest
        largest, nearest = tl.where(nearer, cosine, largest), tl.where(nearer, k, nearest)
    tl.store(line + i, nearest.to(tl.int64), inside)


def line_statistics(radius: Tensor, line: Tensor, lines: int) -> tuple[Tensor, Tensor, Tensor]:
    """As `lpie.operators.haze_lines.line_statistics`, each line's pixels dealt to COPIES of its sums."""
    exact = radius.double()
    place = line * COPIES + torch.arange(len(line), device=line.device) % COPIES

    def sums(values: Tensor) -> Tensor:
        return exact.new_zeros(lines * COPIES).scatter_add_(0, place, values).reshape(lines, COPIES).sum(dim=1)

    farthest = radius.new_zeros(lines * COPIES).scatter_reduce_(0, place, radius, "amax").reshape(lines, COPIES)
    count = sums(torch.ones_like(exact))
    mean = sums(exact) / count.clamp_min(1)
    variance = sums((exact - mean[line]).square()) / (count - 1).clamp_min(1)
    return farthest.amax(dim=1), variance.sqrt().to(radius), count.to(radius)
