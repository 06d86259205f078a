"""Dehazing by the dark channel prior (He, Sun, Tang, CVPR 2009 and TPAMI 2011), the baseline of the dehazing tables.

In most patches of a clear photo some pixel has a channel near zero; what lifts that minimum is taken for haze.
"""

from __future__ import annotations

from lpie.imaging.checks import check_airlight, check_photo
from lpie.imaging.color import luma
from lpie.imaging.guided_filter import guided_maps
from lpie.operators.airlight import dark_channel
from lpie.operators.nonlocal_dehazing import Dehazed, restore
from lpie.vocabulary import Airlight, Photo, Transmission

HAZE_REMOVED = 0.95  # omega: a trace of haze is kept for the sake of depth
FLOOR = 0.1  # t0
BRIGHTEST = 0.001  # share of the pixels among which the airlight is sought
GUIDE_RADIUS = 60  # px
GUIDE_EPSILON = 1e-3


def dark_channel_airlight(photo: Photo) -> Airlight:
    """The brightest color among the BRIGHTEST share of pixels of the largest dark channel (He et al. 2011, 4.3)."""
    check_photo(photo)
    dark = dark_channel(photo).flatten(1)
    hazy = dark.topk(_few(dark.shape[1]), dim=1).indices
    colors = photo.flatten(2).gather(2, hazy[:, None].expand(-1, 3, -1))
    brightest = colors.sum(dim=1).argmax(dim=1)
    return colors.gather(2, brightest[:, None, None].expand(-1, 3, 1))[..., 0]


def brightest_pixel_airlight(photo: Photo) -> Airlight:
    """The mean color of the BRIGHTEST share of pixels (Tan 2008 takes the brightest alone, which is often a lamp)."""
    check_photo(photo)
    brightness = photo.sum(dim=1).flatten(1)
    brightest = brightness.topk(_few(brightness.shape[1]), dim=1).indices
    return photo.flatten(2).gather(2, brightest[:, None].expand(-1, 3, -1)).mean(dim=2)


def dark_channel_dehaze(photo: Photo, airlight: Airlight | None = None) -> Dehazed:
    """The photo without haze by the dark channel prior; `airlight` is estimated by the same prior if not given.

    Transmission in [FLOOR, 1], result in [0, 1].

    Source: He et al. 2011, equations 12 and 16; refined by the guided filter (He, Sun, Tang 2013) as its authors do.
    Differs: the guide is the luma instead of the color photo.
    """
    check_photo(photo)
    airlight = dark_channel_airlight(photo) if airlight is None else airlight
    check_airlight(airlight, photo)
    color = airlight[:, :, None, None]
    raw = 1 - HAZE_REMOVED * dark_channel(photo / color.clamp_min(1e-3))
    gain, offset = guided_maps(raw, luma(photo), GUIDE_RADIUS, GUIDE_EPSILON)
    transmission: Transmission = (gain * luma(photo) + offset).clamp(FLOOR, 1)
    scene = restore(photo, transmission, airlight, floor=FLOOR, haze_kept=0.0)
    return Dehazed(scene.clamp(0, 1), transmission, airlight)


def _few(pixels: int) -> int:
    return max(1, int(pixels * BRIGHTEST))
