"""What a photographer sets for the whole picture: exposure, white balance, contrast, saturation.

Each maps [0, 1] to [0, 1] (saturation may leave it), keeps black and white where they are, and is differentiable in
the photo and its setting, which is a number or one value per photo (shape () or (N,)).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from lpie.imaging.checks import per_photo
from lpie.imaging.color import luma, to_linear, to_srgb
from lpie.vocabulary import PerPhoto, Photo


def exposure(photo: Photo, stops: float | Float[Tensor, ""] | PerPhoto | Float[Tensor, "n 3"]) -> Photo:
    """The photo with light multiplied by 2^stops in the shadows, highlights rolled off so that white stays white.

    In linear light x -> g x / (1 + (g - 1) x), g = 2^stops, whose gradient is g at black and 1 / g at white; 0 stops
    return the photo. `stops` of shape (N, 3) set each channel alone.
    """
    gain = 2 ** per_photo(stops, photo, "stops")
    light = to_linear(photo)
    return to_srgb(gain * light / (1 + (gain - 1) * light))


def white_balance_stops(temperature: PerPhoto, tint: PerPhoto) -> Float[Tensor, "n 3"]:
    """Stops for each channel, to add to the exposure: warmer (red against blue), more magenta (both against green)."""
    return torch.stack([(temperature + tint) / 2, -tint / 2, (tint - temperature) / 2], dim=1)


def contrast(photo: Photo, gradient: float | Float[Tensor, ""] | PerPhoto) -> Photo:
    """The photo with `gradient` in 0.5..1.5 at middle gray (1 returns the photo), falling off towards black and white.

    x -> x + 2 (gradient - 1) x (1 - x) (2 x - 1), an S that is monotone over those gradients.
    """
    return photo + 2 * (per_photo(gradient, photo, "gradient") - 1) * photo * (1 - photo) * (2 * photo - 1)


def saturation(photo: Photo, factor: float | Float[Tensor, ""] | PerPhoto) -> Photo:
    """The photo with each pixel's distance from its gray multiplied by `factor`: 0 gives gray, 1 the photo."""
    gray = luma(photo)
    return gray + per_photo(factor, photo, "factor") * (photo - gray)
