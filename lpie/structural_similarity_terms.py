"""What every implementation of structural similarity shares: the window, the constants and the formula.

The formula is plain arithmetic, so that the same lines serve torch tensors, compiled CPU loops (numba) and GPU
kernels (Triton): see `structural_similarity.py`, which chooses among them.
"""

from __future__ import annotations

from math import exp
from typing import Any

WINDOW_SIZE = 11  # px
WINDOW_SIGMA = 1.5  # px
K1, K2 = 0.01, 0.03  # stabilizers, relative to the data range of 1
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, section 3.2: finest scale first
SMALLEST_CONTRAST = 1e-4  # floor of each scale's term, so that its power has a finite value and gradient
MARGIN = WINDOW_SIZE // 2
"""Pixels at each edge whose window would leave the photo."""


def gaussian_window(size: int = WINDOW_SIZE, sigma: float = WINDOW_SIGMA) -> tuple[float, ...]:
    """One axis of the separable Gaussian window; sums to 1."""
    weights = [exp(-((index - (size - 1) / 2) ** 2) / (2 * sigma**2)) for index in range(size)]
    return tuple(weight / sum(weights) for weight in weights)


def luminance_and_contrast(mean_a: Any, mean_b: Any, power: Any, product: Any) -> Any:
    """The luminance term and the contrast-structure term of each window.

    `power` is the window's mean of a^2 + b^2, `product` that of a b. Only the sum of the variances enters, so four
    blurs do the work of the usual five. Source: Wang et al. 2004, equations 6, 9, 10 and 13 with C3 = C2 / 2.
    """
    mean_product = mean_a * mean_b
    mean_power = mean_a * mean_a + mean_b * mean_b
    luminance = (2.0 * mean_product + 0.0001) / (mean_power + 0.0001)  # K1^2
    contrast = (2.0 * (product - mean_product) + 0.0009) / (power - mean_power + 0.0009)  # K2^2
    return luminance, contrast


def similarity_slopes(mean_a: Any, mean_b: Any, power: Any, product: Any, with_luminance: Any) -> Any:
    """Derivatives of a window's term with respect to `mean_a`, `mean_b`, `power` and `product`.

    The term is luminance x contrast where `with_luminance` is 1, and contrast alone where it is 0.
    """
    mean_power = mean_a * mean_a + mean_b * mean_b
    luminance, contrast = luminance_and_contrast(mean_a, mean_b, power, product)
    inverse_brightness = 1.0 / (mean_power + 0.0001)
    inverse_variance = 1.0 / (power - mean_power + 0.0009)
    outer = with_luminance * luminance + (1.0 - with_luminance)  # what multiplies the contrast
    by_product = 2.0 * outer * inverse_variance
    by_power = -outer * contrast * inverse_variance
    inner = 2.0 * with_luminance * contrast * inverse_brightness
    by_mean_a = inner * (mean_b - mean_a * luminance) - by_product * mean_b - 2.0 * by_power * mean_a
    by_mean_b = inner * (mean_a - mean_b * luminance) - by_product * mean_a - 2.0 * by_power * mean_b
    return by_mean_a, by_mean_b, by_power, by_product
