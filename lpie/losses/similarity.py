"""Structural similarity of two photos, at one scale (SSIM) and at five (MS-SSIM)."""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lpie.imaging.checks import check_floating, check_range
from lpie.imaging.kernels import find, recorded
from lpie.imaging.similarity_terms import (
    SCALE_WEIGHTS,
    SMALLEST_CONTRAST,
    STABILIZERS,
    STEEPEST_CONTRAST,
    WINDOW_SIZE,
    gaussian_window,
    luminance_and_contrast,
)
from lpie.vocabulary import PerPhoto

Planes: TypeAlias = Float[Tensor, "planes h w"]  # one channel of one photo each
PerPlane: TypeAlias = Float[Tensor, " planes"]

SMALLEST_SIDE = (WINDOW_SIZE - 1) * 2 ** (len(SCALE_WEIGHTS) - 1) + 1
"""Pixels that each side of a photo needs so that the window fits at MS-SSIM's coarsest scale: 161."""


def ssim(a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]) -> PerPhoto:
    """Mean structural similarity of each photo in `a` to the one in `b`: 1 if equal, at least -1.

    `a`, `b`: photos in [0, 1], at least 11 x 11 px, of any floating type; the result is float32 (float64 for
    float64). The mean runs over the channels and over the positions where the 11 x 11 Gaussian window
    (sigma 1.5 px) lies within the photo. Differentiable in both.

    Raises TypeError for anything but floating tensors, ValueError where shape, size or device do not fit and, for
    tensors on the CPU, where values are not in [0, 1]: on other devices that check would wait for the device, so
    that NaN gives NaN there and the range is the caller's to keep.

    Source: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural
    similarity", 2004, section III-C, K1 = 0.01, K2 = 0.03.
    Differs: each color channel counts as an image of its own and the values are averaged; the paper treats
    luminance only. Channel means agree with scikit-image and pytorch-msssim;
    torchmetrics also averages windows over reflected borders, and differs by a few thousandths.
    """
    _check(a, b)
    return unchecked_ssim(a, b)


def ms_ssim(a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]) -> PerPhoto:
    """Multi-scale structural similarity of each photo in `a` to the one in `b`, in (0, 1]: 1 if equal.

    As `ssim`, at five scales, each half the size of the one before; each side needs 161 px.

    Source: Wang, Simoncelli, Bovik, "Multi-scale structural similarity for image quality assessment", 2003,
    equation 7 with the exponents of section 3.2.
    Differs: (1) luminance enters at the coarsest scale window by window, as the mean of luminance x contrast, where
    the equation takes two means, as its authors' later code does; (2) each scale's mean is kept at or above 1e-4,
    since a power of a negative number is undefined, and the gradient is that of a mean of at least 1e-2, since the
    power's own grows without bound; (3) color channels are averaged, as in `ssim`. Halving keeps
    the last row and column of an odd side, as the authors' program does; other libraries drop it or pad with zeros,
    so that values agree where both sides are multiples of 16 and otherwise to about 1e-3.
    """
    _check(a, b)
    return unchecked_ms_ssim(a, b)


def unchecked_ssim(a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]) -> PerPhoto:
    """`ssim` of photos whose values may leave [0, 1], such as an untrained network's."""
    check_pair(a, b, WINDOW_SIZE, "SSIM")
    return _scale_terms(a, b, scales=1)[:, :, 0].mean(1)


def unchecked_ms_ssim(a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]) -> PerPhoto:
    """`ms_ssim` of photos whose values may leave [0, 1], such as an untrained network's."""
    check_pair(a, b, SMALLEST_SIDE, "MS-SSIM")
    return recorded(plain_ms_ssim, a, b, owner=plain_ms_ssim)


def plain_ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """What `unchecked_ms_ssim` computes, by kernels where there are some."""
    terms = _scale_terms(a, b, scales=len(SCALE_WEIGHTS))
    # Differs (2): below the floor there is a gradient, so that a loss can climb out, and a bounded one, so that one
    # photo that is far off does not outweigh its batch.
    climb = (terms - terms.detach()) / STEEPEST_CONTRAST
    low = terms.detach().clamp(min=SMALLEST_CONTRAST).log() + climb
    logarithms = torch.where(terms < STEEPEST_CONTRAST, low, terms.clamp(min=STEEPEST_CONTRAST).log())
    return (logarithms * constant(SCALE_WEIGHTS, terms)).sum(-1).exp().mean(1)  # prod would wait for the GPU


def _check(a: Tensor, b: Tensor) -> None:
    check_pair(a, b)
    check_range(a, "a")
    check_range(b, "b")


def check_pair(a: Tensor, b: Tensor, smallest: int = 1, needs: str = "a photo") -> None:
    """Raise TypeError or ValueError unless `a` and `b` are comparable photos of at least `smallest` px a side."""
    check_floating(a, "a")
    check_floating(b, "b")
    if a.shape != b.shape or a.ndim != 4:
        raise ValueError(f"Expected two batches of one shape (N, C, H, W), got {tuple(a.shape)} and {tuple(b.shape)}.")
    if a.device != b.device:
        raise ValueError(f"Expected both photos on one device, got {a.device} and {b.device}: move one with .to().")
    if min(a.shape[-2:]) < smallest or a.numel() == 0:
        serves = smallest == SMALLEST_SIDE and min(a.shape[-2:]) >= WINDOW_SIZE
        raise ValueError(
            f"Expected at least {smallest} px a side, which {needs} needs, got a batch of shape {tuple(a.shape)}: "
            f"use larger crops{' or ssim in place of ms_ssim' if serves else ''}."
        )


def _scale_terms(a: Tensor, b: Tensor, scales: int) -> Tensor:
    """Mean term of each photo, channel and scale (N, C, scales): luminance x contrast at the last, else contrast."""
    with torch.autocast(a.device.type, enabled=False):
        precision = torch.float64 if torch.float64 in (a.dtype, b.dtype) else torch.float32
        count, channels = a.shape[:2]
        a, b = (photo.to(precision).contiguous().flatten(0, 1) for photo in (a, b))
        terms = []
        for scale in range(scales):
            if scale:
                a, b = half_size(a), half_size(b)
            terms.append(_mean_terms(a, b, with_luminance=scale == scales - 1))
        return torch.stack(terms, -1).view(count, channels, scales)


def _mean_terms(a: Planes, b: Planes, with_luminance: bool) -> PerPlane:
    """Mean over a plane's windows of luminance x contrast, or of contrast alone: by the fastest form that applies."""
    kernels = find("similarity", a) if a.dtype == torch.float32 else None
    if kernels:
        return kernels.mean_terms(a, b, with_luminance, plain_mean_terms)
    return plain_mean_terms(a, b, with_luminance)


def plain_mean_terms(a: Planes, b: Planes, with_luminance: bool) -> PerPlane:
    """What `_mean_terms` computes, as its definition reads, in plain torch."""
    means = blur(torch.cat((a, b, a * a + b * b, (a - b) ** 2)))  # at once: small photos keep no GPU busy
    luminance, contrast = luminance_and_contrast(*(*means.chunk(4), *STABILIZERS))
    return (luminance * contrast if with_luminance else contrast).mean((-2, -1))


def blur(planes: Planes) -> Float[Tensor, "planes h-10 w-10"]:
    """The Gaussian window's weighted mean at each position where it lies within the plane."""
    window, count = constant(gaussian_window(), planes).expand(len(planes), 1, 1, -1), len(planes)
    rows = F.conv2d(planes[None], window.mT, groups=count)  # as channels: a lone one cuDNN rounds to ten bits (TF32)
    return F.conv2d(rows, window, groups=count)[0]


def constant(values: tuple[float, ...], like: Tensor) -> Tensor:
    """`values` as a tensor of the device and precision of `like`, made once: no copy that a CUDA graph forbids."""
    made = _constant.__wrapped__ if torch.compiler.is_compiling() else _constant  # which warns of what is kept
    return made(values, like.device, like.dtype)


@cache  # a recorded CUDA graph may read it as long as the process lives
def _constant(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, device=device, dtype=dtype)


def half_size(planes: Planes) -> Float[Tensor, "planes h2 w2"]:
    """Means of 2 x 2 px; the last row or column of an odd side counts as repeated, as in Wang's own program."""
    if planes.device.type != "cpu":
        return F.avg_pool2d(planes, 2, ceil_mode=True, count_include_pad=False)
    height, width = planes.shape[1:]  # sums are five times faster there than torch's pooling
    if height % 2 or width % 2:
        planes = F.pad(planes, (0, width % 2, 0, height % 2), mode="replicate")
    upper, lower = planes.unflatten(1, (-1, 2)).unbind(2)
    left, right = (upper + lower).unflatten(2, (-1, 2)).unbind(3)
    return (left + right) * 0.25
