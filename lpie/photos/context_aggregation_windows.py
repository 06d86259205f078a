"""The context aggregation network on a photo too large to hold, exact in any window of it.

Its normalization needs the statistics of the whole photo, layer by layer: they are gathered once, tile by tile.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from lpie.imaging.kernels import channels_last
from lpie.networks.context_aggregation import (
    NEGATIVE_SLOPE,
    AdaptiveNormalization,
    ContextAggregationNetwork,
    PerChannel,
    apply_affine,
    full_precision,
    mirrored_places,
    moments,
)
from lpie.vocabulary import Photo

Windowed: TypeAlias = Callable[[int, int, int, int], Photo]
"""(top, bottom, left, right) -> that window, (1, channels, bottom - top, right - left)."""


@torch.no_grad()
def aggregated_windows(
    network: ContextAggregationNetwork, read: Windowed, height: int, width: int, tile: int = 1024
) -> Windowed:
    """Gives any window of the enhanced photo, in [0, 1], exactly as the whole photo in one piece would.

    `read` gives any window of the photo of that height and width. The statistics are exact and gathered in bounded
    memory: one pass over tiles of `tile` px for each layer, each tile with the margin that its layer sees. Sums are
    float64.
    """
    border = network.receptive_radius if network.mirrored else 0
    affine: list[tuple[PerChannel, PerChannel]] = []

    def seen(top: int, bottom: int, left: int, right: int, margin: int) -> Tensor:
        above, below = max(top - margin, -border), min(bottom + margin, height + border)
        before, after = max(left - margin, -border), min(right + margin, width + border)
        window = _mirrored(read, height, width, above, below, before, after)
        return _next_layer(network, affine, window)[..., top - above : bottom - above, left - before : right - before]

    @torch.no_grad()
    def render(top: int, bottom: int, left: int, right: int) -> Photo:
        return seen(top, bottom, left, right, network.receptive_radius).clamp(0, 1)

    for layer, normalization in enumerate(network.normalizations):
        count, mean, squares = 0, torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for top, left in product(range(-border, height + border, tile), range(-border, width + border, tile)):
            bottom, right = min(top + tile, height + border), min(left + tile, width + border)
            part = seen(top, bottom, left, right, sum(network.dilations[: layer + 1]))
            added = part.shape[-2] * part.shape[-1]
            center, variance = (moment.double() for moment in moments(part))
            step = center - mean.to(center)
            mean = mean.to(center) + step * added / (count + added)
            squares = squares.to(center) + variance * added + step.square() * count * added / (count + added)
            count += added
        scale, shift = cast(AdaptiveNormalization, normalization).affine(mean, squares / count)
        affine.append((scale.float(), shift.float()))
    return render


def _mirrored(read: Windowed, height: int, width: int, top: int, bottom: int, left: int, right: int) -> Photo:
    """That window of the photo, which goes on mirrored beyond its borders."""
    if top >= 0 and left >= 0 and bottom <= height and right <= width:
        return read(top, bottom, left, right)
    rows, columns = mirrored_places(top, bottom, height), mirrored_places(left, right, width)
    above, before = int(rows.min()), int(columns.min())
    window = read(above, int(rows.max()) + 1, before, int(columns.max()) + 1)
    rows, columns = (rows - above).to(window.device), (columns - before).to(window.device)
    return window.index_select(-2, rows).index_select(-1, columns)


def _next_layer(
    network: ContextAggregationNetwork, affine: list[tuple[PerChannel, PerChannel]], window: Tensor
) -> Tensor:
    """What the convolution gives that follows the layers whose normalization is known."""
    precision, features = network.last.weight.dtype, channels_last(window)
    for convolution, (scale, shift) in zip(network.convolutions, affine, strict=False):
        raw = full_precision(convolution(features.to(precision)))
        features = F.leaky_relu(apply_affine(raw, scale, shift), NEGATIVE_SLOPE, inplace=True)
    following = [*network.convolutions, network.last][len(affine)]
    return full_precision(following(features.to(precision)))
