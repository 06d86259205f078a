"""Changes of size."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def resize(photo: Float[Tensor, "n c h w"], height: int, width: int) -> Float[Tensor, "n c height width"]:
    """Bilinear resizing, antialiased when it reduces; differentiable. Raises ValueError below 1x1."""
    if height < 1 or width < 1:
        raise ValueError(f"Expected a size of at least 1x1, got {height}x{width}.")
    if photo.shape[-2:] == (height, width):
        return photo
    return F.interpolate(photo, (height, width), mode="bilinear", align_corners=False, antialias=True)


def reduced(photo: Float[Tensor, "n c h w"], shortest_side: int) -> Float[Tensor, "n c height width"]:
    """The photo with its shorter side reduced to `shortest_side` px, where it is longer; 0 keeps every photo."""
    height, width = photo.shape[-2:]
    if not shortest_side or min(height, width) <= shortest_side:
        return photo
    scale = shortest_side / min(height, width)
    return resize(photo, round(height * scale), round(width * scale))
