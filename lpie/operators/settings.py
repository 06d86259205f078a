"""What the operators are set to: the values that networks learn to imitate, and the ranges around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class ToneSettings:
    """The local Laplacian filter that tone networks imitate (Paris et al. 2011, section 5)."""

    alpha: float = 0.5  # below 1 enhances detail
    beta: float = 0.7  # below 1 compresses tone
    sigma_r: float = 0.2  # amplitude that separates detail from edges, in units of luminance


@dataclass(frozen=True)
class DehazeSettings:
    """The non-local dehazing that dehazing networks imitate (Berman et al. 2016)."""

    gamma: float = 1.0  # haze is undone in photo ** gamma
    smoothness: float = 0.1  # lambda, weight of the transmission's changes between neighbors
    floor: float = 0.1  # smallest transmission that is divided by
    haze_kept: float = 0.06  # share of the haze left: a distant scene with none at all looks unnatural
    safeguard: float = 0.0  # 0: the method as published; 1: skies and fog are held back in full


class Slider(NamedTuple):
    """How far a person may move a setting, and in which steps."""

    low: float
    high: float
    step: float


class Range(NamedTuple):
    """Where a network may put a setting, and where an untrained network puts it."""

    low: float
    start: float
    high: float


TONE_SLIDERS = {"alpha": Slider(0.1, 2.0, 0.05), "beta": Slider(0.0, 1.5, 0.05), "sigma_r": Slider(0.05, 0.6, 0.01)}
DEHAZE_SLIDERS = {
    "gamma": Slider(0.4, 2.4, 0.1),
    "smoothness": Slider(0.02, 0.5, 0.02),
    "floor": Slider(0.1, 0.5, 0.05),
    "haze_kept": Slider(0.0, 0.5, 0.02),
    "safeguard": Slider(0.0, 1.0, 0.1),
}

TONE_LEARNED = {"alpha": Range(0.25, 1, 1.5), "beta": Range(0.25, 1, 1.5), "sigma_r": Range(0.05, 0.2, 0.5)}
DEHAZE_LEARNED = {
    "airlight_red": Range(-0.15, 0, 0.15),  # added to the estimate
    "airlight_green": Range(-0.15, 0, 0.15),
    "airlight_blue": Range(-0.15, 0, 0.15),
    "floor": Range(0.05, DehazeSettings.floor, 0.5),  # below 0.1 it does nothing: `dehaze` finds no lower transmission
    "haze_kept": Range(0, DehazeSettings.haze_kept, 0.5),
}
