"""Haze put on a clear photo, with its truth: the equation that dehazing inverts, in linear light."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lpie.imaging.checks import Number, check_airlight, check_photo, per_photo
from lpie.imaging.color import luma, to_linear, to_srgb
from lpie.imaging.guided_filter import guided_maps
from lpie.vocabulary import Airlight, Luminance, Photo, Transmission

PROXY_RADIUS = 0.06  # of the longer side: how far the depth proxy is smoothed along edges
PROXY_EPSILON = 1e-3


@dataclass(frozen=True)
class HazyScene:
    """A hazy photo and what it was made of."""

    photo: Photo
    transmission: Transmission
    airlight: Airlight
    clear: Photo


def add_haze(photo: Photo, depth: Luminance, airlight: Airlight, density: Number) -> HazyScene:
    """The photo seen through haze: in linear light I = t J + (1 - t) A with t = exp(-density depth).

    `photo` is clear, sRGB in [0, 1]; `depth` (N, 1, H, W) is at least 0, usually relative with 1 at the farthest point;
    `airlight` is the haze's color in sRGB; `density` >= 0 is the optical depth at depth 1, a number or one per photo.
    The hazy photo is sRGB in [0, 1]; differentiable in all four.

    Raises TypeError or ValueError where shapes, ranges or devices do not fit.

    Source: Koschmieder 1924; He et al. 2011, equations 1-2.
    Differs: those leave the encoding open and are mostly applied to sRGB values; light adds up in linear light.
    """
    check_photo(photo)
    check_airlight(airlight, photo)
    if depth.shape != photo[:, :1].shape:
        raise ValueError(f"Expected a depth of shape {tuple(photo[:, :1].shape)}, got {tuple(depth.shape)}.")
    optical = per_photo(density, photo, "density", least=0) * depth
    if photo.device.type == "cpu" and not bool((optical >= 0).all()):  # NaN fails too
        raise ValueError("density and depth must be numbers of at least 0: transmission would exceed 1.")
    transmission = torch.exp(-optical)
    light = transmission * to_linear(photo) + (1 - transmission) * to_linear(airlight)[:, :, None, None]
    return HazyScene(to_srgb(light).clamp(0, 1), transmission, airlight, photo)


def depth_proxy(photo: Photo) -> Luminance:
    """A stand-in for depth, in [0, 1], for photos that come without: not a measurement, only a plausible layout.

    Half of it rises from the bottom of the frame to its top, as the ground does; half follows brightness less
    saturation, which grow and fall with distance outdoors (Zhu et al., TIP 2015, equation 8, up to scale). Smoothed
    along the photo's edges and stretched over [0, 1].
    """
    check_photo(photo)
    height, width = photo.shape[2:]
    brightest, darkest = photo.amax(dim=1, keepdim=True), photo.amin(dim=1, keepdim=True)
    saturation = 1 - darkest / brightest.clamp_min(1e-3)
    attenuation = (1 + 0.96 * brightest - 0.78 * saturation) / 1.96
    rise = torch.linspace(1, 0, height, dtype=photo.dtype, device=photo.device)[:, None]
    radius = max(1, round(PROXY_RADIUS * max(height, width)))
    gain, offset = guided_maps((rise + attenuation) / 2, luma(photo), radius, PROXY_EPSILON)
    depth = gain * luma(photo) + offset
    least, most = depth.amin(dim=(2, 3), keepdim=True), depth.amax(dim=(2, 3), keepdim=True)
    return (depth - least) / (most - least).clamp_min(1e-6)
