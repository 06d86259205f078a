"""Judges: which there are, and what every one of them owes to evaluation."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from lpie.aesthetics.judges import JudgeName, available_judges, load_judge
from lpie.aesthetics.nima import NIMA
from lpie.aesthetics.niqe import NaturalScenes, niqe
from lpie.study import PROFILES
from lpie.weights import SHIPPED


@pytest.fixture(params=get_args(JudgeName))
def judge(request):
    if request.param not in available_judges():
        pytest.skip(f"{request.param} is neither shipped nor under LPIE_DATA")
    return load_judge(request.param)


def test_every_judge_scores_each_photo_alone_and_without_gradient(judge, small_photos):
    photos = torch.nn.functional.interpolate(small_photos, (120, 160), mode="bilinear").requires_grad_()
    scores = judge(photos)
    assert scores.shape == (3,)
    assert not scores.requires_grad
    torch.testing.assert_close(scores, torch.cat([judge(photo[None]) for photo in photos]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["compact", "ava", "technical", "niqe"])  # oasis rates what is shown: see its card
def test_judges_of_the_picture_prefer_a_photograph_to_its_ruin(name):
    from skimage import data as photographs

    if name not in available_judges():
        pytest.skip(f"{name} is neither shipped nor under LPIE_DATA")
    judge = load_judge(name)

    photo = torch.from_numpy(photographs.chelsea()).permute(2, 0, 1)[None].float() / 255
    ruined = (photo + 0.4 * torch.randn_like(photo)).clamp(0, 1)
    assert judge(photo) > judge(ruined)


def test_niqe_judge_is_minus_niqe(small_photos):
    photos = torch.nn.functional.interpolate(small_photos, (100, 150), mode="bilinear")
    torch.testing.assert_close(load_judge("niqe")(photos), -niqe(photos, NaturalScenes.shipped()))


def test_judges_of_the_data_folder_become_available_with_it(data, monkeypatch, tmp_path):
    assert {"ava", "technical", "niqe"} <= set(available_judges())
    monkeypatch.delenv("LPIE_DATA")
    monkeypatch.setenv("LPIE_CACHE", str(tmp_path))
    assert "technical" not in available_judges()
    assert "niqe" in available_judges()


def test_unknown_judge_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="choose one of compact, ava, technical, oasis, niqe"):
        load_judge("brisque")


def test_profiles_name_known_judges_that_are_no_critics():
    for profile in PROFILES.values():
        assert set(profile.judges) <= set(get_args(JudgeName)) - {"compact", "ava"}
        assert not set(profile.judges) & set(profile.critics)


@pytest.mark.skipif(not (SHIPPED / "compact.safetensors").exists(), reason="compact is not trained yet")
def test_compact_is_small_and_frozen():
    assert (SHIPPED / "compact.safetensors").stat().st_size <= 7_000_000
    assert (SHIPPED / "compact.md").exists()
    critic = NIMA.from_pretrained("compact")
    assert critic.convention == "antialiased"
    assert not any(parameter.requires_grad for parameter in critic.parameters())
