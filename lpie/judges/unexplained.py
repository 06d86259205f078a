"""Damage that nobody asked for: the part of a change that no tone curve, no local contrast and no haze can explain.

    unexplained_change(photo, enhanced)             # (N,): share of the area where such a change is seen
    unexplained_change(photo, dehazed, hazy=True)   # the same, where haze was to be removed
    unexplained_map(photo, enhanced)                # (N, 1, H, W): where, as the probability that it is seen
    explained_rendition(photo, enhanced)            # the nearest rendition that can be explained

An enhancement may change colors by a smooth function of the colors themselves, local contrast as local Laplacian
filters do, and haze as the dehazing operator does: where haze was to be removed, under any airlight, with any share
of the haze kept, and with its safeguard too. Of all such renditions of the photo, the one nearest to the enhanced
photo is found by robust least squares; what ColorVideoVDP sees between the two is unexplained. Bands and blotches of
a grid cell's size, hues that turn in places, weave, halos, ringing and clipped shadows are.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lpie.imaging.color import luma
from lpie.imaging.pyramids import expand, gaussian_pyramid
from lpie.imaging.resampling import within
from lpie.judges.full_reference import visible_difference
from lpie.operators.local_laplacian import RATIO_FLOOR, filtered_luminance
from lpie.operators.nonlocal_dehazing import Dehazed, dehaze, restore
from lpie.operators.safeguard import trusted_transmission
from lpie.vocabulary import Luminance, PerPhoto, Photo

SMALLEST_SIDE = 32  # px
LARGEST_SIDE = 1024
"""Larger photos are reduced to this: what is seen when the whole photo is on a screen."""

LOCAL_CONTRAST = ((0.3, 1.0, 0.1), (0.3, 1.0, 0.3), (2.0, 1.0, 0.2), (1.0, 0.5, 0.2), (1.0, 0.0, 0.4))
"""alpha, beta and sigma_r of the local Laplacian filters whose combinations are explained."""

VEIL = (3, 5, 7)
"""Levels of the pyramid of the darkest color, which says how much haze lies on a place."""

SAMPLES = 12  # of the local Laplacian filters: enough for a basis
FITTED = 10_000  # pixels that the rendition is fitted on
PASSES = 5  # of robust least squares
LUMA_SCALE, COLOR_SCALE = 0.02, 2.0  # residuals beyond which a pixel counts little: of luma, and in Lab
RIDGE = 1e-6
STEEPNESS = 2.0  # of the psychometric function: seen by half of the viewers at 1 JOD, by 16 of 100 at half a JOD


def unexplained_change(photo: Photo, enhanced: Photo, *, hazy: bool = False) -> PerPhoto:
    """Share of each photo's area, in [0, 1], where a change is seen that `explained_rendition` does not have.

    `photo` and `enhanced` (N, 3, H, W), sRGB in [0, 1], of equal shape, sides of at least 32 px. `hazy`: whether
    haze was to be removed. Above the `plain` of its row in `lpie.judges.JUDGES` the change is plain. Raises ValueError
    for other shapes, ImportError where the `study` extra is missing.
    """
    return unexplained_map(photo, enhanced, hazy=hazy).mean((1, 2, 3))


@torch.no_grad()
def unexplained_map(photo: Photo, enhanced: Photo, *, hazy: bool = False) -> Luminance:
    """The probability that an unexplained change is seen at each pixel, in [0, 1]; one half at 1 JOD.

    Sides are those of the photo, or reduced to `LARGEST_SIDE`. Errors as `unexplained_change`.

    Source: Weibull psychometric function, Watson, Probability summation over time, Vision Research 1979.
    """
    _check(photo, enhanced)
    if min(photo.shape[-2:]) < SMALLEST_SIDE:
        raise ValueError(f"Expected sides of at least {SMALLEST_SIDE} px, got {tuple(photo.shape)}: use larger photos.")
    photo, enhanced = within(photo, LARGEST_SIDE), within(enhanced, LARGEST_SIDE)
    seen = visible_difference(enhanced, explained_rendition(photo, enhanced, hazy=hazy))
    return 1 - torch.exp2(-(seen.clamp(min=0) ** STEEPNESS))


@torch.no_grad()
def explained_rendition(photo: Photo, enhanced: Photo, *, hazy: bool = False) -> Photo:
    """Of the renditions of each photo that tone, local contrast and haze explain, the nearest to `enhanced`.

    Luma first, a polynomial of the photo's color and the changes of `LOCAL_CONTRAST` filters; then colors, a
    polynomial of the photo's color at that luma. Pixels far off count little (Cauchy weights), so that damage in
    places does not bend the rendition of the rest. Errors as `unexplained_change`, but for the size.
    """
    _check(photo, enhanced)
    pairs = zip(photo.float().split(1), enhanced.float().split(1), strict=True)
    return torch.cat([_explained(*pair, hazy) for pair in pairs]).to(photo)


def _explained(photo: Photo, enhanced: Photo, hazy: bool) -> Photo:
    height, width = photo.shape[-2:]
    fitted = torch.randperm(height * width, generator=torch.Generator().manual_seed(0))[:FITTED].to(photo.device)
    brightness, lab = luma(photo), _lab(photo)
    features, shifts = _of_photo(photo.cpu().numpy().tobytes(), height, width, str(photo.device), hazy)
    change = _robust_fit(features, (luma(enhanced) - brightness).view(1, -1), LUMA_SCALE, fitted).view_as(brightness)
    gain = ((brightness + change).clamp(0, 1) + RATIO_FLOOR) / (brightness + RATIO_FLOOR)
    toned = ((photo + RATIO_FLOOR) * gain - RATIO_FLOOR).clamp(0, 1)
    toned_lab = _lab(toned)
    features = torch.cat([_color_features(toned_lab, lab), shifts])
    shift = _robust_fit(features, (_lab(enhanced) - toned_lab).view(3, -1), COLOR_SCALE, fitted)
    return _from_lab(toned_lab + shift.view_as(toned_lab))


@lru_cache(maxsize=2)
def _of_photo(pixels: bytes, height: int, width: int, device: str, hazy: bool) -> tuple[Tensor, Tensor]:
    """Features of luma, and of color those of the haze; kept, since several renditions of a photo ask for them."""
    photo, haze = _tensor(pixels, height, width, device), _haze(pixels, height, width, device)
    brightness, lab = luma(photo), _lab(photo)
    terms, shifts = _luma_terms(photo, brightness, lab, haze.photo), _color_shifts(haze.photo, lab)
    if hazy:  # with t the transmission, the scene behind the haze is a sum of I / t, of 1 / t and of colors
        guarded = trusted_transmission(photo, haze.transmission, haze.airlight)
        scene = restore(photo, guarded, haze.airlight).clamp(0, 1)
        terms.append(luma(scene) - brightness)
        shifts += _color_shifts(scene, lab)
        for transmission in (haze.transmission, guarded):
            gain = 1 / transmission - 1
            terms += [gain, gain * brightness]
            shifts += [gain, *(gain * color for color in _unit(lab))]
    return _stacked(terms), _stacked(shifts)


@lru_cache(maxsize=16)  # half of the work, a small part of the memory; photos of a study come round with every network
def _haze(pixels: bytes, height: int, width: int, device: str) -> Dehazed:
    return dehaze(_tensor(pixels, height, width, device))


def _tensor(pixels: bytes, height: int, width: int, device: str) -> Photo:
    return torch.frombuffer(bytearray(pixels), dtype=torch.float32).view(1, 3, height, width).to(device)


def _stacked(terms: list[Tensor]) -> Float[Tensor, "terms pixels"]:
    return torch.stack([term.flatten() for term in terms])


def _luma_terms(photo: Photo, brightness: Luminance, lab: Tensor, dehazed: Photo) -> list[Tensor]:
    tone = 2 * brightness - 1
    terms = [*_polynomial(_unit(lab)), luma(dehazed) - brightness]
    for alpha, beta, sigma in LOCAL_CONTRAST:
        filtered = filtered_luminance(brightness, alpha=alpha, beta=beta, sigma_r=sigma, samples=SAMPLES)
        change = filtered - brightness
        terms += [change, change * tone, change * tone.square()]
    for veil in _blurred(photo.amin(1, keepdim=True), VEIL):
        terms += [veil, veil * tone, veil.square()]
    return terms


def _color_shifts(dehazed: Photo, lab: Tensor) -> list[Tensor]:
    return [(after - before) / 50 for after, before in zip(_lab(dehazed)[1:], lab[1:], strict=True)]


def _color_features(toned: Tensor, lab: Tensor) -> Float[Tensor, "terms pixels"]:
    unit = _unit(toned)
    gain = (toned[0] - lab[0]) / 50
    return _stacked([*_polynomial(unit), gain, *(gain * color for color in unit), gain.square()])


def _polynomial(colors: Sequence[Tensor]) -> list[Tensor]:
    """All products of at most three of the colors, and the first to the fourth power."""
    terms = [torch.ones_like(colors[0])]
    for i, first in enumerate(colors):
        terms.append(first)
        for j, second in enumerate(colors[i:], i):
            terms.append(first * second)
            terms += [first * second * third for third in colors[j:]]
    return [*terms, colors[0] ** 4]


def _robust_fit(
    features: Float[Tensor, "terms pixels"], wanted: Float[Tensor, "values pixels"], scale: float, fitted: Tensor
) -> Float[Tensor, "values pixels"]:
    """The combination of `features` nearest to `wanted` where most pixels agree; the first feature is constant 1.

    Source: iteratively reweighted least squares with Cauchy weights, Holland and Welsch 1977.
    """
    rows, goal = features[:, fitted].double(), wanted[:, fitted].double()
    size = rows.square().mean(1, keepdim=True).sqrt().clamp_min(1e-6)
    rows = rows / size
    small = RIDGE * rows.shape[1] * torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
    weight = torch.ones_like(goal[:1])
    for _ in range(PASSES):
        weighted = rows * weight
        shares = torch.linalg.solve(weighted @ rows.T + small * weight.mean(), weighted @ goal.T)
        residual = (goal - shares.T @ rows).norm(dim=0, keepdim=True)
        weight = 1 / (1 + (residual / scale).square())
    return (shares / size).T.float() @ features


def _blurred(luminance: Luminance, levels: Sequence[int]) -> list[Luminance]:
    pyramid = gaussian_pyramid(luminance, max(levels) + 1)
    blurred = []
    for level in levels:
        values = pyramid[level]
        for finer in reversed(pyramid[:level]):
            values = expand(values, finer.shape[-2:])
        blurred.append(values)
    return blurred


def _unit(lab: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return lab[0] / 50 - 1, lab[1] / 50, lab[2] / 50


def _lab(photo: Photo) -> Float[Tensor, "3 h w"]:
    from skimage.color import rgb2lab

    return torch.from_numpy(rgb2lab(photo[0].cpu().permute(1, 2, 0).numpy())).permute(2, 0, 1).to(photo)


def _from_lab(lab: Float[Tensor, "3 h w"]) -> Photo:
    from skimage.color import lab2xyz, xyz2rgb

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Conversion from CIE-LAB")  # colors that no photo has are clipped
        colors = lab2xyz(lab.cpu().permute(1, 2, 0).numpy().astype(np.float64).clip(-200, 200))
    return torch.from_numpy(xyz2rgb(colors)).permute(2, 0, 1)[None].to(lab).clamp(0, 1)


def _check(photo: Photo, enhanced: Photo) -> None:
    if photo.shape != enhanced.shape:
        raise ValueError(f"An enhanced photo has its photo's shape {tuple(photo.shape)}, got {tuple(enhanced.shape)}.")
