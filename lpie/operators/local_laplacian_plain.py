"""The local Laplacian filter in plain torch: any floating type and device, differentiable as often as wanted.

`sampled` is the fast form of Aubry et al.; `exact` is the definition of Paris et al., coefficient by coefficient.
Both filter (N, C, H, W) tensors in [0, 1]; alpha, beta, sigma_r and noise have shape (N, 1, 1, 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_array, eye_array
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lpie.imaging.kernels import is_transformed
from lpie.imaging.pyramids import collapse, expansion, gaussian_pyramid, laplacian_pyramid, reduction
from lpie.imaging.remapping import Settings, remap_gain

AT_A_TIME = 2**24  # remapped values held at a time


def sampled(values: Float[Tensor, "n 1 h w"], settings: Settings, samples: int, levels: int) -> Tensor:
    """The filter with `samples` centers evenly over [0, 1], coefficients interpolated linearly between the two nearest.

    What remapping adds to the image is filtered, not the remapped image, so that nothing added returns the image
    as it is. The centers are taken a few at a time and recomputed for the gradient: memory does not grow with them.
    """
    pyramid = gaussian_pyramid(values, levels)
    centers = torch.linspace(0, 1, samples, dtype=values.dtype, device=values.device).reshape(1, -1, 1, 1)
    changes = [torch.zeros_like(level) for level in pyramid]
    for few in centers.split(max(1, AT_A_TIME // values.numel()), dim=1):
        added = _recomputed(_changes, pyramid, few, settings, samples)
        changes = [*(change + more for change, more in zip(changes, added, strict=False)), changes[-1]]
    return values + collapse(changes)


def _recomputed(function: Callable[..., Any], *inputs: Any) -> Any:
    """`function(*inputs)`, which is computed again for its gradient instead of kept; kept in `torch.func`."""
    if is_transformed():
        return function(*inputs)
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)


def _changes(pyramid: list[Tensor], centers: Tensor, settings: Settings, samples: int) -> list[Tensor]:
    """What these centers add to each Laplacian coefficient, (N, 1, h, w) a level, the residual left out."""
    difference = pyramid[0] - centers
    remapped = (remap_gain(difference.abs(), *settings) - 1) * difference
    laplacian = laplacian_pyramid(gaussian_pyramid(remapped, len(pyramid)))[:-1]
    return [
        ((1 - (samples - 1) * (level - centers).abs()).clamp_min(0) * coefficients).sum(1, keepdim=True)
        for level, coefficients in zip(pyramid, laplacian, strict=False)
    ]


def exact(values: Float[Tensor, "n c h w"], settings: Settings, levels: int) -> Tensor:
    """The filter by its definition: each coefficient from its own remapping of the pixels that it depends on.

    With several channels differences are vectors: their length is remapped, their direction kept.
    """
    height, width = values.shape[-2:]
    pyramid = gaussian_pyramid(values, levels)
    rows, columns = _windows(height, levels), _windows(width, levels)
    changes = []
    for level, (down, across) in enumerate(zip(rows, columns, strict=True)):
        size = values.numel() * 4**-level * down[0].shape[1] * across[0].shape[1]
        parts = max(1, round(size / AT_A_TIME))
        bands = zip(*(table.chunk(parts) for table in down), pyramid[level].chunk(parts, dim=2), strict=True)
        changes.append(
            torch.cat(
                [_recomputed(_band, values, centers, (a, b, c), across, settings) for a, b, c, centers in bands], dim=2
            )
        )
    return values + collapse([*changes, torch.zeros_like(pyramid[-1])])


Window = tuple[Tensor, Tensor, Tensor]
"""For each coefficient along one axis: the pixels that it depends on, their share of the level's Gaussian
coefficient and of the next level's, expanded; all (coefficients, pixels)."""


def _band(values: Tensor, centers: Tensor, down: Window, across: Window, settings: Settings) -> Tensor:
    """Changes of some rows of coefficients with the Gaussian coefficients `centers`, (N, C, rows, columns)."""
    rows, columns = down[0].to(values.device), across[0].to(values.device)
    window = values[:, :, rows[:, None, :, None], columns[None, :, None, :]]  # n c y x i j
    difference = window - centers[..., None, None]
    distance = difference.abs() if values.shape[1] == 1 else _length(difference)
    change = (remap_gain(distance, *(setting[..., None, None] for setting in settings)) - 1) * difference
    weights = [table.to(values) for table in (*down[1:], *across[1:])]
    fine = torch.einsum("ncyxij,yi,xj->ncyx", change, weights[0], weights[2])
    return fine - torch.einsum("ncyxij,yi,xj->ncyx", change, weights[1], weights[3])


def _length(vectors: Tensor) -> Tensor:
    """Euclidean length over the channels, with a gradient of 0 at 0."""
    squares = vectors.square().sum(1, keepdim=True)
    positive = squares > 0
    return torch.where(positive, squares, 1).sqrt() * positive


def _windows(n: int, levels: int) -> list[Window]:
    """One table for each level but the last, of an axis of n pixels."""
    gaussian, tables = eye_array(n, format="csr"), []
    for _ in range(levels - 1):
        side = gaussian.shape[0]
        coarser = reduction(side) @ gaussian
        tables.append(_window(csr_array(gaussian), csr_array(expansion(side) @ coarser)))
        gaussian = coarser
    return tables


def _window(gaussian: csr_array, expanded: csr_array) -> Window:
    touched = csr_array(abs(gaussian) + abs(expanded))
    touched.sort_indices()
    first, last = touched.indices[touched.indptr[:-1]], touched.indices[touched.indptr[1:] - 1]
    count = int((last - first).max()) + 1
    start = np.minimum(first, gaussian.shape[1] - count)
    pixels = start[:, None] + np.arange(count)
    rows = np.arange(len(start))[:, None]
    shares = [torch.from_numpy(matrix[rows, pixels].toarray()) for matrix in (gaussian, expanded)]
    return torch.from_numpy(pixels), shares[0], shares[1]
