"""Two photographs of one scene laid over each other: what a person made of a photo, or the scene without its haze."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from skimage.registration import phase_cross_correlation
from torch import Tensor

from lpie.imaging.color import luma
from lpie.imaging.resampling import resize
from lpie.photos.photographs import from_pixels
from lpie.photos.reading import PhotoFile
from lpie.study.sources import Source, small_photo

LARGEST_SHIFT = 0.05  # of the shorter side
SAME_SHAPE = 0.05  # difference of the proportions, height by width, up to which two photos may show one scene
LIKE_EDGES = 0.2  # correlation of edges from which on they do
LOOKED_AT = 512  # px, shorter side at which pairs are checked before anything is computed


def find_mismatches(sources: Sequence[Source]) -> Iterator[str]:
    """What `aligned` says of small copies of each pair that does not fit or cannot be read; the registry's all fit."""
    paired = [source for source in sources if source.other and not source.registered]
    with ThreadPoolExecutor() as pool:
        yield from filter(None, pool.map(_mismatch, paired))


def _mismatch(source: Source) -> str:
    try:
        small = [small_photo(path, 2 * LOOKED_AT) for path in (source.path, source.other)]
        scale = min(1.0, LOOKED_AT * small[0].scale / min(small[0].pixels.shape[:2]))
        photo, other = (_reduced(one, scale / one.scale) for one in small)
        aligned(photo, other, source.name)
    except ValueError as error:
        return str(error)
    return ""


def _reduced(small: PhotoFile, scale: float) -> Tensor:
    photo = from_pixels(small.pixels)
    return resize(photo, *(round(scale * side) for side in photo.shape[-2:])) if scale < 1 else photo


def aligned(photo: Tensor, target: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Both cut to what they share: the larger is reduced to about the smaller, then moved by whole pixels.

    (1, 3, H, W) each. Raises ValueError, naming the pair, where their proportions differ by more than SAME_SHAPE, or
    where they do not show the same edges after a shift by at most LARGEST_SHIFT.
    """
    (height, width), (tall, wide) = photo.shape[-2:], target.shape[-2:]
    if abs(height * wide / (width * tall) - 1) > SAME_SHAPE:
        raise ValueError(f"Pair {name}: {width}x{height} and {wide}x{tall} px differ in shape: one is cut or turned.")
    scale = min(1.0, (height * width / (tall * wide)) ** 0.5)
    if max(scale, (tall * wide / (height * width)) ** 0.5) > 1 + SAME_SHAPE or scale < 1 - SAME_SHAPE:
        if tall * wide > height * width:
            target = resize(target, height, width)
        else:
            photo = resize(photo, tall, wide)
    size = [max(sides) for sides in zip(photo.shape[-2:], target.shape[-2:], strict=True)]
    down, across = _shift(_edges(photo, size), _edges(target, size))
    photo, target = _overlap(photo, target, down, across)
    likeness = _likeness(photo, target)
    if max(abs(down), abs(across)) > LARGEST_SHIFT * min(size) or likeness < LIKE_EDGES:
        raise ValueError(f"Pair {name}: input and target do not show the same (edges agree by {likeness:.2f}).")
    return photo, target


def _edges(photo: Tensor, size: list[int]) -> NDArray[np.float32]:
    """Strength of the edges of log luminance, zeros around it up to `size`: alike for two renditions of one scene."""
    light = (luma(photo) + 0.02).log()
    down, across = light.diff(dim=-2)[..., :, 1:], light.diff(dim=-1)[..., 1:, :]
    strength = (down.square() + across.square()).sqrt().clamp(max=1)
    return F.pad(strength, (0, size[1] - strength.shape[-1], 0, size[0] - strength.shape[-2]))[0, 0].numpy()


def _shift(fixed: NDArray[np.float32], moving: NDArray[np.float32]) -> tuple[int, int]:
    """Rows and columns by which `moving` lies too far up and left."""
    shift, *_ = phase_cross_correlation(fixed, moving, normalization=None)
    return round(float(shift[0])), round(float(shift[1]))


def _overlap(photo: Tensor, target: Tensor, down: int, across: int) -> tuple[Tensor, Tensor]:
    photo, target = photo[..., max(down, 0) :, max(across, 0) :], target[..., max(-down, 0) :, max(-across, 0) :]
    height, width = (min(sides) for sides in zip(photo.shape[-2:], target.shape[-2:], strict=True))
    return photo[..., :height, :width], target[..., :height, :width]


def _likeness(photo: Tensor, target: Tensor) -> float:
    """Correlation of the edges of two photos of one size, -1 to 1."""
    edges = np.stack([_edges(part, list(photo.shape[-2:])).ravel() for part in (photo, target)])
    return float(np.nan_to_num(np.atleast_2d(np.corrcoef(edges))[0, 1])) if edges.size else 0.0
