"""LPIPS, the learned perceptual distance of a photo to a reference: it trains as a fidelity and measures as a judge."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from lpie.losses.similarity import check_pair, constant
from lpie.registry import fetch
from lpie.vocabulary import PerPhoto, Photo
from lpie.weights.alexnet import read_alexnet

WEIGHTS = "lpips/alexnet.ckpt"
MEAN, STANDARD_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colors
STRIDES, PADDINGS, POOLED = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1), (False, True, True, False, False)


def lpips(photo: Photo, reference: Photo) -> PerPhoto:
    """LPIPS with AlexNet, version 0.1, of each photo to its reference: 0 where equal, larger is farther.

    `photo` and `reference` (N, 3, H, W) in [0, 1], sides of at least 31 px; the result is float32 (float64 for
    float64), differentiable in both. The weights come through the registry, 10 MB, once: errors as
    `lpie.registry.fetch` where they cannot, and those of `lpie.ssim` for other shapes and types.

    Source: Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", 2018, equation 1.
    """
    check_pair(photo, reference, 31, "AlexNet")
    precision = torch.float64 if torch.float64 in (photo.dtype, reference.dtype) else torch.float32
    with torch.autocast(photo.device.type, enabled=False):
        layers = alexnet_on(photo.device, precision)
        pairs = zip(_features(photo.to(precision), layers), _features(reference.to(precision), layers), strict=True)
        distances = [
            F.conv2d((a - b).square(), head[None, :, None, None]).mean((1, 2, 3))
            for (a, b), (_, _, head) in zip(pairs, layers, strict=True)
        ]
        return torch.stack(distances).sum(0)


def _features(photo: Photo, layers: list[tuple[Tensor, Tensor, Tensor]]) -> Iterator[Tensor]:
    """The layers' activations, of unit length at each place."""
    mean, deviation = (constant(values, photo).view(1, 3, 1, 1) for values in (MEAN, STANDARD_DEVIATION))
    values = (photo - mean) / deviation
    for (weight, bias, _), stride, padding, pooled in zip(layers, STRIDES, PADDINGS, POOLED, strict=True):
        values = F.max_pool2d(values, 3, 2) if pooled else values
        values = F.conv2d(values, weight, bias, stride, padding).relu()
        yield values / (values.square().sum(1, keepdim=True) + 1e-8).sqrt()


@lru_cache(maxsize=4)
def alexnet_on(device: torch.device, dtype: torch.dtype) -> list[tuple[Tensor, Tensor, Tensor]]:
    """AlexNet's layers and LPIPS's heads on a device, read once; errors as `lpie.registry.fetch`."""
    with torch.inference_mode(False):  # a first call that only measures leaves weights that can train
        return [
            (w.to(device, dtype), b.to(device, dtype), h.to(device, dtype)) for w, b, h in read_alexnet(fetch(WEIGHTS))
        ]
