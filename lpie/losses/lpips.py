"""LPIPS, the learned perceptual distance of a photo to a reference: it trains as a fidelity and measures as a judge."""

from __future__ import annotations

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
STRIDES, PADDINGS, POOLED = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1), (False, True, True, False, False)  # of AlexNet's layers


def lpips(photo: Photo, reference: Photo) -> PerPhoto:
    """LPIPS with AlexNet, version 0.1, of each photo to its reference: 0 where equal, larger is farther.

    `photo` and `reference` (N, 3, H, W) in [0, 1], sides of at least 31 px; the result is float32 (float64 for
    float64), differentiable in both. The weights, 10 MB, come through the registry, once: errors as
    `lpie.registry.fetch` where they cannot, and those of `lpie.ssim` for other shapes and types.

    Source: Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", 2018, equation 1.
    """
    check_pair(photo, reference, 31, "AlexNet")
    precision = torch.float64 if torch.float64 in (photo.dtype, reference.dtype) else torch.float32
    with torch.autocast(photo.device.type, enabled=False):
        pair = [each.to(precision) for each in (photo, reference)]
        mean, deviation = (constant(values, pair[0]).view(1, 3, 1, 1) for values in (MEAN, STANDARD_DEVIATION))
        pair, distances = [(each - mean) / deviation for each in pair], []
        layers = alexnet_on(photo.device, precision)
        for (weight, bias, head), stride, padding, pooled in zip(layers, STRIDES, PADDINGS, POOLED, strict=True):
            pair = [F.max_pool2d(each, 3, 2) if pooled else each for each in pair]
            pair = [F.conv2d(each, weight, bias, stride, padding).relu() for each in pair]
            a, b = (each / (each.square().sum(1, keepdim=True) + 1e-8).sqrt() for each in pair)
            distances.append(F.conv2d((a - b).square(), head[None, :, None, None]).mean((1, 2, 3)))
        return torch.stack(distances).sum(0)


@lru_cache(maxsize=4)
def alexnet_on(device: torch.device, dtype: torch.dtype) -> list[tuple[Tensor, ...]]:
    """The layers of `read_alexnet` on a device, read once; errors as `lpie.registry.fetch`."""
    with torch.inference_mode(False):  # so that a first call that only measures leaves weights to train with
        return [tuple(values.to(device, dtype) for values in layer) for layer in read_alexnet(fetch(WEIGHTS))]
