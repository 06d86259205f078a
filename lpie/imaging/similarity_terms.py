"""What every implementation of structural similarity shares: the window, the constants and the formula.

The formula is plain arithmetic without annotations, so that the same lines serve torch tensors and compiled CPU loops
(numba): see `lpie.losses.similarity`, which chooses between them.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from math import exp

WINDOW_SIZE = 11  # px
WINDOW_SIGMA = 1.5  # px
STABILIZERS = (0.01**2, 0.03**2)  # (K1 L)^2 and (K2 L)^2 for the data range L = 1
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, section 3.2: finest scale first
SMALLEST_CONTRAST = 1e-4  # floor of each scale's term, so that its power has a value
STEEPEST_CONTRAST = 1e-2  # floor of each scale's term in the power's gradient
MARGIN = WINDOW_SIZE // 2
"""Pixels at each edge whose window would leave the photo."""


def gaussian_window(size: int = WINDOW_SIZE, sigma: float = WINDOW_SIGMA) -> tuple[float, ...]:
    """One axis of the separable Gaussian window; sums to 1."""
    weights = [exp(-((index - (size - 1) / 2) ** 2) / (2 * sigma**2)) for index in range(size)]
    return tuple(weight / sum(weights) for weight in weights)


def luminance_and_contrast(mean_a, mean_b, power, error, c1, c2):
    """The luminance term and the contrast-structure term of each window.

    `power` and `error` are the window's means of a^2 + b^2 and of (a - b)^2; `c1`, `c2`: `STABILIZERS`. Since
    2 a b = a^2 + b^2 - (a - b)^2, four blurs do the work of the usual five, equal photos give exactly 1, and what
    similar photos lack of 1 is not lost in rounding.
    Source: Wang et al. 2004, equations 6, 9, 10 and 13 with C3 = C2 / 2.
    """
    mean_power = mean_a * mean_a + mean_b * mean_b
    shift = (mean_a - mean_b) * (mean_a - mean_b)
    brightness, variance = mean_power + c1, power - mean_power + c2
    return (brightness - shift) / brightness, (variance - (error - shift)) / variance
