"""Which samples of one pyramid level make up another, as tables that kernels of any device read."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from lpie.imaging.pyramids import expansion, reduction


class Taps(NamedTuple):
    """For rows and for columns: the samples that make up each new one (int32) and their weights (float32)."""

    rows: Tensor
    row_weights: Tensor
    columns: Tensor
    column_weights: Tensor


@lru_cache(maxsize=256)
def reducing(height: int, width: int, device: torch.device) -> Taps:
    """To half the size, four samples a side."""
    return Taps(*_taps(reduction(height), 4, device), *_taps(reduction(width), 4, device))


@lru_cache(maxsize=256)
def expanding(height: int, width: int, device: torch.device) -> Taps:
    """From half the size, two samples a side."""
    return Taps(*_taps(expansion(height), 2, device), *_taps(expansion(width), 2, device))


@lru_cache(maxsize=256)
def reducing_back(height: int, width: int, device: torch.device) -> Taps:
    """The adjoint of `reducing`, two samples a side."""
    return Taps(*_taps(reduction(height).T, 2, device), *_taps(reduction(width).T, 2, device))


@lru_cache(maxsize=256)
def expanding_back(height: int, width: int, device: torch.device) -> Taps:
    """The adjoint of `expanding`, four samples a side."""
    return Taps(*_taps(expansion(height).T, 4, device), *_taps(expansion(width).T, 4, device))


def _taps(matrix: object, most: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Columns and values of the entries of each row, at most `most`, filled up with weight 0."""
    rows = csr_array(matrix)
    rows.sum_duplicates()
    rows.eliminate_zeros()
    counts = np.diff(rows.indptr)
    slot = np.minimum(np.arange(most), counts[:, None] - 1)  # repeats the last sample: always a valid one
    entry = rows.indptr[:-1, None] + slot
    weights = np.where(np.arange(most) < counts[:, None], rows.data[entry], 0)
    return (
        torch.from_numpy(rows.indices[entry].astype(np.int32)).to(device),
        torch.from_numpy(weights.astype(np.float32)).to(device),
    )
