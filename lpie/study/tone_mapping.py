"""Scene light of any range made ready for display, by the local Laplacian filter of its logarithm."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from lpie.imaging.color import LINEAR_LUMINANCE, to_srgb, weighted
from lpie.imaging.remapping import NOISE
from lpie.operators.local_laplacian import filtered_luminance
from lpie.vocabulary import Photo

SIGMA_R = math.log(2.5)  # log ratio that separates detail from edges, which the paper uses throughout
CONTRAST = 100.0  # of the display, linear, between the two percentiles
OUTSIDE = 0.005  # share of the pixels beyond each percentile
DARKEST = 1e-8  # of the brightest luminance: what is darker, black too, counts as this


def tone_map(
    radiance: Float[Tensor, "n 3 h w"],
    *,
    beta: float,
    alpha: float = 1.0,
    sigma_r: float = SIGMA_R,
    contrast: float = CONTRAST,
) -> Photo:
    """`radiance` as a photo whose tone is compressed by `beta` and whose detail is bent by `alpha`.

    radiance: linear light >= 0 of any unit and range. alpha, beta: as of `local_laplacian`. sigma_r: a log
    ratio. contrast: > 1, of linear light, to which the range between the 0.5 and the 99.5 percentile is brought
    after filtering; what lies outside is clipped. The result does not depend on the unit of `radiance`.

    Raises ValueError where values are negative or not finite, or `contrast` is not above 1.

    Source: Paris et al. 2011, the section on tone mapping: log luminance, color ratios kept, fixed output contrast.
    Differs: encoded with the sRGB curve instead of the power 1 / 2.2, as photos of this project are.
    """
    if contrast <= 1:
        raise ValueError(f"contrast is a ratio above 1, got {contrast}.")
    if not bool((radiance.isfinite() & (radiance >= 0)).all()):
        raise ValueError("Expected finite light >= 0; clip negative values and replace NaN first.")
    luminance = weighted(radiance.split(1, dim=1), LINEAR_LUMINANCE)
    brightest = luminance.amax((1, 2, 3), keepdim=True)
    floor = (DARKEST * brightest).clamp_min(torch.finfo(luminance.dtype).tiny)
    logarithm = luminance.maximum(floor).log()
    lower, upper = logarithm.amin((1, 2, 3), keepdim=True), logarithm.amax((1, 2, 3), keepdim=True)
    span = (upper - lower).clamp_min(1e-6)
    edge, noise = sigma_r / span.flatten(), NOISE / span.flatten()
    scaled = filtered_luminance((logarithm - lower) / span, alpha=alpha, beta=beta, sigma_r=edge, noise=noise)
    filtered = scaled * span + lower
    flat = filtered.flatten(1)
    outside = round(OUTSIDE * (flat.shape[1] - 1))
    ranks = (outside + 1, flat.shape[1] - outside)
    dark, bright = (flat.kthvalue(rank, dim=1).values.reshape(-1, 1, 1, 1) for rank in ranks)
    stretch = math.log(contrast) / (bright - dark).clamp_min(1e-6)
    shown = ((filtered - bright) * torch.where(bright > dark, stretch, 1)).exp()
    return to_srgb((radiance * (shown / luminance.maximum(floor))).clamp(0, 1)).clamp(0, 1)  # Differs: the curve
