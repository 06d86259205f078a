"""Non-local dehazing (Berman, Treibitz, Avidan, CVPR 2016): hazy photo -> haze-free photo, transmission, airlight.

The equation of haze is I = t J + (1 - t) A: I is the hazy photo, J the scene without haze, A the airlight, and t the
share of the scene's light that arrives.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lpie.imaging.checks import Number, check_airlight, check_photo, per_photo
from lpie.imaging.color import luma
from lpie.imaging.kernels import is_exporting
from lpie.operators.airlight import estimate_airlight, haze_presence
from lpie.operators.haze_lines import transmission_along_lines
from lpie.operators.safeguard import trusted_transmission
from lpie.operators.settings import DehazeSettings
from lpie.operators.smoothing import ITERATIONS, gradient_links, weighted_least_squares
from lpie.vocabulary import Airlight, PerPhoto, Photo, Transmission


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
    floor: Number = DehazeSettings.floor,
    haze_kept: Number = DehazeSettings.haze_kept,
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


def dehaze(
    photo: Photo,
    airlight: Airlight | None = None,
    *,
    gamma: float = DehazeSettings.gamma,
    smoothness: float = DehazeSettings.smoothness,
    floor: Number = DehazeSettings.floor,
    haze_kept: Number = DehazeSettings.haze_kept,
    safeguard: Number = DehazeSettings.safeguard,
) -> Dehazed:
    """The photo without its haze, the transmission and the airlight.

    photo: (N, 3, H, W), sRGB in [0, 1], any height and width.
    airlight: color of the haze in the photo's own encoding, (N, 3); None estimates it, and whether there is haze at
        all: a photo without haze comes back as it is, with transmission 1 and presence 0.
    gamma: above 0; haze is undone in photo ** gamma, the result is raised to 1 / gamma. 2.2 comes near linear light.
    smoothness: above 0; how closely the transmission follows its neighbors where the photo does not change.
    floor, haze_kept: see `restore`.
    safeguard: in [0, 1], how far skies, fog and dark objects are held back, see `trusted_transmission`; 0 is the method
        as published.

    The result is in [0, 1], the transmission in [0.1, 1]. Gradients pass to the photo through the last equation, with
    transmission and airlight held. The work is float32 whatever the photo's type.

    Raises TypeError or ValueError where photo, airlight or a number does not fit (values on a GPU are not checked), and
    NotImplementedError under `torch.vmap` and `torch.export`.

    Source: Berman et al. 2016, algorithm 1; equations 4-5 and 10-16.
    Differs: (1) 1000 directions on a Fibonacci lattice; (2) photos without haze are recognized, see `haze_presence`;
    (3) the haze kept never exceeds the haze there is, see `restore`; (4) the safeguard, where it is asked for; (5) no
    display stretch follows.
    """
    check_photo(photo)
    if is_exporting() or torch._C._functorch.is_batchedtensor(photo):
        raise NotImplementedError("dehaze looks at values, which vmap and export hide: give it a batch of photos.")
    for name, number in (("gamma", gamma), ("smoothness", smoothness)):
        per_photo(float(number), photo, name, above=0)
    held_back = per_photo(safeguard, photo, "safeguard", least=0, most=1).flatten()
    seen = photo.detach().float().clamp(0, 1)
    with torch.no_grad():
        if airlight is None:
            airlight, presence = estimate_airlight(seen), haze_presence(seen)
        else:
            check_airlight(airlight, photo)
            airlight, presence = airlight.float(), None
        transmission = estimate_transmission(seen**gamma, airlight**gamma, smoothness)
        if presence is not None:
            transmission = 1 - per_photo(presence, seen, "presence") * (1 - transmission)
        if isinstance(safeguard, torch.Tensor) or safeguard:
            transmission = trusted_transmission(seen**gamma, transmission, airlight**gamma, held_back)
    held = transmission.to(photo.dtype), (airlight**gamma).to(photo.dtype)
    scene = restore(photo.clamp(0, 1) ** gamma, *held, floor=floor, haze_kept=haze_kept)
    return Dehazed(scene.clamp(0, 1) ** (1 / gamma), transmission, airlight, presence)


def estimate_transmission(
    photo: Photo, airlight: Airlight, smoothness: float = DehazeSettings.smoothness, iterations: int = ITERATIONS
) -> Transmission:
    """The transmission in [0.1, 1] along haze-lines, made smooth where the photo is (equation 15).

    Differs: links follow the luma of the photo, where the equation has its three channels.
    """
    raw, trust = transmission_along_lines(photo, airlight)
    links = gradient_links(luma(photo), smoothness)
    return weighted_least_squares(raw, trust, links, iterations=iterations).clamp(0.1, 1)
