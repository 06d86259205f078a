"""NIQE: how far the local statistics of a photograph are from those of undamaged photographs; lower is better.

    niqe(photo, NaturalScenes.shipped())   # (N,), about 3 for a good photograph, 10 and more for a ruined one

It knows no ratings and learns nothing from the networks of this study, which makes it a judge of them.
`lpie critic niqe-statistics` fits the shipped statistics anew, on the training photographs of BSDS500.

Source: Mittal, Soundararajan, Bovik, Making a "Completely Blind" Image Quality Analyzer, IEEE SPL 20(3), 2013.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from lpie.imaging.color import LUMA, weighted
from lpie.vocabulary import PerPhoto, Photo
from lpie.weights import open_weights

PATCH = 96  # px, section III-B
SHARP = 0.75  # share of the sharpest patch's local deviation that a patch needs to be learned from, section II-B
FEATURES = 36

_Patches = Float[Tensor, "n patches size"]
_Features = Float[Tensor, "n patches 36"]


@dataclass(frozen=True)
class NaturalScenes:
    """The Gaussian that describes the features of undamaged photographs: mean (36,), covariance (36, 36), float64."""

    mean: Float[Tensor, " features"]  # jaxtyping: one axis
    covariance: Float[Tensor, "features features"]

    @classmethod
    def shipped(cls) -> NaturalScenes:
        """The statistics that come with the project, of the BSDS500 training photographs."""
        tensors, _ = open_weights("niqe")
        return cls(tensors["mean"], tensors["covariance"])

    @classmethod
    def fit(cls, photos: Iterable[Float[Tensor, "_ 3 _ _"]]) -> NaturalScenes:
        """The statistics of the sharp patches of undamaged photos; those below 96 px have none.

        Raises ValueError if fewer than two patches are sharp.
        """
        sharp = []
        for photo in photos:
            features, sharpness = natural_scene_features(photo)
            if sharpness.numel():
                sharp.append(features[sharpness > SHARP * sharpness.amax(1, keepdim=True)])
        if sum(map(len, sharp)) < 2:
            raise ValueError(f"Expected at least two sharp patches of {PATCH} px, got {sum(map(len, sharp))}.")
        features = torch.cat(sharp)
        return cls(features.mean(0), torch.cov(features.T))


def niqe(photo: Photo, scenes: NaturalScenes) -> PerPhoto:
    """Distance of each photo's patch statistics to those of natural scenes, at least 0; nan below 96 px.

    Source: equation 10.
    """
    features, _ = natural_scene_features(photo)
    mean, covariance = scenes.mean.to(features), scenes.covariance.to(features)
    centered = features - features.mean(1, keepdim=True)
    spread = centered.mT @ centered / max(features.shape[1] - 1, 1)
    apart = features.mean(1) - mean
    inverse = torch.linalg.pinv((covariance + spread) / 2, hermitian=True)
    return torch.einsum("ni,nij,nj->n", apart, inverse, apart).clamp(min=0).sqrt().to(photo.dtype)


def natural_scene_features(photo: Photo) -> tuple[_Features, Float[Tensor, "n patches"]]:
    """The 36 features of every whole 96-px patch, and how sharp it is; float64.

    18 at full size and 18 at half size: the shape and width of the normalized luminance, and shape, mean, left and
    right width of its products with four neighbors.
    Source: equations 1-8.
    Differs: a patch's border pixels are multiplied with the neighbors they have in the photo, not circularly.
    """
    height, width = (length // PATCH * PATCH for length in photo.shape[2:])
    luminance = weighted((255 * photo[:, :, :height, :width].double()).split(1, 1), LUMA)
    if luminance.numel() == 0:
        return luminance.new_empty(len(photo), 0, FEATURES), luminance.new_empty(len(photo), 0)
    features, sharpness = [], []
    for patch in (PATCH, PATCH // 2):
        mean = _gaussian_mean(luminance)
        deviation = (_gaussian_mean(luminance.square()) - mean.square()).abs().sqrt()
        normalized = (luminance - mean) / (deviation + 1)  # equation 1
        sharpness.append(_patches(deviation, patch).mean(2))
        shape, _, left, right = _asymmetric_gaussian(_patches(normalized, patch))
        features += [shape, (left + right) / 2]
        for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
            product = normalized * normalized.roll(shift, (2, 3))
            features += _asymmetric_gaussian(_patches(product, patch))
        half = (luminance.shape[2] // 2, luminance.shape[3] // 2)
        luminance = F.interpolate(luminance, half, mode="bicubic", antialias=True)
    return torch.stack(features, 2), sharpness[0]


def _gaussian_mean(values: Tensor) -> Tensor:
    """Mean under a 7x7 Gaussian of deviation 7/6 px, borders repeated; section II-A."""
    distances = torch.arange(-3, 4, dtype=values.dtype, device=values.device)
    kernel = torch.exp(-distances.square() / (2 * (7 / 6) ** 2))
    kernel /= kernel.sum()
    padded = F.pad(values, (3, 3, 3, 3), mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 7, 1)), kernel.view(1, 1, 1, 7))


def _patches(values: Float[Tensor, "n 1 h w"], size: int) -> _Patches:
    count, _, height, width = values.shape
    blocks = values.view(count, height // size, size, width // size, size)
    return blocks.transpose(2, 3).reshape(count, -1, size * size)


def _asymmetric_gaussian(values: _Patches) -> list[Float[Tensor, "n patches"]]:
    """Shape, mean, left and right width of the asymmetric generalized Gaussian with the moments of each patch.

    Source: equations 4-8; moment matching of Lasmar, Stitou, Berthoumieu, ICIP 2009. The shape lies in [0.2, 10].
    """
    tiny = torch.finfo(values.dtype).tiny
    squares = values.square()
    left, right = (
        ((squares * side).sum(2) / side.sum(2).clamp(min=1)).sqrt().clamp(min=tiny**0.25)
        for side in (values < 0, values > 0)
    )
    ratio = left / right
    moments = values.abs().mean(2).square() / squares.mean(2).clamp(min=tiny**0.5)
    moments = moments * (ratio**3 + 1) * (ratio + 1) / (ratio.square() + 1).square()
    shape = _shape_with(moments)
    inverse = 1 / shape
    width = torch.exp((torch.lgamma(inverse) - torch.lgamma(3 * inverse)) / 2)
    mean = (right - left) * width * torch.exp(torch.lgamma(2 * inverse) - torch.lgamma(inverse))
    return [shape, mean, left * width, right * width]


def _shape_with(moments: Tensor) -> Tensor:
    """The shape a in [0.2, 10] for which gamma(2/a)^2 / (gamma(1/a) gamma(3/a)) is `moments`."""
    shapes, rising = _moments_of_shapes(moments.dtype, moments.device)
    return shapes[torch.searchsorted(rising, moments.contiguous()).clamp(max=len(shapes) - 1)]


@lru_cache
def _moments_of_shapes(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Shapes in small steps, and the moments that belong to them."""
    shapes = torch.linspace(0.2, 10, 9801, dtype=dtype, device=device)
    return shapes, torch.exp(2 * torch.lgamma(2 / shapes) - torch.lgamma(1 / shapes) - torch.lgamma(3 / shapes))
