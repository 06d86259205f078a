"""The check at the door of the haze operators."""

from __future__ import annotations

import torch
from torch import Tensor

SLACK = 1e-3  # what resampling or half precision may add outside [0, 1]


def check_photo(photo: Tensor) -> None:
    """Raise TypeError or ValueError unless `photo` is a float32 or float64 (N, 3, H, W) in [0, 1], none empty.

    Values on a GPU are not looked at, since that would wait for it.
    """
    received = photo.dtype if isinstance(photo, Tensor) else type(photo).__name__
    if not isinstance(photo, Tensor) or photo.dtype not in (torch.float32, torch.float64):
        raise TypeError(
            f"Expected a float32 tensor (N, 3, H, W) in [0, 1], got {received}; "
            "read_photo reads files so, photo.float() converts half precision."
        )
    if photo.ndim != 4 or photo.shape[1] != 3 or not photo.numel():
        raise ValueError(
            f"Expected photos (N, 3, H, W), got shape {tuple(photo.shape)}; photo[None] adds a batch axis."
        )
    if photo.device.type == "cpu":
        least, most = (bound.item() for bound in torch.aminmax(photo.detach()))
        if not (least >= -SLACK and most <= 1 + SLACK):  # NaN fails both comparisons
            raise ValueError(
                f"Expected values in [0, 1], got {least:g} to {most:g}; divide 8-bit values by 255, look for NaN."
            )


def check_airlight(airlight: Tensor, photo: Tensor) -> None:
    """Raise ValueError unless `airlight` is one color in (0, 1] for each photo, on its device."""
    if tuple(airlight.shape) != (photo.shape[0], 3):
        raise ValueError(f"Expected an airlight of shape ({photo.shape[0]}, 3), got {tuple(airlight.shape)}.")
    if airlight.device != photo.device:
        raise ValueError(f"The airlight is on {airlight.device}, the photo on {photo.device}: move one with .to().")
    if airlight.device.type == "cpu" and not (airlight.min() >= 0 and airlight.max() <= 1):
        raise ValueError(f"An airlight is a color in [0, 1], got {airlight.tolist()}.")
