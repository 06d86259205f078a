"""Judges with a reference: what each owes to equal photos, to a change seen and to one unseen."""

from __future__ import annotations

import pytest
import torch
from real_photos import photograph
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import peak_signal_noise_ratio

from lpie.judges import JUDGES, available_references, load_judge
from lpie.judges.full_reference import ciede2000, cvvdp, psnr, visible_difference


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    return photograph("chelsea", slice(176), slice(100, 292))


@pytest.fixture(params=[name for name, row in JUDGES.items() if row.needs_reference])
def name(request: pytest.FixtureRequest) -> str:
    if request.param not in available_references():
        pytest.skip(f"{request.param} needs a package or weights that are not here")
    return request.param


def test_more_noise_is_farther_and_nothing_is_nearer_than_the_photo_itself(photo: torch.Tensor, name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(photo.shape, generator=generator)
    judge = load_judge(name)
    renditions = torch.cat([photo, *((photo + size * noise).clamp(0, 1) for size in (0.05, 0.3))])
    values = judge(renditions, photo.expand_as(renditions))
    assert values.shape == (3,)
    nearer = values if JUDGES[name].higher_is_better else -values
    assert nearer[0] > nearer[1] > nearer[2]


def test_psnr_and_ciede2000_are_those_of_scikit_image(photo: torch.Tensor) -> None:
    other = (photo * 0.9 + 0.05).clamp(0, 1)
    a, b = (one[0].permute(1, 2, 0).double().numpy() for one in (other, photo))
    assert psnr(other, photo).item() == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1), abs=1e-3)
    assert ciede2000(other, photo).item() == pytest.approx(deltaE_ciede2000(rgb2lab(a), rgb2lab(b)).mean(), abs=1e-3)


def test_the_vision_model_sees_a_change_where_it_is(photo: torch.Tensor) -> None:
    pytest.importorskip("pycvvdp")
    changed = photo.clone()
    changed[..., 60:100, 20:60] = 1 - changed[..., 60:100, 20:60]
    seen = visible_difference(changed, photo)
    assert seen.shape == (1, 1, *photo.shape[-2:])
    assert seen[..., 70:90, 30:50].min() > 1
    assert seen[..., 130:].max() < 0.5
    assert visible_difference(photo, photo).max() < 1e-3
    assert cvvdp(photo, photo).item() == pytest.approx(10)
