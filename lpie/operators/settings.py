"""What the operators are set to: the values that networks learn to imitate, and every default of an operator."""

from __future__ import annotations

from dataclasses import dataclass


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
