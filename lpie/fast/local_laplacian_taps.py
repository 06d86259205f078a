"""Which samples of one pyramid level make up another, as tables that kernels of any device read."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

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


@lru_cache(maxsize=1024)
def _taps_of(matrix: Callable[[int], Any], most: int, height: int, width: int, device: torch.device) -> Taps:
    return Taps(*_taps(matrix(height), most, device), *_taps(matrix(width), most, device))


# (height, width, device) of the samples that are read -> their taps, two or four a side
reducing = partial(_taps_of, reduction, 4)  # to half the size
expanding = partial(_taps_of, expansion, 2)  # from half the size
reducing_back = partial(_taps_of, lambda side: reduction(side).T, 2)  # the adjoint of `reducing`
expanding_back = partial(_taps_of, lambda side: expansion(side).T, 4)


def _taps(matrix: object, most: int, device: torch.device) -> tuple[Tensor, ...]:
    """Columns and values of the entries of each row, at most `most`, filled up with weight 0."""
    rows = csr_array(matrix)
    rows.sum_duplicates()
    rows.eliminate_zeros()
    counts = np.diff(rows.indptr)
    slot = np.minimum(np.arange(most), counts[:, None] - 1)  # repeats the last sample: always a valid one
    entry = rows.indptr[:-1, None] + slot
    weights = np.where(np.arange(most) < counts[:, None], rows.data[entry], 0)
    tables = rows.indices[entry].astype(np.int32), weights.astype(np.float32)
    return tuple(torch.from_numpy(table).to(device) for table in tables)
