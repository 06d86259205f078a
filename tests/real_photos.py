"""Photographs that come with scikit-image, as tensors."""

from __future__ import annotations

import torch
from skimage import data
from torch import Tensor


def photograph(name: str, rows: slice = slice(None), columns: slice = slice(None)) -> Tensor:
    """One of them, or a window of it: (1, 3, H, W) float32 sRGB in [0, 1]."""
    pixels = getattr(data, name)()[rows, columns, :3]
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
