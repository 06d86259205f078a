"""The local Laplacian filter of an image too large to hold, exact in any window of it.

The filter adds to each level of the image's pyramid. What it adds to the `FINE` finest levels depends on a few pixels
around each, so a window with a margin suffices. What it adds to the coarser ones depends on the image only through
its remapped copies reduced `FINE` times, 1 / 4^FINE of their size: these are gathered from windows once and kept.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from lpie.imaging.kernels import find
from lpie.imaging.pyramids import collapse, expand, full_depth, gaussian_pyramid, laplacian_pyramid
from lpie.imaging.remapping import NOISE, remap_gain
from lpie.operators.local_laplacian import filtered_luminance
from lpie.photos.context_aggregation_windows import Windowed
from lpie.vocabulary import Luminance, PerPhoto

FINE = 5  # levels done window by window
MARGIN = 2  # px of the coarse level: the 2^(FINE + 1) - 1 px that a side of a window spoils, rounded up
TILE = 16  # px of the coarse level: 512 of the photo
AT_A_TIME = 8  # centers, where they are remapped one copy each


def filtered_windows(
    read: Windowed,
    height: int,
    width: int,
    *,
    alpha: PerPhoto,
    beta: PerPhoto,
    sigma_r: PerPhoto,
    samples: int,
    noise: float = NOISE,
) -> Windowed:
    """As `filtered_luminance` of one image (1, 1, height, width) that `read` gives by windows, any window of it."""
    rows, columns = _sizes(height), _sizes(width)
    settings = {"alpha": alpha, "beta": beta, "sigma_r": sigma_r, "noise": torch.full_like(alpha, noise)}
    added = _added_to_coarse(read, rows, columns, settings, samples)

    def window(top: int, bottom: int, left: int, right: int) -> Luminance:
        down = _spread(top >> FINE, -(-bottom >> FINE), rows)
        across = _spread(left >> FINE, -(-right >> FINE), columns)
        (y0, y1), (x0, x1) = down[0], across[0]
        fine = filtered_luminance(read(y0, y1, x0, x1), **settings, samples=samples, levels=FINE + 1)
        (a, b), (c, d) = down[FINE], across[FINE]
        coarse = added[..., a:b, c:d]
        for (a, b), (c, d) in zip(down[FINE - 1 :: -1], across[FINE - 1 :: -1], strict=True):
            coarse = expand(coarse, (b - a, d - c))
        return (fine + coarse)[..., top - y0 : bottom - y0, left - x0 : right - x0]

    return window


def _added_to_coarse(
    read: Windowed, rows: list[int], columns: list[int], settings: dict[str, Tensor], samples: int
) -> Tensor:
    """What the levels from `FINE` on receive, together, at the size of the first of them."""
    coarse = changes = torch.zeros(())
    for top, left in product(range(0, rows[FINE], TILE), range(0, columns[FINE], TILE)):
        bottom, right = min(top + TILE, rows[FINE]), min(left + TILE, columns[FINE])
        down, across = _spread(top, bottom, rows), _spread(left, right, columns)
        values = read(*down[0], *across[0])
        above, before = top - down[FINE][0], left - across[FINE][0]
        inside = (..., slice(above, above + bottom - top), slice(before, before + right - left))
        if not coarse.ndim:
            coarse = values.new_empty((1, 1, rows[FINE], columns[FINE]))
            changes = values.new_empty((1, samples, rows[FINE], columns[FINE]))
        coarse[..., top:bottom, left:right] = gaussian_pyramid(values, FINE + 1)[FINE][inside]
        changes[..., top:bottom, left:right] = _reduced_changes(values, settings, samples)[inside]
    levels = full_depth(rows[FINE], columns[FINE])
    pyramid = gaussian_pyramid(coarse, levels)
    added = [torch.zeros_like(level) for level in pyramid]
    for center, change in zip(torch.linspace(0, 1, samples).tolist(), changes.split(1, dim=1), strict=True):
        coefficients = laplacian_pyramid(gaussian_pyramid(change, levels))[:-1]
        for level, total, coefficient in zip(pyramid, added, coefficients, strict=False):
            total += (1 - (samples - 1) * (level - center).abs()).clamp_min(0) * coefficient
    return collapse(added)


def _reduced_changes(values: Luminance, settings: dict[str, Tensor], samples: int) -> Tensor:
    """What remapping adds about each center, reduced `FINE` times, (1, samples, h, w)."""
    shaped = {name: setting.reshape(-1, 1, 1, 1).to(values) for name, setting in settings.items()}
    kernels = find("local_laplacian", values) if values.dtype == torch.float32 and not values.is_cuda else None
    if kernels:
        return kernels.reduced_changes(values, tuple(shaped.values()), samples, FINE)
    centers = torch.linspace(0, 1, samples, dtype=values.dtype, device=values.device).reshape(1, -1, 1, 1)
    differences = (values - few for few in centers.split(AT_A_TIME, dim=1))
    changes = ((remap_gain(each.abs(), **shaped) - 1) * each for each in differences)
    return torch.cat([gaussian_pyramid(change, FINE + 1)[FINE] for change in changes], dim=1)


def _sizes(n: int) -> list[int]:
    """Length of an axis of n pixels at the levels 0 .. `FINE`."""
    return [-(-n >> level) for level in range(FINE + 1)]


def _spread(first: int, last: int, sizes: list[int]) -> list[tuple[int, int]]:
    """The range `first` .. `last` - 1 of the coarse level, widened by the margin, at the levels 0 .. `FINE`.

    At each level the range has the parity of the whole axis, on which the kernels of the pyramid depend.
    """
    ranges = [(max(first - MARGIN, 0), min(last + MARGIN, sizes[-1]))]
    for size in sizes[-2::-1]:
        start, stop = ranges[0]
        ranges.insert(0, (2 * start, 2 * stop if size % 2 == 0 else 2 * stop - 1))
    return ranges
