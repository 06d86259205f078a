"""The photographs from which a critic learns, and the three ways in which a batch of them is seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lpie.critic.backbones import INPUT_SCALES
from lpie.critic_training.views import Album, Crops, antialiased_view, collage, jpeg, uniform, vary
from lpie.imaging.pixels import to_uint8
from lpie.imaging.resampling import resize
from lpie.judges.robustness import ATTACKED_SIZE, half_size_and_back
from lpie.photos.photographs import read_photo
from lpie.study.splits import real_haze_split

if TYPE_CHECKING:
    from lpie.critic_training.distillation import Distillation

FRAME = 496  # px, a multiple of 16 that holds a BSDS500 photograph


def training_album(data: Path, more: list[Path], device: str, limit: int = 0) -> Album:
    """Every photograph the critic may see; BSDS500's are there twice, because OASIS has so many more."""
    photos: list[np.ndarray] = []
    haze = data / "haze/real"
    twice = (data / "bsds500/train", data / "bsds500/val")
    for folder in (*twice, data / "sunhays40", data / "oasis_beauty/images", haze, *more):
        kinds = (".jpg", ".jpeg", ".png", ".webp")
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in kinds)
        if folder == haze:
            paths = [path for path in paths if real_haze_split(path.stem) == "train"]
        read = [_within_frame(path) for path in paths[: limit or None]]
        photos += read * (2 if folder in twice else 1)
    return Album.of(photos, FRAME, device)


def _within_frame(path: Path) -> np.ndarray:
    photo = read_photo(path)
    scale = FRAME / max(photo.shape[2:])
    if scale < 1:
        photo = resize(photo, *(max(1, round(length * scale)) for length in photo.shape[2:]))
    return to_uint8(photo)[0].permute(1, 2, 0).numpy()


def squares(album: Album, count: int) -> Float[Tensor, "n 3 size size"]:
    """`count` whole photographs or more from all over the album, if it has so many, as squares of the attacked size."""
    chosen = torch.arange(0, len(album), max(1, len(album) // count), device=album.frames.device)
    frames, heights, widths = album.take(chosen)
    start = torch.zeros(len(frames), device=frames.device)
    crops = Crops(start, start, heights.float(), widths.float(), start)
    return antialiased_view(frames, crops, ATTACKED_SIZE).clamp(0, 1)


def draw_views(settings: Distillation, album: Album, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same batch of varied crops thrice: the student's two, squares of `side` px, and the teacher's of 224 px.

    Each photo gives `settings.crops` of them. The student's second is shifted a little, those of every other photo are
    soft from half size and back, and every third went through JPEG: a score should survive all three.
    """
    photos = settings.batch // settings.crops
    frames, heights, widths = album.take(torch.randint(len(album), (photos,), device=album.frames.device))
    clean = round(settings.clean * photos)
    frames = torch.cat([frames[:clean], vary(frames[clean:])])
    heights, widths = (lengths.repeat_interleave(settings.crops) for lengths in (heights, widths))
    crops = Crops.random(heights, widths, settings.whole)
    sharp = frames.repeat_interleave(settings.crops, 0)
    shown, seen = (antialiased_view(sharp, crops, pixels) for pixels in (INPUT_SCALES["mobilenet_v1"].size, side))
    frames[::2] = half_size_and_back(frames[::2])
    worse = antialiased_view(frames.repeat_interleave(settings.crops, 0), crops.jittered(1.0), side)
    order = torch.randperm(settings.batch, device=frames.device)  # else a view would be mixed with others of its photo
    seen, worse, shown = seen[order], worse[order], shown[order]
    worse[1::3] = jpeg(worse[1::3], uniform(80.0, 97.0, worse[1::3]))
    return collage((seen, worse, shown), settings.mixed, settings.pasted)  # type: ignore[return-value]
