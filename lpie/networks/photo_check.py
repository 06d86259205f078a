"""The check at the door of the networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def check_photo(photo: Tensor, network: nn.Module) -> None:
    """Raise TypeError or ValueError unless `photo` is a batch (N, 3, H, W) of the precision that `network` computes in.

    That is the precision of its weights; under autocast float32, float16 and bfloat16 alike.
    """
    if not isinstance(photo, Tensor) or not photo.is_floating_point():
        received = photo.dtype if isinstance(photo, Tensor) else type(photo).__name__
        raise TypeError(f"Expected floating photos in [0, 1], got {received}: convert 8-bit photos with from_uint8.")
    if photo.ndim != 4 or photo.shape[1] != 3 or min(photo.shape) < 1:
        raise ValueError(f"Expected photos of shape (N, 3, H, W) with N, H, W of at least 1, got {tuple(photo.shape)}.")
    weights = next(network.parameters()).dtype
    mixed = torch.is_autocast_enabled(photo.device.type) and torch.float64 not in (photo.dtype, weights)
    if photo.dtype != weights and not mixed:
        name = str(weights).removeprefix("torch.")
        raise TypeError(
            f"Expected a {name} photo, as the network's weights are, got {photo.dtype}: convert it with "
            f"photo.to(torch.{name}), or run the network under torch.autocast for half precision."
        )
