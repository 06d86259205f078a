"""Networks and operators on photos too large to hold as tensors.

A renderer looks at the whole photo first, a band or a tile at a time, for what depends on all of it: statistics, a
thumbnail, the haze. It then gives any window of the photo that the network would give in one piece, without a seam.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lpie.imaging.color import luma
from lpie.imaging.resampling import resize
from lpie.networks.bilateral_grid import BilateralGrid, interpolation
from lpie.networks.context_aggregation import ContextAggregationNetwork
from lpie.networks.operator_parameters import OperatorParameters
from lpie.operators import nonlocal_dehazing
from lpie.operators.local_laplacian import SAMPLES, local_laplacian, recolored
from lpie.operators.nonlocal_dehazing import FLOOR, Dehazed
from lpie.photos.local_laplacian_windows import filtered_windows
from lpie.study.settings import ToneSettings
from lpie.vocabulary import Luminance, Photo, Transmission

Windowed: TypeAlias = Callable[[int, int, int, int], Photo]
"""(top, bottom, left, right) -> that window, (1, 3, bottom - top, right - left)."""

BAND_PIXELS = 2_000_000  # read at a time
HAZE_PIXELS = 2_500_000  # above these the haze is estimated on a reduced photo
GUIDED_RADIUS = 8  # px of the reduced photo
GUIDED_FLOOR = 1e-4  # added to the variance of the guide


@dataclass(frozen=True)
class LargePhoto:
    """A photo that is read window by window, on the device where it is to be rendered."""

    read: Windowed
    height: int
    width: int

    def bands(self) -> list[tuple[int, int]]:
        """First row and the row after the last of bands of about `BAND_PIXELS`."""
        rows = max(1, BAND_PIXELS // self.width)
        return [(top, min(top + rows, self.height)) for top in range(0, self.height, rows)]

    def whole(self) -> Photo:
        """All of it, for photos known to be small."""
        return self.read(0, self.height, 0, self.width)

    def reduced(self, height: int, width: int) -> Photo:
        """The same as `resize` of the whole: antialiased across in each band, down summed over the bands."""
        if self.height * self.width <= BAND_PIXELS:
            return resize(self.whole(), height, width)
        total, weights = torch.zeros(()), torch.zeros(())
        for top, bottom in self.bands():
            band = resize(self.read(top, bottom, 0, self.width), bottom - top, width)
            share = _shares(top, bottom, self.height, height).to(band)
            total = total.to(band) + share @ band
            weights = weights.to(band) + share.sum(dim=1, keepdim=True)
        return total / weights


def rendered_tiles(
    network: nn.Module | None, operator: str, photo: LargePhoto, tile: int
) -> Iterator[tuple[tuple[int, int, int, int], Photo]]:
    """Every tile of the enhanced photo, at most `tile` px square: its top, bottom, left and right, and its pixels."""
    if tile < 1:
        raise ValueError(f"Expected tiles of at least 1 px, got {tile}.")
    if photo.height * photo.width <= tile * tile:
        yield (0, photo.height, 0, photo.width), enhanced_whole(network, operator, photo.whole())
        return
    render = renderer(network, operator, photo)
    for top, left in product(range(0, photo.height, tile), range(0, photo.width, tile)):
        where = (top, min(top + tile, photo.height), left, min(left + tile, photo.width))
        yield where, render(*where)


def enhanced_whole(network: nn.Module | None, operator: str, photo: Photo) -> Photo:
    """The photo enhanced in one piece: by a network, or by the plain operator, as studied, if it is None."""
    if network is not None:
        return network(photo)
    if operator == "dehaze":
        return nonlocal_dehazing.dehaze(photo).photo
    tone = ToneSettings()
    return local_laplacian(photo, alpha=tone.alpha, beta=tone.beta, sigma_r=tone.sigma_r)


def renderer(network: nn.Module | None, operator: str, photo: LargePhoto) -> Windowed:
    """What gives the enhanced photo window by window: by a network, or by the plain operator if it is None.

    Equal to the network on the whole photo, up to rounding; where haze must be estimated on a photo of more than
    `HAZE_PIXELS`, that is done on a reduced copy and its transmission brought to full size by a guided filter.
    """
    if isinstance(network, ContextAggregationNetwork):
        return _aggregation(network, photo)
    if isinstance(network, BilateralGrid):
        return _grid(network, photo)
    if network is not None and not isinstance(network, OperatorParameters):
        raise TypeError(f"Expected a network of this package, got {type(network).__name__}.")
    return _tone(network, photo) if operator == "tone" else _dehazing(network, photo)


def _aggregation(network: ContextAggregationNetwork, photo: LargePhoto) -> Windowed:
    return network.fold_windows(photo.read, (photo.height, photo.width)).render


def _grid(network: BilateralGrid, photo: LargePhoto) -> Windowed:
    grid = network.predict_grid(photo.reduced(*network.thumbnail_size(photo.height, photo.width)))

    def render(top: int, bottom: int, left: int, right: int) -> Photo:
        window = photo.read(top, bottom, left, right)
        return network.apply_grid(window, grid, rows=(top, photo.height), columns=(left, photo.width))

    return render


def _tone(network: OperatorParameters | None, photo: LargePhoto) -> Windowed:
    tone = ToneSettings()
    settings = {name: torch.tensor([getattr(tone, name)]) for name in ("alpha", "beta", "sigma_r")}
    if network is not None:
        settings = network.choose(photo.reduced(*network.thumbnail_size))

    def read_luminance(top: int, bottom: int, left: int, right: int) -> Luminance:
        return luma(photo.read(top, bottom, left, right))

    samples = network.samples if network else SAMPLES
    changed = filtered_windows(
        read_luminance,
        photo.height,
        photo.width,
        alpha=settings["alpha"],
        beta=settings["beta"],
        sigma_r=settings["sigma_r"],
        samples=samples,
    )

    def render(top: int, bottom: int, left: int, right: int) -> Photo:
        window = photo.read(top, bottom, left, right)
        toned = recolored(window, luma(window), changed(top, bottom, left, right))
        return network.finish(toned, settings) if network else toned

    return render


def _dehazing(network: OperatorParameters | None, photo: LargePhoto) -> Windowed:
    scale = math.sqrt(HAZE_PIXELS / (photo.height * photo.width))
    if scale >= 1:
        estimate = nonlocal_dehazing.dehaze(photo.whole())
        transmission_of = _window_of(estimate.transmission)
    else:
        small = photo.reduced(max(1, round(photo.height * scale)), max(1, round(photo.width * scale)))
        estimate = nonlocal_dehazing.dehaze(small)
        transmission_of = _guided(estimate.transmission, luma(small), photo)
    settings = network.choose(photo.reduced(*network.thumbnail_size), estimate) if network else {}

    def render(top: int, bottom: int, left: int, right: int) -> Photo:
        window = photo.read(top, bottom, left, right)
        seen = Dehazed(window, transmission_of(top, bottom, left, right), estimate.airlight)
        if network:
            return network.render(window, settings, seen)
        return nonlocal_dehazing.restore(window, seen.transmission, seen.airlight).clamp(0, 1)

    return render


def _window_of(transmission: Transmission) -> Windowed:
    return lambda top, bottom, left, right: transmission[..., top:bottom, left:right]


def _guided(transmission: Transmission, guide: Luminance, photo: LargePhoto) -> Windowed:
    """The transmission of a reduced photo at full size, following the edges of the full luminance.

    Source: He, Sun, "Fast guided filter", 2015, algorithm 2: a and b on the small photo, interpolated, applied to
    the large guide.
    """

    def mean(values: Tensor) -> Tensor:
        size = 2 * GUIDED_RADIUS + 1
        return F.avg_pool2d(values, size, stride=1, padding=GUIDED_RADIUS, count_include_pad=False)

    center, level = mean(guide), mean(transmission)
    slope = (mean(guide * transmission) - center * level) / (mean(guide**2) - center**2 + GUIDED_FLOOR)
    maps = torch.cat([mean(slope), mean(level - slope * center)], dim=1)

    def window(top: int, bottom: int, left: int, right: int) -> Transmission:
        down = interpolation(bottom - top, top, photo.height, maps.shape[2], maps.device)
        across = interpolation(right - left, left, photo.width, maps.shape[3], maps.device)
        a, b = (down @ (maps @ across.T)).split(1, dim=1)
        return (a * luma(photo.read(top, bottom, left, right)) + b).clamp(FLOOR, 1)

    return window


def _shares(top: int, bottom: int, whole: int, size: int) -> Float[Tensor, "size rows"]:
    """Weight of the rows `top` .. `bottom` - 1 of `whole` in each of `size` rows of the antialiased reduction."""
    step = whole / size
    centers = (torch.arange(size, dtype=torch.float64) + 0.5) * step
    rows = torch.arange(top, bottom, dtype=torch.float64) + 0.5
    return (1 - (rows - centers[:, None]).abs() / max(step, 1)).clamp(min=0).float()
