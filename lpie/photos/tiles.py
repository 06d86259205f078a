"""Networks and operators on photos too large to hold as tensors.

A renderer looks at the whole photo first, a band or a tile at a time, for what depends on all of it: statistics, a
thumbnail, the haze. It then gives any window of the photo that the network would give in one piece, without a seam.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, cast

import torch
from torch import Tensor, nn

from lpie.imaging.color import luma
from lpie.imaging.guided_filter import guided_maps
from lpie.imaging.resampling import bilinear_weights, resize, scaled_size
from lpie.names import printable
from lpie.networks.bilateral_grid import BilateralGrid
from lpie.networks.context_aggregation import ContextAggregationNetwork
from lpie.networks.operator_parameters import OperatorParameters, Settings
from lpie.operators import DehazeSettings, Operator, Slider, ToneSettings, nonlocal_dehazing
from lpie.operators.local_laplacian import SAMPLES, recolored
from lpie.operators.nonlocal_dehazing import Dehazed, restore
from lpie.photos.context_aggregation_windows import Windowed, aggregated_windows
from lpie.photos.local_laplacian_windows import filtered_windows
from lpie.vocabulary import Airlight, Luminance, Photo, Transmission

BAND_PIXELS = 2_000_000  # read at a time
SMALL_TILE = 512  # px: less memory, and as fast
HAZE_PIXELS = 2_500_000  # above these the haze is estimated on a reduced photo
GUIDED_RADIUS = 8  # px of the reduced photo
GUIDED_FLOOR = 1e-4  # added to the variance of the guide
SKIN = 0.03  # amplitude of luminance: pores, blemishes, rust and film grain stay below it
MOST_NOISE = 0.1
NOISE_SIDE = 1024  # px of the photo's middle in which noise is measured
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LargePhoto:
    """A photo that is read window by window, on the device where it is to be rendered."""

    read: Windowed
    height: int
    width: int
    name: str = "the photo"  # what messages call it

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
        down, total = bilinear_weights(self.height, height), torch.zeros(())
        for top, bottom in self.bands():
            band = resize(self.read(top, bottom, 0, self.width), bottom - top, width)
            total = total.to(band) + down[:, top:bottom].to(band) @ band
        return total


@dataclass(frozen=True)
class Enhancer:
    """What a photo is enhanced by, on `device`: a network, or the operator itself where there is none.

    `strength`: 0 leaves the photo, 1 enhances it in full, up to 1.5 goes beyond. An operator is moved by its own
    parameters, also where a network chose them: alpha, beta and adjustments go from where they do nothing through
    their values to the end of their ranges, transmission t becomes 1 - strength (1 - t). What other networks change
    is multiplied.
    `noise`: amplitude of luminance up to which tone mapping leaves detail alone; None measures it, see `noise_of`.
    """

    operator: Operator
    network: nn.Module | None
    settings: Any
    device: torch.device
    strength: float = 1.0
    noise: float | None = None


def rendered_tiles(
    enhancer: Enhancer, photo: LargePhoto, tile: int
) -> Iterator[tuple[tuple[int, int, int, int], Photo]]:
    """Every tile of the enhanced photo, at most `tile` px square: its top, bottom, left and right, and its pixels."""
    if tile < 1:
        raise ValueError(f"Expected tiles of at least 1 px, got {tile}.")
    if photo.height * photo.width <= tile * tile:
        tile = max(photo.height, photo.width)
    elif enhancer.network is None or not isinstance(enhancer.network, ContextAggregationNetwork):
        tile = min(tile, SMALL_TILE)  # the others see far, and tiles overlap by as much
    render = renderer(enhancer, photo, tile)
    for top, left in product(range(0, photo.height, tile), range(0, photo.width, tile)):
        where = (top, min(top + tile, photo.height), left, min(left + tile, photo.width))
        yield where, render(*where)


def renderer(enhancer: Enhancer, photo: LargePhoto, tile: int = SMALL_TILE) -> Windowed:
    """What gives the enhanced photo window by window, equal to the network or operator on the whole photo.

    Up to rounding; and where haze must be estimated on a photo of more than `HAZE_PIXELS`, that is done on a reduced
    copy and its transmission brought to full size by a guided filter. Operators and networks that are not known here,
    and context aggregation where the photo has no more pixels than a tile, get the whole photo at once.
    """
    network, operator = enhancer.network, enhancer.operator
    if network is None or isinstance(network, OperatorParameters):
        windows = {"tone": _tone, "dehaze": _dehazing}.get(operator.name)
        if windows is not None:
            return windows(enhancer, photo)
    if isinstance(network, ContextAggregationNetwork):
        render = _aggregation(network, photo, tile)
    elif isinstance(network, BilateralGrid):
        render = _grid(network, photo)
    else:
        whole = photo.whole()
        render = _window_of(network(whole) if network is not None else operator.apply(whole, enhancer.settings))
    return _multiplied(render, photo.read, enhancer.strength)


def noise_of(photo: LargePhoto) -> float:
    """Amplitude of luminance up to which detail is grain or skin, not to be enhanced: three standard deviations of the
    noise, at least `SKIN`.

    The noise is measured where it is least: the median absolute diagonal difference of 2 x 2 px, over 0.6745 (Donoho,
    Johnstone, 1994), of the middle of the photo.
    """
    top, left = (max(0, (side - NOISE_SIDE) // 2) for side in (photo.height, photo.width))
    seen = luma(photo.read(top, min(top + NOISE_SIDE, photo.height), left, min(left + NOISE_SIDE, photo.width)))
    diagonal = (seen[..., 1:, 1:] - seen[..., 1:, :-1] - seen[..., :-1, 1:] + seen[..., :-1, :-1]) / 2
    standard_deviation = diagonal.abs().median().item() / 0.6745 if diagonal.numel() else 0.0
    return min(max(SKIN, 3 * standard_deviation), MOST_NOISE)


def _multiplied(render: Windowed, read: Windowed, strength: float) -> Windowed:
    if strength == 1:
        return render

    def window(*where: int) -> Photo:
        return torch.lerp(read(*where), render(*where), strength).clamp(0, 1)

    return window


def _aggregation(network: ContextAggregationNetwork, photo: LargePhoto, tile: int) -> Windowed:
    if photo.height * photo.width <= tile * tile:  # several times faster than statistics that are gathered first
        return _window_of(network(photo.whole()))
    return aggregated_windows(network, photo.read, photo.height, photo.width)


def _grid(network: BilateralGrid, photo: LargePhoto) -> Windowed:
    grid = network.predict_grid(photo.reduced(*network.thumbnail_size(photo.height, photo.width)))

    def render(top: int, bottom: int, left: int, right: int) -> Photo:
        window = photo.read(top, bottom, left, right)
        return network.apply_grid(window, grid, rows=(top, photo.height), columns=(left, photo.width))

    return render


def _tone(enhancer: Enhancer, photo: LargePhoto) -> Windowed:
    network = cast(OperatorParameters | None, enhancer.network)
    if network is not None:
        settings = _moved(network.choose(photo.reduced(*network.thumbnail_size)), network.ranges, enhancer.strength)
    else:
        settings = tone_settings(enhancer.settings, enhancer.operator.ranges, enhancer.strength)
    changed = filtered_windows(
        lambda *where: luma(photo.read(*where)),
        photo.height,
        photo.width,
        **{name: settings[name] for name in ("alpha", "beta", "sigma_r")},
        samples=network.samples if network is not None else SAMPLES,
        noise=noise_of(photo) if enhancer.noise is None else enhancer.noise,
    )

    def render(*where: int) -> Photo:
        window = photo.read(*where)
        toned = recolored(window, luma(window), changed(*where))
        return network.finish(toned, settings) if network is not None else toned

    return render


def tone_settings(settings: ToneSettings, ranges: Mapping[str, Slider], strength: float) -> Settings:
    """The filter's settings at that strength: alpha and beta moved away from 1, where they do nothing."""
    given = {name: torch.tensor([float(value)]) for name, value in asdict(settings).items()}
    ends = {name: (ranges[name].low, 1.0, ranges[name].high) for name in ("alpha", "beta")}
    return given | _moved({name: given[name] for name in ends}, ends, strength)


def _moved(settings: dict[str, Tensor], ranges: Mapping[str, Any], strength: float) -> Settings:
    """Settings moved away from where they do nothing, which is in the middle of their range (low, start, high)."""
    moved = {}
    for name, value in settings.items():
        low, start, high = ranges[name]
        moved[name] = (start + strength * (value - start)).clamp(min(low, value.item()), max(high, value.item()))
    return moved if strength != 1 else settings


def _dehazing(enhancer: Enhancer, photo: LargePhoto) -> Windowed:
    settings, network = enhancer.settings, cast(OperatorParameters | None, enhancer.network)
    scale = min(1, math.sqrt(HAZE_PIXELS / (photo.height * photo.width)))
    small = photo.reduced(*scaled_size(photo.height, photo.width, scale))
    estimate = nonlocal_dehazing.dehaze(
        small, gamma=settings.gamma, smoothness=settings.smoothness, safeguard=settings.safeguard
    )
    _log_presence(estimate, printable(photo.name))
    chosen: Settings = {}
    if network is not None:
        chosen = network.choose(photo.reduced(*network.thumbnail_size), estimate)
        chosen = _moved(chosen, network.ranges, enhancer.strength)
    thicker = (1 - enhancer.strength * (1 - estimate.transmission)).clamp_min(DehazeSettings.floor)
    transmission_of = _window_of(thicker) if scale == 1 else _guided(thicker, luma(small), photo)

    def render(*where: int) -> Photo:
        window, transmission = photo.read(*where), transmission_of(*where)
        if network is not None:
            return network.render(window, chosen, Dehazed(window, transmission, estimate.airlight))
        return scene_behind(window, transmission, estimate.airlight, settings)

    return render


def scene_behind(photo: Photo, transmission: Transmission, airlight: Airlight, settings: DehazeSettings) -> Photo:
    """The scene behind a haze of that transmission, undone as `dehaze` does, in photo ** gamma; in [0, 1]."""
    power, kept = settings.gamma, settings.haze_kept
    scene = restore(photo**power, transmission, airlight**power, floor=settings.floor, haze_kept=kept)
    return scene.clamp(0, 1) ** (1 / power)


def _log_presence(estimate: Dehazed, name: str) -> None:
    presence = 1.0 if estimate.presence is None else estimate.presence.item()
    airlight = [round(value, 2) for value in estimate.airlight[0].tolist()]
    if presence == 0:
        log.info("%s: no haze found, so none is removed.", name)
    elif presence < 1:
        log.info("%s: little haze found: %.0f %% of it is undone, airlight %s.", name, 100 * presence, airlight)


def _window_of(whole: Tensor) -> Windowed:
    return lambda top, bottom, left, right: whole[..., top:bottom, left:right]


def _guided(transmission: Transmission, guide: Luminance, photo: LargePhoto) -> Windowed:
    """The transmission of a reduced photo at full size, following the edges of the full luminance.

    Source: He, Sun, "Fast guided filter", 2015, algorithm 2: a and b on the small photo, interpolated, applied to
    the large guide.
    """
    maps = torch.cat(guided_maps(transmission, guide, GUIDED_RADIUS, GUIDED_FLOOR), dim=1)

    def window(top: int, bottom: int, left: int, right: int) -> Transmission:
        down = bilinear_weights(maps.shape[2], photo.height, maps.device, (top, bottom)).float()
        across = bilinear_weights(maps.shape[3], photo.width, maps.device, (left, right)).float()
        a, b = (down @ (maps @ across.T)).split(1, dim=1)
        return (a * luma(photo.read(top, bottom, left, right)) + b).clamp(DehazeSettings.floor, 1)

    return window
