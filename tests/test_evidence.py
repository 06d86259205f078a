"""Gains, the frontier, the choice of gamma and the recipe, on an invented study whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_records import JUDGES as JUDGED
from synthetic_records import invent_study

from lpie.evidence import Evidence
from lpie.evidence.comparisons import comparisons
from lpie.evidence.gains import Criteria, photo_gains
from lpie.evidence.recipe import recipe_check, trivial_at
from lpie.evidence.results import read_results

pytestmark = pytest.mark.usefixtures("people_agree_with_the_judges")


@pytest.fixture(scope="module")
def study() -> tuple[pd.DataFrame, pd.DataFrame]:
    return invent_study()


def _ladder(psnrs: list[float], gains: list[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A ladder of three weights on two validation photos that score 5 as targets."""
    runs = [{"run": "target", "operator": "tone", "network": "target", "fidelity": "none", "critic": "none"}]
    scores = [{"run": "target", "photo": photo, "psnr": np.inf, "score_compact": 5.0} for photo in "ab"]
    for rung, (psnr, gain) in enumerate(zip(psnrs, gains, strict=True)):
        labels = {"operator": "tone", "network": "grid", "fidelity": "l2", "critic": "compact"}
        runs.append({"run": f"r{rung}", "gamma": 10.0 ** (rung - 3), **labels})
        scores += [{"run": f"r{rung}", "photo": photo, "psnr": psnr, "score_compact": 5.0 + gain} for photo in "ab"]
    table = pd.DataFrame(scores).assign(split="validation")
    return pd.DataFrame(runs).fillna({"gamma": 0.0}).assign(seed=0, objective="x"), table


@pytest.mark.parametrize(
    ("psnrs", "gains", "gamma"),
    [
        ([36, 30, 25], [0.1, 0.4, 0.9], 1e-2),  # the smallest that gains enough
        ([36, 30, 25], [0.1, 0.2, 0.3], 1e-1),  # none does: the one that gains most
        ([36, 30, 25], [0.1, 0.3, 0.2], 1e-2),
        ([36, 30, 15], [0.1, 0.2, 0.9], 1e-2),  # the last gains enough but keeps too little
        ([18, 16, 15], [0.4, 0.5, 0.6], 1e-3),  # none keeps enough: the smallest
    ],
)
def test_the_weight_is_the_smallest_that_gains_enough_and_keeps_the_picture(
    psnrs: list[float], gains: list[float], gamma: float
) -> None:
    assert Evidence(*_ladder(psnrs, gains)).choices["gamma"].tolist() == [gamma]


def test_a_weight_that_loses_too_much_or_is_vetoed_is_not_chosen() -> None:
    runs, scores = _ladder([36, 34, 30], [0.1, 0.2, 0.3])
    plain = {"run": "plain", "operator": "tone", "network": "grid", "fidelity": "l2", "critic": "none", "gamma": 0.0}
    runs = pd.concat([runs, pd.DataFrame([plain | {"seed": 0, "objective": "l2"}])], ignore_index=True)
    alone = scores[scores["run"] == "r0"].assign(run="plain", psnr=37.0)
    scores = pd.concat([scores, alone], ignore_index=True)
    for most_lost, gamma in ((np.inf, 1e-1), (3.5, 1e-2), (1.5, 1e-3)):
        chosen = Evidence(runs, scores, criteria=Criteria(most_lost=most_lost)).choices
        assert chosen["gamma"].tolist() == [gamma]
    plainly = scores.assign(unexplained=np.where(scores["run"] == "r2", 0.2, 0.0))
    assert Evidence(runs, plainly).choices["gamma"].tolist() == [1e-2]


def test_the_choice_sees_neither_judges_nor_test_photos(study: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    runs, scores = study
    blind = scores[scores["split"] == "validation"].drop(columns=[f"score_{judge}" for judge in JUDGED])
    choices = Evidence(runs, scores).choices
    pd.testing.assert_frame_equal(choices, Evidence(runs, blind).choices)
    assert (choices["gamma"] == 1e-2).all()
    assert (choices["critic_gain"] > Criteria().safe_gain).all()


def test_gains_are_differences_to_the_target_of_the_same_photo(study: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    runs, scores = study
    gains = photo_gains(runs, scores)
    row = gains[gains["network"] == "can32"].iloc[5]
    target = scores[(scores["run"] == f"{row['operator']}-target") & (scores["photo"] == row["photo"])].iloc[0]
    assert row["gain_technical"] == pytest.approx(row["score_technical"] - target["score_technical"])
    assert row["kept_ava_blur"] == pytest.approx(row["survives_ava_blur"] - target["survives_ava_blur"])
    assert set(gains["split"]) == {"test"}
    assert Evidence(runs, scores).judges == list(JUDGED)


def test_gains_without_the_target_are_refused(study: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    runs, scores = study
    with pytest.raises(ValueError, match="target of tone has no scores"):
        photo_gains(runs, scores[scores["run"] != "tone-target"])


def test_the_frontier_recovers_what_was_invented(study: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table = Evidence(*study).frontier.set_index(["operator", "network", "objective"])
    honest = table.loc[("tone", "parameters", "l2+0.01compact")]
    attack = table.loc[("dehaze", "can32", "l2+0.01ava")]
    assert honest["n_seeds"] == 3
    assert honest["n_photos"] == 14
    assert honest["psnr"] == pytest.approx(29, abs=0.5)
    for row in (honest, attack):
        assert row["critic_gain_low"] < row["critic_gain"] < row["critic_gain_high"]
        assert row["critic_gain"] == pytest.approx(0.45, abs=0.03)
        assert row["critic_gain_seed_low"] < 0.45 < row["critic_gain_seed_high"]
    assert honest["kept_jpeg90"] == pytest.approx(0.97, abs=0.02)
    assert attack["kept_blur"] == pytest.approx(0.4, abs=0.02)
    assert honest["transfer_niqe"] == pytest.approx(0.25, abs=0.03)
    assert attack["transfer_niqe"] == pytest.approx(-0.4, abs=0.03)


def test_one_photo_more_or_less_moves_no_other_operator(study: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    runs, scores = study
    whole = Evidence(runs, scores).frontier
    fewer = Evidence(runs, scores[scores["photo"] != "dehaze-test-0"]).frontier
    pd.testing.assert_frame_equal(whole[whole["operator"] == "tone"], fewer[fewer["operator"] == "tone"])


def test_the_recipe_passes_an_enhancement_and_fails_an_attack(study: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    evidence = Evidence(*study)
    chosen = evidence.chosen_with("l2").set_index(["operator", "network", "critic"], drop=False)
    honest = recipe_check(evidence, chosen.loc[("tone", "parameters", "compact")])
    assert honest.loc[~honest["passed"], "criterion"].tolist() == [
        "human reference: not farther than the target (not measured)"
    ]
    assert len(honest) == 3 + 2 + 1 + 2
    attack = recipe_check(evidence, chosen.loc[("tone", "can32", "compact")]).set_index("criterion")
    assert attack.loc["visible difference: CIEDE2000, at most", "passed"]
    assert not attack.loc["veto: unexplained change, at most", "passed"]
    assert not attack.loc["preference: technical not below the target", "passed"]


def test_the_trivial_edit_compared_with_may_change_at_least_as_much(study: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    gains = photo_gains(*study)
    rows = gains[(gains["objective"] == "l2+0.01ava") & (gains["operator"] == "tone") & (gains["network"] == "can32")]
    edit = trivial_at(gains, rows, "ava")
    assert edit is not None
    assert set(edit["run"]) == {"tone-trivial-ava-28dB"}
    assert edit["psnr"].mean() <= rows["psnr"].mean()


def test_a_recipe_without_the_trivial_edit_is_not_passed_and_says_why() -> None:
    study = invent_study(networks=("parameters",), operators=("tone",), rivals=False)
    check = recipe_check(Evidence(*study), Evidence(*study).chosen.iloc[0])
    missing = check[check["criterion"].str.contains("not evaluated")]
    assert len(missing) == 2
    assert not missing["passed"].any()


def test_an_instrument_given_up_is_not_read(study: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    runs, scores = study
    evidence = Evidence(runs, scores.assign(score_oasis=1.0))
    assert evidence.judges == list(JUDGED)


@pytest.mark.parametrize("text", ["", "run,photo\n1,2,3\n", "photo\nx\n", "\x00\x01"])
def test_damaged_scores_are_named(tmp_path: Path, text: str) -> None:
    place = tmp_path / "runs" / "tone-input"
    place.mkdir(parents=True)
    (place / "run.json").write_text("{}")
    (place / "scores.csv").write_text(text)
    with pytest.raises(ValueError, match=r"scores\.csv is damaged"):
        read_results(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "[" * 5000, '{"study": []}', '{"study": {"gamma": 1}}', '{"study": "x"}'])
def test_a_damaged_record_of_a_run_is_named(tmp_path: Path, text: str) -> None:
    place = tmp_path / "runs" / "tone-input"
    place.mkdir(parents=True)
    (place / "run.json").write_text(text)
    (place / "scores.csv").write_text("run,photo,split\n")
    with pytest.raises(ValueError, match=r"run\.json is damaged"):
        read_results(tmp_path)


def test_networks_are_not_asked_to_excel_what_a_person_made() -> None:
    runs, scores = _ladder([36, 34, 30], [0.1, 0.4, 0.9])
    both = pd.concat([scores, scores.assign(split="test")], ignore_index=True).assign(near_ssim=0.5, score_niqe=-4.0)
    for operator, asked in (("tone", True), ("pairs", False)):
        table = comparisons(Evidence(runs.assign(operator=operator), both))
        assert ("C2" in set(table["claim"])) == asked
