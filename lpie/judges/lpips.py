"""LPIPS, the learned perceptual distance of a photo to a reference, where AlexNet's ImageNet weights can be had.

torchmetrics holds the measure and its learned heads; AlexNet, 233 MB, is downloaded by torchvision into torch's hub
cache, once, and only when asked for.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn

from lpie.vocabulary import PerPhoto, Photo

log = logging.getLogger(__name__)

ALEXNET = "alexnet-owt-7be5be79.pth"  # torchvision's name of the file


def lpips(photo: Photo, reference: Photo) -> PerPhoto:
    """LPIPS with AlexNet, version 0.1, of each photo to its reference: 0 where equal, larger is farther.

    `photo` and `reference` (N, 3, H, W) in [0, 1], float32, sides of at least 35 px. Raises FileNotFoundError where
    AlexNet's weights are missing: `fetch_alexnet` downloads them.

    Source: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, 2018, equation 1.
    """
    if not alexnet_is_here():
        raise FileNotFoundError(f"LPIPS needs AlexNet's weights in {_weights_path()}: call fetch_alexnet() first.")
    distances: PerPhoto = network_on(str(photo.device))(photo, reference, normalize=True).flatten()
    return distances


def alexnet_is_here() -> bool:
    """Whether AlexNet's weights lie in torch's hub cache."""
    return _weights_path().exists()


def fetch_alexnet() -> bool:
    """Download AlexNet's weights if they are missing; False, with the reason in the log, where that fails."""
    if not alexnet_is_here():
        from torchvision.models import AlexNet_Weights

        try:
            AlexNet_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True, weights_only=True)
        except (OSError, RuntimeError) as error:  # no network; not the bytes that were promised
            log.warning("without LPIPS, for AlexNet's weights could not be downloaded: %s", error)
    return alexnet_is_here()


def _weights_path() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET


@lru_cache(maxsize=2)
def network_on(device: str) -> nn.Module:
    """LPIPS on a device, loaded once."""
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity  # takes seconds

    network: nn.Module = LearnedPerceptualImagePatchSimilarity(net_type="alex").net
    return network.to(device)
