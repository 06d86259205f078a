"""NIQE against its definition patch by patch, and against what must make a photograph worse."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from real_photos import photograph
from scipy import ndimage
from scipy.optimize import brentq
from scipy.special import gamma
from torch import Tensor

from lpie.judges.niqe import NaturalScenes, natural_scene_features, niqe


@pytest.fixture(scope="module")
def photos() -> dict[str, Tensor]:
    return {name: photograph(name) for name in ("astronaut", "chelsea", "coffee")}


def literal_asymmetric_gaussian(values: np.ndarray) -> list[float]:
    left, right = np.sqrt(np.mean(values[values < 0] ** 2)), np.sqrt(np.mean(values[values > 0] ** 2))
    ratio = left / right
    moments = np.mean(np.abs(values)) ** 2 / np.mean(values**2)
    moments *= (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shape = brentq(lambda a: gamma(2 / a) ** 2 / (gamma(1 / a) * gamma(3 / a)) - moments, 0.2, 10)
    width = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return [shape, (right - left) * width * gamma(2 / shape) / gamma(1 / shape), left * width, right * width]


def literal_features(luminance: np.ndarray) -> list[float]:
    """The 18 features of one patch that is the whole photo, from the equations of the paper."""
    mean = ndimage.gaussian_filter(luminance, 7 / 6, mode="nearest", radius=3)
    deviation = np.sqrt(np.abs(ndimage.gaussian_filter(luminance**2, 7 / 6, mode="nearest", radius=3) - mean**2))
    normalized = (luminance - mean) / (deviation + 1)
    shape, _, left, right = literal_asymmetric_gaussian(normalized)
    features = [shape, (left + right) / 2]
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        features += literal_asymmetric_gaussian(normalized * np.roll(normalized, shift, (0, 1)))
    return features


def test_features_are_those_of_the_paper(photos):
    patch = photos["chelsea"][:, :, 100:196, 150:246]
    features, _ = natural_scene_features(patch)
    luminance = (255 * patch[0].double().permute(1, 2, 0).numpy()) @ [0.299, 0.587, 0.114]
    assert features.shape == (1, 1, 36)
    np.testing.assert_allclose(features[0, 0, :18], literal_features(luminance), atol=2e-3)


def test_distance_is_that_between_two_gaussians(photos):
    scenes = NaturalScenes.shipped()
    features = natural_scene_features(photos["coffee"])[0][0].numpy()
    apart = features.mean(0) - scenes.mean.numpy()
    pooled = (np.cov(features.T) + scenes.covariance.numpy()) / 2
    expected = np.sqrt(apart @ np.linalg.inv(pooled) @ apart)
    assert niqe(photos["coffee"], scenes).item() == pytest.approx(expected, rel=1e-5)


def test_photographs_match_their_own_statistics_best(photos):
    tiles = torch.cat([photo[:, :, :288, :384] for photo in photos.values()])
    own = NaturalScenes.fit(tiles[:, None].unbind(0))
    strange = NaturalScenes(own.mean + own.covariance.diag().sqrt(), own.covariance)
    assert (niqe(tiles, own) < niqe(tiles, strange)).all()


def test_only_sharp_patches_are_learned_from(photos):
    coffee = photos["coffee"][:, :, :384, :576]
    with_soft = torch.cat([coffee, coffee.mean((2, 3), keepdim=True).expand(-1, -1, 96, 576)], 2)
    features, sharpness = natural_scene_features(with_soft)
    kept = features[0][sharpness[0] > 0.75 * sharpness.max()]
    assert 2 <= len(kept) < 24
    torch.testing.assert_close(NaturalScenes.fit([with_soft, coffee[:, :, :50]]).mean, kept.mean(0))
    with pytest.raises(ValueError, match="at least two sharp patches of 96 px, got 0"):
        NaturalScenes.fit([coffee[:, :, :50]])


def damaged(photo: Tensor, damage: str, strength: float) -> Tensor:
    pixels = (255 * photo[0].permute(1, 2, 0)).round().numpy()
    if damage == "blur":
        pixels = ndimage.gaussian_filter(pixels, (strength, strength, 0))
    elif damage == "noise":
        pixels = pixels + np.random.default_rng(0).normal(0, strength, pixels.shape)
    elif damage == "grid":
        rows, columns = np.indices(pixels.shape[:2])
        pixels = pixels + strength * ((rows // 2 + columns // 2) % 2 * 2 - 1)[..., None]
    elif damage == "jpeg":
        file = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(file, "jpeg", quality=int(strength))
        pixels = np.array(Image.open(file), dtype=float)
    return torch.from_numpy(pixels.clip(0, 255).round() / 255).permute(2, 0, 1)[None].float()


@pytest.mark.parametrize(
    ("damage", "strengths"), [("blur", (1, 2)), ("noise", (8, 16)), ("grid", (5, 10)), ("jpeg", (20, 10))]
)
def test_stronger_damage_is_further_from_natural(photos, damage, strengths):
    scenes = NaturalScenes.shipped()
    undamaged = np.mean([niqe(photo, scenes).item() for photo in photos.values()])
    weak, strong = (
        np.mean([niqe(damaged(photo, damage, strength), scenes).item() for photo in photos.values()])
        for strength in strengths
    )
    assert undamaged + 0.5 < weak < strong


def test_batch_of_two_is_two_batches_of_one(photos):
    tiles = torch.cat([photo[:, :, :200, :300] for photo in photos.values()])
    scenes = NaturalScenes.shipped()
    torch.testing.assert_close(
        niqe(tiles, scenes), torch.cat([niqe(tile, scenes) for tile in tiles[:, None].unbind(0)])
    )


def test_photo_below_one_patch_has_no_niqe_and_a_flat_one_has():
    scenes = NaturalScenes.shipped()
    assert niqe(torch.rand(2, 3, 95, 200), scenes).isnan().all()
    assert niqe(torch.full((1, 3, 100, 100), 0.5), scenes).item() > 10
    assert niqe(torch.zeros(1, 3, 100, 100), scenes).isfinite().all()
