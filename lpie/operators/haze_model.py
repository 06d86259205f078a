"""The equation of haze and its inverse: I = t J + (1 - t) A.

I is the hazy photo, J the scene without haze, A the airlight, and t the share of the scene's light that arrives.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lpie.imaging.checks import Number, per_photo
from lpie.operators.settings import DehazeSettings
from lpie.vocabulary import Airlight, PerPhoto, Photo, Transmission

FLOOR, HAZE_KEPT = DehazeSettings.floor, DehazeSettings.haze_kept


@dataclass(frozen=True)
class Dehazed:
    """A hazy photo taken apart: the scene without haze in [0, 1], its transmission in [0.1, 1], its airlight.

    `presence`: how sure it is that each photo shows haze, see `haze_presence`; None where that was not asked.
    """

    photo: Photo
    transmission: Transmission
    airlight: Airlight
    presence: PerPhoto | None = None


def restore(
    photo: Photo,
    transmission: Transmission,
    airlight: Airlight,
    *,
    floor: Number = FLOOR,
    haze_kept: Number = HAZE_KEPT,
) -> Photo:
    """The scene behind the haze, J = (I - (1 - min(1, (1 + haze_kept) t)) A) / max(t, floor), not clipped.

    Differentiable in every argument. `floor` in (0, 1] and `haze_kept` in [0, 1] are numbers or one value per photo
    (shape () or (N,)). Where there is no haze (t = 1) the photo comes back as it is. Values may leave [0, 1].

    Raises ValueError where floor or haze_kept are out of range or of another number of values.

    Source: Berman et al. 2016, equation 16, with the residual haze of He et al. 2011, section 4.4, as Berman et al.
    apply it: transmission times 1.06 in the numerator alone.
    Differs: the haze kept never exceeds the haze there is, so that a region without haze is not brightened.
    """
    floor = per_photo(floor, photo, "floor", above=0, most=1)
    haze_kept = per_photo(haze_kept, photo, "haze_kept", least=0, most=1)
    seen = torch.minimum((1 + haze_kept) * transmission, torch.ones_like(transmission))  # Differs: min with 1
    return (photo - (1 - seen) * airlight[:, :, None, None]) / torch.maximum(transmission, floor)
