"""Checks of the photos and numbers that come in, with one tolerance and one wording."""

from __future__ import annotations

from math import inf

import torch
from jaxtyping import Float
from torch import Tensor

from lpie.imaging.kernels import is_followed

TOLERANCE = 1e-3  # outside [0, 1]: taken for rounding; more is an error

Number = int | float | Float[Tensor, ""] | Float[Tensor, " #n"]
"""One for all photos, or one for each."""


def check_photo(photo: Tensor, name: str = "photo", *, wait: bool = False) -> None:
    """Raise TypeError or ValueError unless `photo` holds floating (N, 3, H, W) in [0, 1], none empty.

    Values on a GPU are checked only with `wait`, since that waits for the GPU.
    """
    check_shape(photo, name)
    check_range(photo, name, wait=wait)


def check_shape(photo: Tensor, name: str = "photo") -> None:
    """Raise TypeError or ValueError unless `photo` is a floating tensor (N, 3, H, W), none of them empty."""
    check_floating(photo, name)
    if photo.ndim != 4 or photo.shape[1] != 3 or 0 in photo.shape:
        raise ValueError(f"Expected photos (N, 3, H, W), none of them empty, as {name}, got {_told(photo)}.")


def _told(photo: Tensor) -> str:
    """The shape of what is no photo, and what makes it one as far as its axes tell."""
    shape, several = tuple(photo.shape), photo.ndim == 4
    if photo.ndim in (3, 4) and shape[-1] == 3 != shape[-3]:
        return f"shape {shape}; photo.permute({'0, 3, 1, 2)' if several else '2, 0, 1)[None]'} puts channels first"
    if photo.ndim == 2 or (photo.ndim in (3, 4) and shape[-3] == 1):
        return f"shape {shape}; photo.expand({-1 if several else 1}, 3, -1, -1) makes three channels of gray"
    return f"shape {shape}{'; photo[None] adds a batch axis' if photo.ndim == 3 == shape[0] else ''}"


def check_floating(photo: Tensor, name: str = "photo") -> None:
    """Raise TypeError unless `photo` is a floating tensor."""
    if not isinstance(photo, Tensor) or not photo.is_floating_point():
        received = photo.dtype if isinstance(photo, Tensor) else type(photo).__name__
        raise TypeError(
            f"Expected a floating tensor (N, 3, H, W) of values in [0, 1] as {name}, got {received}: "
            "lpie.read_photo reads files so, lpie.imaging.color.from_uint8 converts 8-bit values."
        )


def check_range(photo: Tensor, name: str = "photo", *, margin: float = TOLERANCE, wait: bool = False) -> None:
    """Raise ValueError unless values are in [0, 1], or `margin` outside (from 1 on also NaN); on a GPU with `wait`."""
    if not photo.numel() or is_followed() or not (wait or photo.device.type == "cpu"):
        return
    least, most = (bound.item() for bound in torch.aminmax(photo.detach()))
    if not ((least >= -margin and most <= 1 + margin) or (least != least and margin >= 1)):  # NaN fails comparisons
        advice = "it holds NaN" if least != least else "divide 8-bit values by 255, clip with .clamp(0, 1)"
        raise ValueError(f"Expected values in [0, 1] in {name}, got {least:g} to {most:g}: {advice}.")


def check_precision(photo: Tensor, weights: torch.dtype) -> None:
    """Raise TypeError or ValueError unless `photo` is (N, 3, H, W) of the precision that a network's weights have.

    Under autocast float32, float16 and bfloat16 are alike.
    """
    check_shape(photo)
    mixed = torch.is_autocast_enabled(photo.device.type) and torch.float64 not in (photo.dtype, weights)
    if photo.dtype != weights and not mixed:
        name = str(weights).removeprefix("torch.")
        raise TypeError(
            f"Expected a {name} photo, as the network's weights are, got {photo.dtype}: convert it with "
            f"photo.to(torch.{name}), or run the network under torch.autocast for half precision."
        )


def check_airlight(airlight: Tensor, photo: Tensor) -> None:
    """Raise ValueError unless `airlight` is one color in [0, 1] for each photo, on its device."""
    if tuple(airlight.shape) != (photo.shape[0], 3):
        raise ValueError(f"Expected an airlight of shape ({photo.shape[0]}, 3), got {tuple(airlight.shape)}.")
    if airlight.device != photo.device:
        raise ValueError(f"The airlight is on {airlight.device}, the photo on {photo.device}: move one with .to().")
    check_range(airlight, "airlight")


def per_photo(
    number: Number | Tensor,
    photo: Tensor,
    name: str,
    *,
    least: int | float = -inf,
    above: int | float = -inf,
    most: int | float = inf,
) -> Float[Tensor, "_ _ 1 1"]:
    """A number, one for each photo, or one for each photo's channel (N, 3), in a shape that multiplies (N, C, H, W).

    Raises ValueError unless it has one of these shapes and is finite, at least `least`, above `above` and at most
    `most`; tensors on a GPU are not checked for their values, since that would wait for the GPU.
    """
    if isinstance(number, Tensor):
        if number.shape not in ((), (1,), photo.shape[:1], (photo.shape[0], 3)):
            raise ValueError(f"{name}: expected shape () or ({len(photo)},), one per photo, got {tuple(number.shape)}.")
        looked_at = number.device.type == "cpu" and not is_followed() and number.numel() > 0
        lowest, highest = (bound.item() for bound in torch.aminmax(number.detach())) if looked_at else (most, most)
        value = number.to(photo).reshape(-1, 3 if number.ndim == 2 else 1, 1, 1)
    else:
        lowest = highest = number
        value, looked_at = photo.new_full((1, 1, 1, 1), number), True
    if looked_at and not (least <= lowest and above < lowest and highest <= most and highest < inf and lowest > -inf):
        wanted = ["finite"] + [f"at least {least:g}"] * (least > -inf) + [f"above {above:g}"] * (above > -inf)
        wanted += [f"at most {most:g}"] * (most < inf)
        got = f"{lowest:g}" if lowest == highest else f"{lowest:g} to {highest:g}"
        raise ValueError(f"{name} must be {' and '.join(wanted)}, got {got}.")
    return value
