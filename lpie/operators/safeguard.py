"""A safeguard for dehazing, no part of Berman et al.: where a photo does not show its haze, little is removed.

Non-local dehazing divides what differs from the airlight by the transmission. In a plain sky or dense fog there is no
object whose color could tell the transmission; it ends near its minimum, and noise, vignetting and the gray of clouds
grow tenfold: black corners, cobalt skies, contours in fog. Objects far darker than the airlight end in pure black.
"""

from __future__ import annotations

from torch.nn import functional

from lpie.imaging.checks import Number, per_photo
from lpie.imaging.color import luma
from lpie.imaging.guided_filter import guided_maps, largest_nearby, window_mean
from lpie.imaging.resampling import resize, scaled_size
from lpie.vocabulary import Airlight, Luminance, Photo, Transmission

PLAIN_TRANSMISSION = 0.65  # least transmission in plain places
KEPT = 0.2  # of each channel's value, at least
PLAIN, TEXTURED = 0.004, 0.014  # mean distance of the luma from its local mean: plain up to the first
SEEN = 480  # px, longer side of the copy that is looked at, so that a file's size does not matter
NEAR, REGION, EDGE = 4, 8, 19  # px there: window of the detail, half the smallest plain region, guided filter
EDGE_VARIANCE = 1e-3


def trusted_transmission(
    photo: Photo, transmission: Transmission, airlight: Airlight, amount: Number = 1.0
) -> Transmission:
    """The transmission, raised where too little of the photo would be left or nothing shows how much haze there is.

    `amount` in [0, 1]: 0 leaves the transmission as it is, between them in proportion. With 1 it is at least
    PLAIN_TRANSMISSION in plain regions (skies, fog), and so large that no channel falls below KEPT of its value.
    """
    color = airlight[:, :, None, None]
    lost = ((color - photo) / (color - KEPT * photo).clamp_min(1e-6)).amax(dim=1, keepdim=True)
    raised = transmission.maximum(PLAIN_TRANSMISSION * plain_regions(photo)).maximum(lost).clamp(max=1)
    return transmission + per_photo(amount, photo, "safeguard", least=0, most=1) * (raised - transmission)


def plain_regions(photo: Photo) -> Luminance:
    """1 in large regions without detail, 0 where there is any, along the photo's edges between them."""
    gray = luma(photo)
    height, width = gray.shape[2:]
    seen = resize(gray, *scaled_size(height, width, min(1.0, SEEN / max(height, width))))
    detail = window_mean((seen - window_mean(seen, NEAR)).abs(), 2 * NEAR)
    plain = 1 - ((detail - PLAIN) / (TEXTURED - PLAIN)).clamp(0, 1)
    eroded = -largest_nearby(-plain, REGION)
    large = largest_nearby(eroded, REGION + 3 * NEAR)  # and back over what the windows took from its border
    gain, offset = (
        functional.interpolate(part, size=(height, width), mode="bilinear", align_corners=False)
        for part in guided_maps(large, seen, EDGE, EDGE_VARIANCE)
    )
    return (gain * gray + offset).clamp(0, 1)
