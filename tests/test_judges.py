"""Judges: which there are, and what every one of them owes to evaluation."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from real_photos import photograph

from lpie.critic import CRITICS
from lpie.critic.nima import NIMA
from lpie.imaging.resampling import resize
from lpie.judges import JUDGES, available_raters, load_judge, load_rater
from lpie.judges.niqe import NaturalScenes, niqe
from lpie.judges.robustness import (
    ATTACKED_SIZE,
    INVARIANCE,
    octave_energy,
    projected_gradient_ascent,
    score_gradient,
)
from lpie.records import PUBLISHED
from lpie.study.instruments import roles
from lpie.study.study_file import find_profile, profile_names
from lpie.weights import SHIPPED

RATERS = [*CRITICS, *(name for name, row in JUDGES.items() if row.load and not row.needs_reference)]


@pytest.fixture(params=RATERS)
def judge(request):
    if request.param not in available_raters():
        pytest.skip(f"{request.param} is neither shipped nor under LPIE_DATA")
    return load_rater(request.param)


def test_every_judge_scores_each_photo_alone_and_without_gradient(judge, small_photos):
    photos = torch.nn.functional.interpolate(small_photos, (120, 160), mode="bilinear").requires_grad_()
    scores = judge(photos)
    assert scores.shape == (3,)
    assert not scores.requires_grad
    torch.testing.assert_close(scores, torch.cat([judge(photo[None]) for photo in photos]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", RATERS)
def test_judges_of_the_picture_prefer_a_photograph_to_its_ruin(name):
    if name not in available_raters():
        pytest.skip(f"{name} is neither shipped nor under LPIE_DATA")
    judge = load_rater(name)

    photo = photograph("chelsea")
    ruined = (photo + 0.4 * torch.randn_like(photo)).clamp(0, 1)
    assert judge(photo) > judge(ruined)


def test_niqe_judge_is_minus_niqe(small_photos):
    photos = torch.nn.functional.interpolate(small_photos, (100, 150), mode="bilinear")
    torch.testing.assert_close(load_rater("niqe")(photos), -niqe(photos, NaturalScenes.shipped()))


def test_judges_of_the_data_folder_become_available_with_it(data, monkeypatch, tmp_path):
    assert {"ava", "technical", "niqe"} <= set(available_raters())
    monkeypatch.delenv("LPIE_DATA")
    monkeypatch.setenv("LPIE_CACHE", str(tmp_path))
    assert "technical" not in available_raters()
    assert "niqe" in available_raters()


def test_unknown_judge_is_refused_with_the_choices():
    with pytest.raises(ValueError, match=r"did you mean 'niqe'.*Choose one of technical"):
        load_judge("nique")
    with pytest.raises(ValueError, match="Choose one of technical, niqe"):
        load_rater("psnr")  # which needs a reference
    with pytest.raises(ValueError, match="Unknown judge 'people'"):
        load_judge("people")  # who are asked by `lpie vote`


def test_the_roles_of_judges_are_those_that_the_published_answers_show():
    shown = roles(pd.read_csv(PUBLISHED / "instruments.csv"))
    for name, row in JUDGES.items():
        if name != "people":  # who are what the others are held against
            assert set(row.roles) == set(shown.get(name, ())), name


def test_profiles_name_known_judges_that_are_no_critics():
    for profile in map(find_profile, profile_names()):
        assert set(profile.judges) <= set(RATERS) - set(CRITICS)
        assert not set(profile.judges) & set(profile.critics)


@pytest.mark.parametrize("name", ["compact", "robust"])
def test_shipped_critic_is_small_and_frozen(name):
    assert (SHIPPED / f"{name}.safetensors").stat().st_size <= 7_000_000
    assert (SHIPPED / f"{name}.md").exists()
    critic = NIMA.from_pretrained(name)
    assert critic.convention == "antialiased"
    assert not any(parameter.requires_grad for parameter in critic.parameters())


def test_robust_critic_is_hard_to_fool_and_asks_for_no_noise():
    photos = map(photograph, ("astronaut", "chelsea", "coffee"))
    squares = torch.cat([resize(photo, ATTACKED_SIZE, ATTACKED_SIZE) for photo in photos])
    gains = {}
    for name in ("compact", "robust"):
        score = NIMA.from_pretrained(name).mean_score
        gains[name] = (score(projected_gradient_ascent(score, squares)) - score(squares)).mean()
    assert gains["robust"] < gains["compact"] / 5
    robust = NIMA.from_pretrained("robust").mean_score
    energy = octave_energy(score_gradient(robust, squares)).mean(0)
    assert energy[0] < energy[1]
    for change in INVARIANCE.values():
        assert (robust(change(squares)) - robust(squares)).abs().mean() < 0.05
