"""Studies: names that tell and never collide, errors that name the invariant."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lpie.study.settings import Study, fidelity_studies, ladder_studies
from lpie.study.study_file import find_profile, profile_names


def test_every_study_of_a_profile_has_its_own_name() -> None:
    for profile in map(find_profile, profile_names()):
        studies = [
            s
            for operator in profile.operators
            for s in (*fidelity_studies(profile, operator), *ladder_studies(profile, operator))
        ]
        assert len({study.name for study in studies}) == len(studies)


def test_any_changed_setting_changes_the_name() -> None:
    study = Study()
    assert replace(study, settings=replace(study.settings, alpha=0.51)).name != study.name
    assert replace(study, schedule=replace(study.schedule, steps=1)).name != study.name


def test_equal_studies_have_equal_names() -> None:
    assert Study(seed=3).name == Study(seed=3).name


def test_a_negative_gamma_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0, got -1"):
        Study(gamma=-1.0, critic="compact")


def test_gamma_without_a_critic_is_refused() -> None:
    with pytest.raises(ValueError, match="go together"):
        Study(gamma=0.1)


def test_an_unknown_profile_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="smoke, demo, study, pairs, fivek"):
        find_profile("dmeo")
