"""Gaussian and Laplacian pyramids that commute with mirroring at every size.

Reducing halves an axis of n samples to ceil(n / 2); an axis of one sample stays. An even axis is averaged with
[1 3 3 1] / 8 between its samples, an odd one with [1 2 1] / 4 upon them, so that the coarse samples lie
symmetrically in both cases; expanding interpolates linearly between them. Ends are mirrored.

Source: Burt, Adelson, "The Laplacian pyramid as a compact image code", 1983, equations 1 and 2.
Differs: the paper's five-tap kernel starts at the first sample, so that an even axis reduced and mirrored is not
the axis mirrored and reduced; the two binomial kernels here are the shortest pair without that fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_array
from torch import Tensor

Image = Float[Tensor, "n c h w"]


def gaussian_pyramid(image: Image, levels: int) -> list[Tensor]:
    """`image` and its reductions, `levels` in all, finest first."""
    pyramid = [image]
    for _ in range(levels - 1):
        pyramid.append(reduce(pyramid[-1]))
    return pyramid


def laplacian_pyramid(gaussians: Sequence[Tensor]) -> list[Tensor]:
    """The Laplacian pyramid of a Gaussian one: each level less the next one expanded, and the residual."""
    finer = [fine - expand(coarse, fine.shape) for fine, coarse in pairwise(gaussians)]
    return [*finer, gaussians[-1]]


def collapse(pyramid: Sequence[Tensor]) -> Image:
    """The image whose Laplacian pyramid is `pyramid`."""
    image = pyramid[-1]
    for level in reversed(pyramid[:-1]):
        image = level + expand(image, level.shape)
    return image


def full_depth(height: int, width: int) -> int:
    """Levels of the deepest pyramid, whose residual is one value."""
    return (max(height, width) - 1).bit_length() + 1


def reduce(image: Image) -> Float[Tensor, "n c half_h half_w"]:
    """`image` at half the height and half the width, each rounded up."""
    return _halved(_halved(image, 3), 2)


def expand(image: Image, shape: Sequence[int]) -> Float[Tensor, "n c twice_h twice_w"]:
    """`image` interpolated to the height and width that end `shape`, of which it is the reduced size."""
    return _doubled(_doubled(image, shape[-1], 3), shape[-2], 2)


def _halved(x: Tensor, axis: int) -> Tensor:
    n = x.shape[axis]
    if n == 1:
        return x
    if n % 2 == 0:
        x = torch.cat([x.narrow(axis, 0, 1), x, x.narrow(axis, n - 1, 1)], axis)
        outer = _every_second(x, 0, n // 2, axis) + _every_second(x, 3, n // 2, axis)
        return (outer + 3 * (_every_second(x, 1, n // 2, axis) + _every_second(x, 2, n // 2, axis))) / 8
    x = torch.cat([x.narrow(axis, 1, 1), x, x.narrow(axis, n - 2, 1)], axis)
    outer = _every_second(x, 0, n // 2 + 1, axis) + _every_second(x, 2, n // 2 + 1, axis)
    return (outer + 2 * _every_second(x, 1, n // 2 + 1, axis)) / 4


def _doubled(x: Tensor, n: int, axis: int) -> Tensor:
    if n == 1:
        return x
    m = x.shape[axis]
    if n % 2 == 0:
        x = torch.cat([x.narrow(axis, 0, 1), x, x.narrow(axis, m - 1, 1)], axis)
        center = 0.75 * x.narrow(axis, 1, m)
        first, second = center + 0.25 * x.narrow(axis, 0, m), center + 0.25 * x.narrow(axis, 2, m)
        return torch.stack([first, second], axis + 1).flatten(axis, axis + 1)
    between = (x.narrow(axis, 0, m - 1) + x.narrow(axis, 1, m - 1)) / 2
    pairs = torch.stack([x.narrow(axis, 0, m - 1), between], axis + 1).flatten(axis, axis + 1)
    return torch.cat([pairs, x.narrow(axis, m - 1, 1)], axis)


def _every_second(x: Tensor, start: int, count: int, axis: int) -> Tensor:
    return x[(slice(None),) * axis + (slice(start, start + 2 * count - 1, 2),)]


def reduction(n: int) -> csr_array:
    """The matrix (ceil(n / 2), n) that reduces one axis of n samples."""
    if n == 1:
        return csr_array(np.ones((1, 1)))
    coarse = np.arange((n + 1) // 2)
    taps, weights = ([-1, 0, 1, 2], [1, 3, 3, 1]) if n % 2 == 0 else ([-1, 0, 1], [1, 2, 1])
    fine = 2 * coarse[:, None] + taps
    fine = np.clip(fine, 0, n - 1) if n % 2 == 0 else (n - 1) - np.abs((n - 1) - np.abs(fine))
    values = np.broadcast_to(np.array(weights) / sum(weights), fine.shape)
    rows = np.broadcast_to(coarse[:, None], fine.shape)
    return csr_array((values.ravel(), (rows.ravel(), fine.ravel())), shape=(len(coarse), n))


def expansion(n: int) -> csr_array:
    """The matrix (n, ceil(n / 2)) that expands one axis to n samples."""
    if n == 1:
        return csr_array(np.ones((1, 1)))
    m, fine = (n + 1) // 2, np.arange(n)
    place = (fine - 0.5) / 2 if n % 2 == 0 else fine / 2  # of each fine sample, in coarse samples
    left = np.floor(place)
    coarse = np.clip(np.stack([left, left + 1], 1), 0, m - 1).astype(int)
    weights = np.stack([1 - (place - left), place - left], 1)
    return csr_array((weights.ravel(), (np.repeat(fine, 2), coarse.ravel())), shape=(n, m))
