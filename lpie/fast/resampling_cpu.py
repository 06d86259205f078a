"""Antialiased resampling on the CPU with a gradient as quick as itself: along columns only the band that counts."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lpie.fast.local_laplacian_numba import compiled
from lpie.vocabulary import Photo


def antialiased_weights(length: int, size: int, device: torch.device) -> Float[Tensor, "size length"]:
    """The matrix that resamples `length` pixels to `size` with a triangle as wide as the coarser of the two grids.

    Float64, rows summing to 1; what Pillow and torch call antialiased bilinear, border renormalized.
    """
    scale = length / size
    outputs = torch.arange(size, dtype=torch.float64, device=device)[:, None]
    inputs = torch.arange(length, dtype=torch.float64, device=device)
    weights = (1 - ((outputs + 0.5) * scale - (inputs + 0.5)).abs() / max(scale, 1.0)).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


class Band(NamedTuple):
    """A matrix whose rows are zero but for entries `first[row]` to `last[row] - 1`."""

    matrix: np.ndarray
    first: np.ndarray
    last: np.ndarray

    @classmethod
    def of(cls, matrix: np.ndarray) -> Band:
        used = matrix != 0
        return cls(np.ascontiguousarray(matrix), used.argmax(1), matrix.shape[1] - used[:, ::-1].argmax(1))


@lru_cache(maxsize=16)
def bands(length: int, size: int, dtype: torch.dtype) -> tuple[Band, Band]:
    """What resamples `length` pixels to `size`, and its transpose; numpy's, which no mode of autograd marks."""
    matrix = antialiased_weights(length, size, torch.device("cpu")).to(dtype).numpy()
    return Band.of(matrix), Band.of(matrix.T)


def resample_banded(photo: Photo, size: int) -> Float[Tensor, "n 3 size size"]:
    """The photo, on the CPU, on `size` x `size` pixels; differentiable any number of times."""
    (rows, rows_back), (columns, _) = (bands(length, size, photo.dtype) for length in photo.shape[2:])
    return _BandedProduct.apply(photo, rows, rows_back) @ torch.from_numpy(columns.matrix).T


class _BandedProduct(torch.autograd.Function):
    """A banded matrix times each channel; its gradient is the same with the transpose."""

    @staticmethod
    def forward(context: Any, image: Tensor, band: Band, transposed: Band) -> Tensor:
        context.bands = transposed, band
        n, channels, height, width = image.shape
        product = image.new_empty(n, channels, len(band.matrix), width)
        planes = image.detach().reshape(-1, height, width)
        multiply(*band, planes.numpy(), product.view(-1, *product.shape[2:]).numpy())
        return product

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _BandedProduct.apply(gradients[0], *context.bands), None, None


@compiled
def multiply(matrix, first, last, planes, out):
    """A banded matrix (rows, height) times each of `planes` (p, height, width) -> `out` (p, rows, width)."""
    for p in range(len(planes)):
        for row in range(len(matrix)):
            target = out[p, row]
            target[:] = 0
            for y in range(first[row], last[row]):
                weight, source = matrix[row, y], planes[p, y]
                for x in range(len(target)):
                    target[x] += weight * source[x]
