"""The guided filter, which makes a map follow the edges of a photo, and the windows that it is built on."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lpie.vocabulary import Luminance


def guided_maps(values: Luminance, guide: Luminance, radius: int, epsilon: float) -> tuple[Luminance, Luminance]:
    """Gain and offset of each pixel's linear function of the guide: `gain * guide + offset` follows its edges.

    In each window of 2 radius + 1 pixels `values` become a linear function of the guide. `epsilon`: variance of the
    guide below which a window counts as flat. For a larger guide, both are resized.

    Source: He, Sun, Tang, "Guided image filtering", TPAMI 2013, algorithm 1; He, Sun, "Fast guided filter", 2015,
    algorithm 2, for maps found on a reduced photo.
    """
    guide_mean, mean = window_mean(guide, radius), window_mean(values, radius)
    gain = (window_mean(guide * values, radius) - guide_mean * mean) / (
        window_mean(guide.square(), radius) - guide_mean.square() + epsilon
    )
    return window_mean(gain, radius), window_mean(mean - gain * guide_mean, radius)


def largest_nearby(values: Tensor, radius: int) -> Tensor:
    """The largest value in the window of 2 radius + 1 pixels around each, which the border cuts."""
    rows = functional.max_pool2d(values, (1, 2 * radius + 1), stride=1, padding=(0, radius))
    return functional.max_pool2d(rows, (2 * radius + 1, 1), stride=1, padding=(radius, 0))


def window_mean(values: Tensor, radius: int) -> Tensor:
    """Mean over the window of 2 radius + 1 pixels around each, which the border cuts."""
    for axis in (2, 3):
        size = values.shape[axis]
        sums = functional.pad(values.double().cumsum(axis).transpose(2, axis), (0, 0, 1, 0)).transpose(2, axis)
        at = torch.arange(size, device=values.device)
        first, last = (at - radius).clamp_min(0), (at + radius + 1).clamp_max(size)
        count = (last - first).reshape((-1, 1) if axis == 2 else (1, -1))
        values = ((sums.index_select(axis, last) - sums.index_select(axis, first)) / count).to(values.dtype)
    return values
