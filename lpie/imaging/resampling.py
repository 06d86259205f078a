"""Changes of size: in one call, or as matrices where a window, a band or the same bits on a GPU are wanted."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def resize(photo: Float[Tensor, "n c h w"], height: int, width: int) -> Float[Tensor, "n c height width"]:
    """Bilinear resizing, antialiased when it reduces; differentiable, of the photo's type. Raises ValueError below 1x1.

    On a GPU the gradient may differ in its last bits from run to run; that of `resize_by_products` does not.
    """
    if height < 1 or width < 1:
        raise ValueError(f"Expected a size of at least 1x1, got {height}x{width}.")
    if photo.shape[-2:] == (height, width):
        return photo
    precise = photo if photo.dtype in (torch.float32, torch.float64) else photo.float()  # others torch cannot resize
    resized = F.interpolate(precise, (height, width), mode="bilinear", align_corners=False, antialias=True)
    return resized.to(photo.dtype)


def scaled_size(height: int, width: int, scale: int | float) -> tuple[int, int]:
    """Both sides times `scale`, rounded, at least 1 px each."""
    return max(1, round(height * scale)), max(1, round(width * scale))


def reduced(photo: Float[Tensor, "n c h w"], shortest_side: int) -> Float[Tensor, "n c height width"]:
    """The photo with its shorter side reduced to `shortest_side` px, where it is longer; 0 keeps every photo."""
    height, width = photo.shape[-2:]
    scale = shortest_side / min(height, width)
    return resize(photo, *scaled_size(height, width, scale)) if 0 < scale < 1 else photo


def within(photo: Float[Tensor, "n c h w"], longest_side: int) -> Float[Tensor, "n c height width"]:
    """The photo with its longer side reduced to `longest_side` px, where it is longer, in [0, 1]."""
    height, width = photo.shape[-2:]
    scale = longest_side / max(height, width)
    return resize(photo, *scaled_size(height, width, scale)).clamp(0, 1) if scale < 1 else photo


def bilinear_weights(
    length: int, size: int, device: torch.device | str = "cpu", outputs: tuple[int, int] | None = None
) -> Float[Tensor, "outputs length"]:
    """The matrix that resamples `length` pixels to `size` with a triangle as wide as the coarser of the two grids.

    Float64, rows summing to 1: what Pillow and torch call antialiased bilinear, renormalized at the border, where
    pixels beyond the outermost centers take their value. `outputs`: first and end of the pixels wanted, by default all.
    """
    scale, (start, end) = length / size, outputs or (0, size)
    centers = (torch.arange(start, end, dtype=torch.float64, device=device)[:, None] + 0.5) * scale
    inputs = torch.arange(length, dtype=torch.float64, device=device) + 0.5
    weights = (1 - (centers - inputs).abs() / max(scale, 1.0)).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


def nearest_weights(length: int, size: int, device: torch.device | str = "cpu") -> Float[Tensor, "size length"]:
    """The matrix that takes, for each of `size` pixels, the one of `length` under its center; float64.

    Centers are summed up step by step, because Pillow does so and its rounding decides where a center falls between
    two pixels (every eleventh center, for a photo 640 px wide).
    """
    scale = length / size
    centers = accumulate([scale] * (size - 1), initial=scale * 0.5)
    taken = torch.tensor([int(center) for center in centers], device=device)
    return (taken[:, None] == torch.arange(length, device=device)).double()


def resize_by_products(
    photo: Float[Tensor, "n c h w"], size: int, weights: Callable[[int, int, torch.device], Tensor] = bilinear_weights
) -> Float[Tensor, "n c size size"]:
    """The photo on `size` x `size` pixels as two matrix products, whose gradient is deterministic on every device.

    `weights`: of a side's length, the pixels wanted and a device, the matrix (pixels, length).
    """
    rows, columns = (weights(length, size, photo.device).to(photo.dtype) for length in photo.shape[2:])
    return rows @ (photo @ columns.T)
