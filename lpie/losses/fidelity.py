"""Distances between photos that training minimizes, and between distributions of scores.

Every loss is the mean over the photos of a batch, computed in float32 (float64 for float64) whatever the autocast
setting: in half precision SSIM reads 0.65 where 0.996 is right.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from lpie.imaging.checks import check_range
from lpie.imaging.similarity_terms import gaussian_window
from lpie.losses.lpips import lpips
from lpie.losses.similarity import check_pair, constant, unchecked_ms_ssim, unchecked_ssim
from lpie.vocabulary import PerPhoto, Photo

Scalar = Float[Tensor, ""]
MIX_ALPHA = 0.84  # share of MS-SSIM in the mix (Zhao et al. 2017, section 3.2.4)
MIX_SIGMA = 8.0  # px, the Gaussian of Zhao's coarsest scale
MIX_WINDOW = 33  # px, two standard deviations to each side


def l1(enhanced: Photo, target: Photo) -> Scalar:
    """Mean absolute difference, in units of the photo's range of 1."""
    enhanced, target = _comparable(enhanced, target)
    return (enhanced - target).abs().mean()


def l2(enhanced: Photo, target: Photo) -> Scalar:
    """Mean squared difference, in units of the photo's range of 1, squared."""
    enhanced, target = _comparable(enhanced, target)
    return (enhanced - target).square().mean()


def ssim_loss(enhanced: Photo, target: Photo) -> Scalar:
    """1 - SSIM, in [0, 2]; needs 11 x 11 px. `enhanced` may leave [0, 1], as a network in training does."""
    return 1 - unchecked_ssim(*_comparable(enhanced, target)).mean()


def ms_ssim_loss(enhanced: Photo, target: Photo) -> Scalar:
    """1 - MS-SSIM, in [0, 1); needs 161 x 161 px. `enhanced` may leave [0, 1], as a network in training does."""
    return 1 - unchecked_ms_ssim(*_comparable(enhanced, target)).mean()


def mix_loss(enhanced: Photo, target: Photo) -> Scalar:
    """0.84 (1 - MS-SSIM) + 0.16 (Gaussian-weighted L1); needs 161 x 161 px.

    The weighted L1 is the mean, over the positions where a 33 x 33 Gaussian window (sigma 8 px) lies within the
    photo, of the window's weighted mean of absolute differences.

    Source: Zhao, Gallo, Frosio, Kautz, "Loss functions for image restoration with neural networks", 2017,
    equation 14 and section 3.2.4.
    Differs: MS-SSIM halves the photo from scale to scale (Wang et al. 2003), where Zhao et al. widen the Gaussian at
    full size instead (sigma 0.5, 1, 2, 4, 8).
    """
    enhanced, target = _comparable(enhanced, target)
    structure = 1 - unchecked_ms_ssim(enhanced, target).mean()
    return MIX_ALPHA * structure + (1 - MIX_ALPHA) * gaussian_l1(enhanced, target)


def lpips_loss(enhanced: Photo, target: Photo) -> Scalar:
    """LPIPS, at least 0; see `lpie.losses.lpips`. `enhanced` may leave [0, 1], as a network in training does."""
    return lpips(*_comparable(enhanced, target)).mean()


def gaussian_l1(enhanced: Photo, target: Photo) -> Scalar:
    """Mean of `mix_loss`'s Gaussian-weighted absolute differences; needs 33 x 33 px.

    The mean over windows of a window's weighted mean is itself one weighted mean, whose weights are 1 inside and
    fall off over the last 32 px: no blur is needed.
    """
    difference = (enhanced - target).abs()
    rows, columns = (constant(_window_share(side), difference) for side in difference.shape[-2:])
    return (difference.mean((0, 1)) * (rows[:, None] * columns)).sum()


@lru_cache(maxsize=16)
def _window_share(side: int) -> tuple[float, ...]:
    """How much each pixel of a row counts in the mean over all windows within the row; sums to 1."""
    window = gaussian_window(MIX_WINDOW, MIX_SIGMA)
    positions = side - MIX_WINDOW + 1
    # Pixel i lies in the windows that start at i - 32 .. i, of which 0 .. positions - 1 exist.
    return tuple(sum(window[max(0, i - positions + 1) : i + 1]) / positions for i in range(side))


def earth_movers_distance(p: Float[Tensor, "n k"], q: Float[Tensor, "n k"], r: int | float = 2) -> PerPhoto:
    """Distance between two score distributions, one value per row: `(1/K sum_k |CDF_p(k) - CDF_q(k)|^r)^(1/r)`.

    `p`, `q`: probabilities of K ordered scores, rows summing to 1. `r`: 2 to train, 1 to report. The root is taken
    for each row, so that the mean over a batch is the mean of its rows' distances. Equal rows give 0 with gradient 0.

    Raises ValueError for other shapes or r below 1. Source: Talebi and Milanfar, "NIMA", 2018, equation 1.
    """
    if p.ndim != 2 or p.shape != q.shape:
        raise ValueError(f"Expected two tensors of one shape (N, K), got {tuple(p.shape)} and {tuple(q.shape)}.")
    if r < 1:
        raise ValueError(f"Expected r of at least 1 for a distance, got {r}.")
    with torch.autocast(p.device.type, enabled=False):
        precision = torch.float64 if torch.float64 in (p.dtype, q.dtype) else torch.float32
        difference = (p.to(precision) - q.to(precision)).cumsum(1)
        return torch.linalg.vector_norm(difference, ord=r, dim=1) / p.shape[1] ** (1 / r)


def _comparable(enhanced: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float32 or float64, after checking that they fit; the target's range is checked on the CPU only."""
    check_pair(enhanced, target)
    check_range(target, "target")
    precision = torch.float64 if torch.float64 in (enhanced.dtype, target.dtype) else torch.float32
    return enhanced.to(precision), target.to(precision)
