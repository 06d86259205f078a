"""The photographs from which a critic learns, and strong photographic variations of whole batches of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchvision.transforms import v2

from lpie.imaging.color import from_uint8, quantize, to_linear, to_srgb, to_uint8
from lpie.imaging.resampling import within
from lpie.judges.robustness import blur, jpeg
from lpie.operators.adjustments import contrast, exposure, saturation
from lpie.photos.decoding import KINDS
from lpie.photos.photographs import read_photo
from lpie.registry import files_of
from lpie.study.sources import photographs_in
from lpie.study.study_file import find_profile
from lpie.vocabulary import PerPhoto, Photo

LONGEST_SIDE = 496  # px, of the photographs as they are kept
WHOLE = 0.3  # share of views that show a whole photograph; the others are crops
VARIED = 0.5  # share of views that are varied
FADED = 0.2  # share of views into which another is faded


def training_photographs(more: Sequence[Path], device: str, limit: int = 0) -> list[UInt8[Tensor, "3 _ _"]]:
    """Every photograph a critic may see, and those in the folders `more`; at most `limit` of each set, 0 for all.

    BSDS500's are there twice, because OASIS has so many more.
    """
    bsds = [files_of("bsds500/train"), files_of("bsds500/val")]
    rows = [rows for rows in find_profile("study").photographs if rows.set == "haze/real"]
    haze = [source.path for one in rows for source in photographs_in(one) if source.path and source.split == "train"]
    given = [sorted(folder.iterdir()) for folder in more]
    sets = [*bsds, *bsds, files_of("sunhays40"), files_of("oasis_beauty"), haze, *given]
    paths = [[path for path in one if path.suffix.lower() in KINDS][: limit or None] for one in sets]
    return [to_uint8(within(read_photo(path), LONGEST_SIDE))[0].to(device) for one in paths for path in one]


def draw_views(photographs: Sequence[UInt8[Tensor, "3 _ _"]], count: int, side: int) -> Float[Tensor, "n 3 side side"]:
    """Random photographs and crops of them as squares, some mirrored, half of them varied, some faded into another.

    Source: mixup, Zhang et al., ICLR 2018, as used for function matching by Beyer et al., Knowledge Distillation: A
    Good Teacher Is Patient and Consistent, CVPR 2022, section 3.
    """
    cut = v2.RandomResizedCrop(side, scale=(0.05, 1.0), ratio=(0.5, 2.0), antialias=True)
    look = v2.Compose([v2.RandomChoice([v2.Resize((side, side)), cut], [WHOLE, 1 - WHOLE]), v2.RandomHorizontalFlip()])
    chosen = torch.randint(len(photographs), (count,)).tolist()
    views = from_uint8(torch.stack([look(photographs[position]) for position in chosen]))
    varied = round(VARIED * count)
    views = torch.cat([vary(views[:varied]), views[varied:]])[torch.randperm(count, device=views.device)]
    share = sometimes(FADED, uniform(0.0, 0.5, views), 0.0).view(-1, 1, 1, 1)
    return views + share * (views.roll(1, 0) - views)


def vary(photo: Photo) -> Photo:
    """Exposure, white balance, haze, contrast, gamma, saturation, blur, sharpening, noise and JPEG, each for some."""
    balance = sometimes(0.35, uniform(0.0, 1.0, photo), 0.0)[:, None] * torch.randn_like(photo[:, :, 0, 0]) / 3
    varied = exposure(photo, sometimes(0.35, uniform(-2.5, 1.5, photo), 0.0)[:, None] + balance)
    varied = haze(varied, sometimes(0.15, uniform(0.2, 2.5, photo), 0.0), uniform(0.5, 1.0, photo))
    varied = contrast(varied, sometimes(0.35, uniform(0.5, 1.5, photo), 1.0)).clamp(0, 1)
    varied = varied ** torch.exp2(sometimes(0.3, uniform(-0.8, 0.8, photo), 0.0)).view(-1, 1, 1, 1)
    varied = saturation(varied, sometimes(0.35, uniform(0.0, 2.5, photo), 1.0)).clamp(0, 1)
    # no mild blur: a critic could not tell it from half size and back, which it should not notice
    varied = _some(0.2, varied, lambda some: blur(some, 2 ** _number(0.8, 2.6)))
    varied = _some(0.2, varied, lambda some: sharpen(some, _number(0.0, 2.0)))
    varied = _some(0.25, varied, lambda some: some + _number(0.0, 0.12) * torch.randn_like(some))
    varied = _some(0.3, varied, lambda some: jpeg(some, round(_number(8.0, 95.0))))
    return quantize(varied.clamp(0, 1))


def haze(photo: Photo, density: PerPhoto, airlight: PerPhoto) -> Photo:
    """Gray haze that thickens toward the top, where landscapes are far away; density 0 is none."""
    depth = torch.linspace(1, 0, photo.shape[2], device=photo.device)[:, None]
    transmission = torch.exp(-density.view(-1, 1, 1, 1) * depth)
    return to_srgb(to_linear(photo) * transmission + to_linear(airlight.view(-1, 1, 1, 1)) * (1 - transmission))


def darken(photo: Photo, stops: int | float) -> Photo:
    """Half the light for each stop."""
    return to_srgb(to_linear(photo) * 2.0**-stops)


def sharpen(photo: Photo, amount: int | float) -> Photo:
    """Unsharp masking with a radius of 1 px: `amount` times the detail is added."""
    return (photo + amount * (photo - blur(photo, 1.0))).clamp(0, 1)


def add_noise(photo: Photo, standard_deviation: int | float) -> Photo:
    """Gaussian noise, the same for every call."""
    noise = torch.randn(photo.shape[1:], generator=torch.Generator().manual_seed(0)).to(photo.device)
    return (photo + standard_deviation * noise).clamp(0, 1)


VARIATIONS: dict[str, tuple[Callable[[Photo, float], Photo], tuple[float, ...]]] = {
    "dark (stops)": (darken, (0, 0.5, 1, 1.5, 2, 3)),
    "blurred (px)": (blur, (0, 0.5, 1, 2, 3, 4)),
    "noisy (standard deviation)": (add_noise, (0, 0.02, 0.05, 0.1, 0.15, 0.2)),
    "over-sharpened (amount)": (sharpen, (0, 1, 2, 3, 4, 6)),
    "saturated (factor - 1)": (
        lambda photo, more: saturation(photo, 1.0 + more).clamp(0, 1),
        (0, 0.25, 0.5, 1, 1.5, 2),
    ),
}
"""Where a critic may fail: what is done to a photo, and the strengths at which a curve is drawn, 0 first."""


def uniform(low: float, high: float, like: Tensor) -> PerPhoto:
    """One random number for each photo of `like`."""
    return torch.empty(len(like), device=like.device).uniform_(low, high)


def sometimes(share: float, strength: PerPhoto, neutral: float) -> PerPhoto:
    """`strength` for a random `share` of the photos, `neutral` for the others."""
    return torch.where(torch.rand_like(strength) < share, strength, neutral)


def _number(low: float, high: float) -> float:
    return float(torch.empty(()).uniform_(low, high))


def _some(share: float, photo: Photo, edit: Callable[[Photo], Photo]) -> Photo:
    """`edit` done to a random share of the photos."""
    chosen = torch.rand(len(photo)) < share
    if not chosen.any():
        return photo
    varied = photo.clone()
    varied[chosen] = edit(photo[chosen].clamp(0, 1))
    return varied
