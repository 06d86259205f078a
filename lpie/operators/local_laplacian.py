"""The local Laplacian filter: detail enhanced or smoothed, tone compressed or expanded, edges without halos.

Source: Paris, Hasinoff, Kautz, "Local Laplacian filters: edge-aware image processing with a Laplacian pyramid",
2011; Aubry, Paris, Hasinoff, Kautz, Durand, "Fast local Laplacian filters: theory and applications", 2014.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from lpie.imaging.checks import Number, check_photo, per_photo
from lpie.imaging.color import LINEAR_LUMINANCE, LUMA, to_linear, to_srgb, weighted
from lpie.imaging.kernels import find
from lpie.imaging.pyramids import full_depth
from lpie.imaging.remapping import NOISE, Settings
from lpie.operators import local_laplacian_plain as plain
from lpie.vocabulary import Luminance, Photo

Mode = Literal["luminance", "log", "rgb"]
SAMPLES = 256  # a center for each 8-bit level: within 2e-3 of the definition for alpha >= 0.5
RATIO_FLOOR = 0.01  # added to photo and luminance before their ratio is taken: bounds what noise near black grows to
LOG_FLOOR = 1e-3  # added to linear luminance before the logarithm, for the same reason


def local_laplacian(
    photo: Photo,
    *,
    alpha: Number,
    beta: Number,
    sigma_r: Number,
    samples: int = SAMPLES,
    levels: int | None = None,
    mode: Mode = "luminance",
    noise: Number = NOISE,
) -> Photo:
    """`photo` with local detail of amplitude up to `sigma_r` bent by the power `alpha`, larger edges scaled by `beta`.

    alpha: exponent > 0; below 1 enhances detail, above 1 smooths it.
    beta: gradient >= 0; below 1 compresses tone, above 1 expands it.
    sigma_r: amplitude > 0 that separates detail from edges, in the unit of what is filtered:
    mode: "luminance" filters Rec. 601 luma in [0, 1] and scales the colors by its change; "log" does so with the
        natural logarithm of linear luminance, where sigma_r is a log ratio such as log(2.5); "rgb" filters colors
        as vectors, where sigma_r is a distance in the RGB cube.
    samples: centers for which the photo is remapped, at least 2; more come closer to the definition. Mode "rgb"
        follows the definition itself.
    levels: of the pyramid, at least 1, the coarsest left as it is; None takes all until that is one value.
    noise: with alpha < 1, differences up to this are left alone and those from twice this enhanced in full.

    alpha, beta and sigma_r are numbers or tensors of shape () or (N,), a value for each photo. The result is in
    [0, 1], of the photo's shape, type and device, and differentiable in the photo and these three. Any height and
    width. With alpha = beta = 1 the photo comes back.

    Raises TypeError where the photo is no floating tensor and ValueError where shapes or numbers do not fit; values
    on a GPU are not checked, since that would wait for the GPU.

    Source: Paris et al. 2011, section 4, with the sampling of Aubry et al. 2014, section 4.
    Differs: (1) the pyramid commutes with mirroring, see `lpie.imaging.pyramids`; (2) its residual is one value;
    (3) color ratios are taken after adding 0.01, so that the luma is met exactly and noise near black stays small.
    """
    check_photo(photo)
    settings, depth = _settings(photo, alpha, beta, sigma_r, noise), _depth(photo, levels)
    channels = photo.split(1, dim=1)  # one color at a time, which keeps the temporaries of a large photo small
    if mode == "luminance":
        luminance = weighted(channels, LUMA)
        return recolored(photo, luminance, filtered(luminance, settings, samples, depth))
    if mode == "log":
        span = math.log1p(1 / LOG_FLOOR)
        logarithm = (weighted(map(to_linear, channels), LINEAR_LUMINANCE) / LOG_FLOOR).log1p() / span
        scaled = (*settings[:2], settings[2] / span, settings[3] / span)
        ratio = ((filtered(logarithm, scaled, samples, depth) - logarithm) * span).exp()
        changed = (((to_linear(c) + LOG_FLOOR) * ratio - LOG_FLOOR).clamp(0, 1) for c in channels)
        return torch.cat([to_srgb(c).clamp(0, 1) for c in changed], 1)
    if mode == "rgb":
        return plain.exact(photo, settings, depth).clamp(0, 1)
    raise ValueError(f"Unknown mode {mode!r}: choose one of {', '.join(get_args(Mode))}.")


def filtered_luminance(
    luminance: Luminance,
    *,
    alpha: Number,
    beta: Number,
    sigma_r: Number,
    samples: int = SAMPLES,
    levels: int | None = None,
    noise: Number = NOISE,
) -> Luminance:
    """One channel in [0, 1] filtered as by `local_laplacian`; the result is not clipped."""
    settings = _settings(luminance, alpha, beta, sigma_r, noise)
    return filtered(luminance, settings, samples, _depth(luminance, levels))


def recolored(photo: Photo, luminance: Luminance, changed: Luminance) -> Photo:
    """The photo with its luma changed and its color ratios kept, clipped to [0, 1]."""
    ratio = (changed + RATIO_FLOOR) / (luminance + RATIO_FLOOR)  # Differs: the floor
    return torch.cat([((c + RATIO_FLOOR) * ratio - RATIO_FLOOR).clamp(0, 1) for c in photo.split(1, dim=1)], 1)


def filtered(luminance: Luminance, settings: Settings, samples: int, levels: int) -> Luminance:
    """The filter itself, by kernels where there are any for the type and the device."""
    if samples < 2:
        raise ValueError(f"Interpolation needs at least 2 samples, got samples={samples}.")
    if luminance.dtype in (torch.float16, torch.bfloat16):
        return filtered(luminance.float(), settings, samples, levels).to(luminance.dtype)
    kernels = find("local_laplacian", luminance) if luminance.dtype == torch.float32 else None
    if kernels:
        return kernels.sampled(luminance, settings, samples, levels, plain.sampled)
    return plain.sampled(luminance, settings, samples, levels)


def _depth(photo: Tensor, levels: int | None) -> int:
    deepest = full_depth(*photo.shape[-2:])
    if levels is not None and levels < 1:
        raise ValueError(f"A pyramid needs at least one level, got levels={levels}.")
    return deepest if levels is None else min(levels, deepest)


def _settings(photo: Tensor, alpha: Number, beta: Number, sigma_r: Number, noise: Number) -> Settings:
    """The four settings, each (N, 1, 1, 1), checked."""
    shape = (len(photo), -1, -1, -1)
    return (
        per_photo(alpha, photo, "alpha", above=0).expand(shape),
        per_photo(beta, photo, "beta", least=0).expand(shape),
        per_photo(sigma_r, photo, "sigma_r", above=0).expand(shape),
        per_photo(noise, photo, "noise", least=0).expand(shape),
    )
