"""Non-local dehazing (Berman, Treibitz, Avidan, CVPR 2016): hazy photo -> haze-free photo, transmission, airlight.

Haze mixes a scene J with the airlight A: I = t J + (1 - t) A, t the share of the scene's light that arrives.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lpie.vocabulary import Airlight, Photo, Transmission

FLOOR = 0.1  # smallest transmission that is divided by (section 4.3)
HAZE_KEPT = 0.06  # share of the airlight left in the result: a scene with no haze at all looks unnatural


@dataclass(frozen=True)
class Dehazed:
    """A hazy photo taken apart: the scene without haze, its transmission in [FLOOR, 1], its airlight."""

    photo: Photo
    transmission: Transmission
    airlight: Airlight


def restore(
    photo: Photo,
    transmission: Transmission,
    airlight: Airlight,
    *,
    floor: float | Tensor = FLOOR,
    haze_kept: float | Tensor = HAZE_KEPT,
) -> Photo:
    """The scene behind the haze, J = (I - (1 - min(1, (1 + haze_kept) t)) A) / max(t, floor), not clipped.

    Differentiable in every argument. `floor` in (0, 1] and `haze_kept` >= 0 are numbers or one value per photo
    (shape () or (N,)). Without haze (t = 1) the photo comes back as it is; values may leave [0, 1].

    Source: Berman et al. 2016, equation 16; `haze_kept` is the residual haze of He et al. 2011, section 4.4.
    Differs: the haze kept never exceeds the haze there is, so that a haze-free region is not brightened.
    """
    floor, haze_kept = _per_photo(floor, photo), _per_photo(haze_kept, photo)
    seen = torch.minimum((1 + haze_kept) * transmission, torch.ones_like(transmission))  # Differs: min with 1
    return (photo - (1 - seen) * airlight[:, :, None, None]) / torch.maximum(transmission, floor)


def _per_photo(number: float | Tensor, photo: Photo) -> Tensor:
    """A number, or one for each photo, in a shape that multiplies (N, C, H, W)."""
    value = torch.as_tensor(number, dtype=photo.dtype, device=photo.device)
    if value.ndim > 1 or value.numel() not in (1, photo.shape[0]):
        raise ValueError(
            f"Expected a number or one per photo (shape () or ({photo.shape[0]},)), got shape {tuple(value.shape)}."
        )
    return value.reshape(-1, 1, 1, 1)
