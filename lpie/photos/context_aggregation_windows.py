"""The context aggregation network on a photo too large to hold, exact in any window of it.

Its normalization needs the statistics of the whole photo, layer by layer: they are gathered once, tile by tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lpie.imaging.adaptive_normalization import NEGATIVE_SLOPE, Features, PerChannel, apply_affine, moments
from lpie.imaging.checks import check_precision
from lpie.imaging.kernels import channels_last, find
from lpie.networks.context_aggregation import (
    AdaptiveNormalization,
    ContextAggregationNetwork,
    full_precision,
    mirrored_places,
    on_cpu_in_full,
)
from lpie.vocabulary import Photo

Windowed: TypeAlias = Callable[[int, int, int, int], Photo]
"""(top, bottom, left, right) -> that window, (1, 3, bottom - top, right - left)."""


@torch.no_grad()
def fold(
    network: ContextAggregationNetwork, read: Windowed, height: int, width: int, tile: int = 1024
) -> FoldedContextAggregation:
    """The network with the statistics of one photo fixed, to be run window by window without a seam.

    `read` gives any window of the photo of that height and width. The statistics are exact and gathered in bounded
    memory: one pass over tiles of `tile` px for each layer, each tile with the margin that its layer sees. Sums are
    float64.
    """
    folded = FoldedContextAggregation(network, read, (height, width))
    border = network.receptive_radius if network.mirrored else 0
    size = (height + 2 * border, width + 2 * border)
    for layer, normalization in enumerate(network.normalizations):
        count, mean, squares = 0, torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for top, left, window in tile_windows(size, tile, sum(network.dilations[: layer + 1])):
            features = folded.next_features(folded.read(*(place - border for place in window)))
            part = features[..., top : top + tile, left : left + tile]
            added = part.shape[-2] * part.shape[-1]
            center, variance = (moment.double() for moment in moments(part))
            step = center - mean.to(center)
            mean = mean.to(center) + step * added / (count + added)
            squares = squares.to(center) + variance * added + step.square() * count * added / (count + added)
            count += added
        folded.append(*cast(AdaptiveNormalization, normalization).affine(mean, squares / count))
    return folded


class FoldedContextAggregation(nn.Module):
    """A context aggregation network whose normalization is fixed at one photo's statistics.

    `read` and `size`: that photo, as `fold` has it. `folded(window)` enhances a window of it (of the mirrored
    photo, if the network mirrors); pixels nearer than `receptive_radius` to a side of the window that is not a side
    of the photo are to be discarded, which `render` does. Windows may be of any size.
    """

    def __init__(self, network: ContextAggregationNetwork, read: Windowed, size: tuple[int, int]) -> None:
        super().__init__()
        self.network = network
        self.receptive_radius = network.receptive_radius
        self._read, self._size = read, size
        self._affine: list[tuple[PerChannel, PerChannel]] = []

    def read(self, top: int, bottom: int, left: int, right: int) -> Photo:
        """That window of the photo; beyond the photo's borders it is mirrored."""
        height, width = self._size
        if top >= 0 and left >= 0 and bottom <= height and right <= width:
            return self._read(top, bottom, left, right)
        rows, columns = mirrored_places(top, bottom, height), mirrored_places(left, right, width)
        above, before = int(rows.min()), int(columns.min())
        seen = self._read(above, int(rows.max()) + 1, before, int(columns.max()) + 1)
        rows, columns = (rows - above).to(seen.device), (columns - before).to(seen.device)
        return seen.index_select(-2, rows).index_select(-1, columns)

    def render(self, top: int, bottom: int, left: int, right: int) -> Photo:
        """The window of the enhanced photo, exactly as the whole photo in one piece would give it."""
        margin, (height, width) = self.receptive_radius, self._size
        above, below, before, after = top - margin, bottom + margin, left - margin, right + margin
        if not self.network.mirrored:
            above, below, before, after = max(above, 0), min(below, height), max(before, 0), min(after, width)
        enhanced = self(self.read(above, below, before, after))
        return enhanced[..., top - above : bottom - above, left - before : right - before]

    def append(self, scale: PerChannel, shift: PerChannel) -> None:
        """Fix the next layer's normalization."""
        self._affine.append((scale.float(), shift.float()))

    def _activate(self, window: Photo) -> Features:
        features = channels_last(window)
        for convolution, (scale, shift) in zip(self.network.convolutions, self._affine, strict=False):
            raw = convolution(features.to(self.network.last.weight.dtype))
            features = apply_affine(full_precision(raw), scale, shift)
            features = F.leaky_relu(features, NEGATIVE_SLOPE, inplace=not torch.is_grad_enabled())
        return features

    def next_features(self, window: Photo) -> Features:
        """Output of the first convolution whose normalization is not yet known."""
        features = self._activate(window).to(self.network.last.weight.dtype)
        return full_precision(self.network.convolutions[len(self._affine)](features))

    @torch.no_grad()
    def forward(self, window: Photo) -> Photo:
        """The enhanced window, in [0, 1]."""
        check_precision(window, self.network.last.weight.dtype)
        kernels = find("context_aggregation", window) if on_cpu_in_full(window) else None
        if kernels and all(len(scale) == 1 for scale, _ in self._affine):
            convolutions = [cast(nn.Conv2d, convolution).weight for convolution in self.network.convolutions]
            last, bias = self.network.last.weight, cast(Tensor, self.network.last.bias)
            dilations = self.network.dilations
            enhanced = kernels.enhance(
                window, convolutions, dilations, lambda layer, *_: self._affine[layer], last, bias
            )
        else:
            features = self._activate(window).to(self.network.last.weight.dtype)
            enhanced = full_precision(self.network.last(features))
        return enhanced.clamp(0, 1)


def tile_windows(size: Sequence[int], tile: int, margin: int) -> Iterator[tuple[int, int, tuple[int, int, int, int]]]:
    """Windows of `tile` px and a margin within the photo: where the tile starts in the window, and the window's
    top, bottom, left and right in the photo."""
    height, width = size
    for y in range(0, height, tile):
        for x in range(0, width, tile):
            top, left = max(y - margin, 0), max(x - margin, 0)
            yield y - top, x - left, (top, min(y + tile + margin, height), left, min(x + tile + margin, width))
