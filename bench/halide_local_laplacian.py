"""The fast local Laplacian filter of one luminance as a Halide pipeline, for comparison.

Remapping, kernels, centers and residual are those of `lpie.operators.local_laplacian`; the schedule follows the one
that Halide's authors published for this filter: pyramids of the photo and of its remappings stored level by level,
in parallel over rows and vectorized; the output pyramid folded into strips of 64 rows.
"""

from __future__ import annotations

from collections.abc import Callable

import halide as hl
import numpy as np
import torch
from torch import Tensor

STEPS = 256  # table entries between two centers
STORED = 5  # levels worth a parallel loop over rows
VECTOR = 16


def compile_filter(
    luminance: Tensor, change: Callable[[Tensor], Tensor], centers: int, levels: int
) -> Callable[[], Tensor]:
    """A call that filters `luminance` (1, 1, H, W); `change` is what remapping adds to a difference."""
    x, y, k = hl.Var("x"), hl.Var("y"), hl.Var("k")
    height, width = luminance.shape[2:]
    photo = hl.Buffer(luminance[0, 0].contiguous().numpy())
    reach = centers * STEPS
    table = hl.Buffer(
        change(torch.arange(-reach, reach + 1, dtype=torch.float64) / (STEPS * (centers - 1))).float().numpy()
    )

    gray, remapped = hl.Func("gray"), hl.Func("remapped")
    clamped = hl.BoundaryConditions.repeat_edge(photo)
    gray[x, y] = clamped[x, y]
    entry = hl.i32(gray[x, y] * float((centers - 1) * STEPS) + 0.5) - STEPS * k + reach
    remapped[x, y, k] = gray[x, y] + table[hl.clamp(entry, 0, 2 * reach)]

    photos, runs = [gray], [remapped]
    for _ in range(levels - 1):
        photos.append(_down(photos[-1], (x, y)))
        runs.append(_down(runs[-1], (x, y, k)))
    outputs = [hl.Func(f"output{j}") for j in range(levels)]
    outputs[-1][x, y] = photos[-1][x, y]
    for j in reversed(range(levels - 1)):
        place = hl.clamp(photos[j][x, y], 0.0, 1.0) * float(centers - 1)
        below = hl.clamp(hl.i32(place), 0, centers - 2)
        between = place - hl.f32(below)
        laplacian = hl.Func(f"laplacian{j}")
        laplacian[x, y, k] = runs[j][x, y, k] - _up(runs[j + 1], (x, y, k))[x, y, k]
        change_ = (1.0 - between) * laplacian[x, y, below] + between * laplacian[x, y, below + 1]
        outputs[j][x, y] = _up(outputs[j + 1], (x, y))[x, y] + change_

    final, strip = hl.Func("final"), hl.Var("strip")
    final[x, y] = outputs[0][x, y]
    final.split(y, strip, y, 64).parallel(strip).vectorize(x, VECTOR)
    for j in range(1, levels):
        if j < STORED:
            photos[j].compute_root().parallel(y, 32).vectorize(x, VECTOR)
            runs[j].compute_root().reorder_storage(x, k, y).reorder(k, y).parallel(y, 8).vectorize(x, VECTOR)
            outputs[j].store_at(final, strip).compute_at(final, y).fold_storage(y, 8).vectorize(x, VECTOR)
        else:
            photos[j].compute_root()
            runs[j].compute_root().parallel(k)
            outputs[j].compute_root()
    outputs[0].compute_at(final, y).vectorize(x, VECTOR)

    result = np.empty((height, width), np.float32)
    buffer = hl.Buffer(result)
    final.compile_jit(hl.get_jit_target_from_environment())

    def run() -> Tensor:
        final.realize(buffer)
        return torch.from_numpy(result)[None, None]

    return run


def _down(f: hl.Func, axes: tuple[hl.Var, ...]) -> hl.Func:
    x, y, *rest = axes
    across, out = hl.Func(), hl.Func()
    at = lambda i: f[(i, y, *rest)]  # noqa: E731
    across[axes] = (at(2 * x - 1) + 3.0 * (at(2 * x) + at(2 * x + 1)) + at(2 * x + 2)) * 0.125
    row = lambda i: across[(x, i, *rest)]  # noqa: E731
    out[axes] = (row(2 * y - 1) + 3.0 * (row(2 * y) + row(2 * y + 1)) + row(2 * y + 2)) * 0.125
    return out


def _up(f: hl.Func, axes: tuple[hl.Var, ...]) -> hl.Func:
    x, y, *rest = axes
    across, out = hl.Func(), hl.Func()
    across[axes] = 0.25 * f[(x // 2 - 1 + 2 * (x % 2), y, *rest)] + 0.75 * f[(x // 2, y, *rest)]
    out[axes] = 0.25 * across[(x, y // 2 - 1 + 2 * (y % 2), *rest)] + 0.75 * across[(x, y // 2, *rest)]
    return out
