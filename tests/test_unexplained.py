"""Unexplained change: operators have none, damage has more the plainer it is, and the map says where."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import spearmanr

import lpie
from lpie.imaging.color import quantize
from lpie.judges import JUDGES
from lpie.judges.unexplained import explained_rendition, unexplained_change, unexplained_map
from lpie.operators.adjustments import contrast, exposure, saturation
from lpie.operators.nonlocal_dehazing import restore
from lpie.photos.photographs import demo_photographs
from lpie.study.damage import DAMAGES, STRENGTHS, damaged

pytest.importorskip("pycvvdp")


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    return demo_photographs(192)["coffee"]


@pytest.fixture(scope="module")
def toned(photo: torch.Tensor) -> torch.Tensor:
    return lpie.enhance(photo, operator="tone", weights="operator")


def test_tone_color_and_local_contrast_are_explained(photo: torch.Tensor, toned: torch.Tensor) -> None:
    renditions = [
        photo,
        toned,
        lpie.local_laplacian(photo, alpha=0.4, beta=0.7, sigma_r=0.2),
        contrast(exposure(photo, 0.3), 1.2),
        saturation(photo, 1.4).clamp(0, 1),
        lpie.dehaze(photo).photo,
    ]
    change = unexplained_change(photo.expand(len(renditions), -1, -1, -1), torch.cat(renditions))
    assert change.max() < JUDGES["unexplained"].plain
    assert change[0] == 0


def test_haze_removed_more_or_less_boldly_is_explained_and_damage_to_it_is_not(photo: torch.Tensor) -> None:
    airlight = torch.tensor([[0.8, 0.82, 0.86]])
    depth = torch.linspace(0.3, 1, photo.shape[-2])[:, None].expand(1, 1, *photo.shape[-2:])
    hazy = quantize(photo * depth + airlight[..., None, None] * (1 - depth))
    haze = lpie.dehaze(hazy)
    renditions = [
        haze.photo,
        lpie.dehaze(hazy, safeguard=1.0).photo,
        restore(hazy, haze.transmission, haze.airlight + 0.04, floor=0.2, haze_kept=0.3).clamp(0, 1),
    ]
    plain = JUDGES["unexplained"].plain
    assert unexplained_change(hazy, renditions[1]) > plain  # so much for tone
    for rendition in renditions:
        assert unexplained_change(hazy, rendition, hazy=True) < plain
        assert unexplained_change(hazy, damaged(rendition, "blotches", 1.0), hazy=True) > plain


def test_a_network_that_paints_bands_is_plainly_unexplained(photo: torch.Tensor, toned: torch.Tensor) -> None:
    painted = lpie.enhance(photo, operator="tone", weights="tone-grid-nima")
    assert unexplained_change(photo, painted) > JUDGES["unexplained"].plain > unexplained_change(photo, toned)


@pytest.mark.parametrize("kind", DAMAGES)
def test_plainer_damage_is_more_unexplained(photo: torch.Tensor, toned: torch.Tensor, kind: str) -> None:
    changes = [float(unexplained_change(photo, damaged(toned, kind, strength))) for strength in (*STRENGTHS, 4.0)]
    assert spearmanr(range(len(changes)), changes).statistic > 0.8
    assert changes[-1] > JUDGES["unexplained"].plain / 2


def test_the_map_shows_where_and_its_mean_is_the_change(photo: torch.Tensor, toned: torch.Tensor) -> None:
    painted = toned.clone()
    painted[..., 60:110, 60:110] = (painted[..., 60:110, 60:110] + torch.tensor([0.2, 0, -0.2])[:, None, None]).clamp(
        0, 1
    )
    where = unexplained_map(photo, painted)
    assert where.shape == (1, 1, *photo.shape[-2:])
    assert where.min() >= 0
    assert where.max() <= 1
    assert where[..., 70:100, 70:100].mean() > 0.5 > 5 * where[..., 150:, 150:].mean()
    torch.testing.assert_close(unexplained_change(photo, painted), where.mean((1, 2, 3)))


def test_each_photo_of_a_batch_is_looked_at_alone(photo: torch.Tensor, toned: torch.Tensor) -> None:
    two = torch.cat([photo, photo.flip(-1)]), torch.cat([toned, damaged(toned, "weave", 2.0).flip(-1)])
    torch.testing.assert_close(
        unexplained_change(*two), torch.cat([unexplained_change(two[0][i, None], two[1][i, None]) for i in (0, 1)])
    )


def test_the_explained_rendition_of_an_operators_work_is_that_work(photo: torch.Tensor, toned: torch.Tensor) -> None:
    explained = explained_rendition(photo, toned)
    assert explained.shape == photo.shape
    assert (explained - toned).abs().mean() < 0.01


@pytest.mark.usefixtures("unchecked_shapes")
def test_photos_of_two_sizes_are_refused(photo: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="has its photo's shape"):
        unexplained_change(photo, photo[..., 1:])


def test_damage_of_no_strength_is_none_and_unknown_damage_is_refused(photo: torch.Tensor) -> None:
    for kind in DAMAGES:
        assert (damaged(photo, kind, 0.0) - photo).abs().max() <= 0.5 / 255 + 1e-6
    with pytest.raises(ValueError, match="choose one of blotches"):
        damaged(photo, "scratches", 1.0)


def test_photographs_too_small_to_be_looked_at_are_refused() -> None:
    with pytest.raises(ValueError, match="sides of at least 32 px"):
        unexplained_change(torch.rand(1, 3, 20, 40), torch.rand(1, 3, 20, 40))
