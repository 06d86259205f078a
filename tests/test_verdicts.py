"""The verdicts on the claims, on invented studies in which each is known to hold, or not, or not to be measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic_records import JUDGES as JUDGED
from synthetic_records import invent_study

from lpie.evidence import Evidence
from lpie.evidence.answers import answers, photographs_needed
from lpie.evidence.comparisons import comparisons
from lpie.evidence.statistics import Interval
from lpie.evidence.verdicts import CLAIMS, verdicts
from lpie.judges import JUDGES

pytestmark = pytest.mark.usefixtures("people_agree_with_the_judges")


def verdict_of(table: pd.DataFrame) -> dict[str, str]:
    return dict(zip(table["claim"], table["verdict"], strict=True))


@pytest.fixture(scope="module")
def mixed() -> tuple[pd.DataFrame, pd.DataFrame]:
    return invent_study()


def test_a_study_in_which_one_of_two_networks_enhances_supports_in_part(
    mixed: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    table = verdicts(Evidence(*mixed))
    assert list(table["claim"]) == list(CLAIMS)
    expected = dict.fromkeys(("C1", "C2", "C3", "C6", "C7"), "partly supported")
    assert verdict_of(table) == expected | {"C4": "not supported", "C5": "supported"}
    found = table.set_index("claim").loc["C2"]
    assert "CAN32 0 of 4, operator parameters 4 of 4" in found["found"]
    assert found["n"] == "14 photos, 3 seeds"
    assert "Holm" in found["test"]


def test_an_honest_network_alone_is_supported_and_an_attack_alone_is_not() -> None:
    honest = verdict_of(verdicts(Evidence(*invent_study(networks=("parameters",)))))
    attack = verdict_of(verdicts(Evidence(*invent_study(networks=("can32",)))))
    for claim in ("C1", "C2", "C3", "C6", "C7"):
        assert honest[claim] == "supported"
        assert attack[claim] == "not supported"


def test_instruments_without_a_role_decide_nothing_but_a_veto_does(
    mixed: tuple[pd.DataFrame, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in JUDGED:
        monkeypatch.setitem(JUDGES, name, replace(JUDGES[name], roles=("visible difference",)))
    honest = verdict_of(verdicts(Evidence(*invent_study(networks=("parameters",)))))
    for claim in ("C1", "C2", "C3", "C6", "C7"):
        assert honest[claim] == "undecided"
    row = verdicts(Evidence(*mixed)).set_index("claim").loc["C2"]
    assert row["verdict"] == "undecided"
    assert row["found"].startswith("Undecided in 4 of 8 cases")  # the attack is vetoed
    assert row["interval"] == ""


def nearer_to_a_person(scores: pd.DataFrame, by: float) -> pd.DataFrame:
    """The scores with what ColorVideoVDP says of a person's renditions, `by` JOD nearer with a critic than without."""
    noise = pd.Series(np.random.default_rng(0).normal(0, 0.02, len(scores)), scores.index)
    taught = scores["run"].str.contains(r"\+")
    return scores.assign(near_cvvdp=7 + by * taught + noise)


def test_where_nobody_knows_what_is_preferred_nearness_to_a_persons_rendition_decides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in JUDGED:
        monkeypatch.setitem(JUDGES, name, replace(JUDGES[name], roles=()))
    runs, scores = invent_study(networks=("parameters",))
    for by, expected in ((0.5, "supported"), (-0.5, "contradicted"), (0.0, "no difference that matters")):
        table = verdicts(Evidence(runs, nearer_to_a_person(scores, by))).set_index("claim")
        assert {table.loc[claim, "verdict"] for claim in ("C1", "C2", "C7")} == {expected}
        assert "nearer to a person's version by ColorVideoVDP" in table.loc["C1", "found"]


def test_every_instrument_answers_against_its_margin_and_says_whether_it_counts(
    mixed: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    runs, scores = mixed
    table = answers(comparisons(Evidence(runs, nearer_to_a_person(scores, 0.05)))).set_index(["claim", "instrument"])
    vision = table.loc[("C1", "ColorVideoVDP")]
    assert (vision["role"], vision["verdict"]) == ("human reference", "no difference that matters")
    assert vision["cases"] == vision["no difference that matters"]
    niqe = table.loc[("C2", "NIQE")]  # gains with one network, loses with the other
    assert niqe["role"] == "preference"
    assert min(niqe["supported"], niqe["contradicted"]) >= 3
    assert niqe["verdict"] == "undecided"


def test_four_times_the_photographs_halve_an_interval() -> None:
    open_ = Interval(mean=0.2, low=-0.1, high=0.5, n=10)
    assert photographs_needed(open_, margin=0.05) == 40
    assert photographs_needed(Interval(0.05, -0.1, 0.2, 10), margin=0.05) == np.inf


def test_plain_unexplained_change_vetoes_what_judges_like(mixed: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    runs, scores = mixed
    painted = scores.assign(unexplained=0.5)
    assert verdict_of(verdicts(Evidence(runs, painted)))["C2"] == "not supported"


def test_two_operators_cannot_be_served_where_one_was_run() -> None:
    table = verdicts(Evidence(*invent_study(networks=("parameters",), operators=("tone",))))
    assert verdict_of(table)["C3"] == "not attempted"


def test_without_a_critic_in_training_nothing_is_attempted(mixed: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    runs, scores = mixed
    plain = runs[runs["gamma"] == 0]
    assert set(verdicts(Evidence(plain, scores))["verdict"]) == {"not attempted"}


def test_three_photographs_decide_nothing(mixed: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    runs, scores = mixed
    few = scores[~scores["photo"].str.contains("-test-") | scores["photo"].str.contains("-test-[012]$")]
    assert verdict_of(verdicts(Evidence(runs, few)))["C2"] == "undecided"


def test_as_many_photographs_as_no_comparison_can_be_significant_with_decide_nothing(
    mixed: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    runs, scores = mixed
    made = (comparisons(Evidence(runs, scores))["claim"] == "C2").sum()
    fewest = int(np.ceil(1 + np.log2(made / 0.05)))  # 2^(1 - n) times the comparisons is below 0.05 from here on
    numbers = scores["photo"].str.extract(r"-test-(\d+)$")[0].astype(float)
    for count, decided in ((fewest, True), (fewest - 1, False)):
        verdict = verdict_of(verdicts(Evidence(runs, scores[~(numbers >= count)])))["C2"]
        assert (verdict != "undecided") == decided


def test_a_difference_that_one_seed_made_counts_for_nothing(mixed: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    runs, scores = mixed
    assert "operator parameters 4 of 4" in verdicts(Evidence(runs, scores)).set_index("claim").loc["C2", "found"]
    judges = [column for column in scores if column.startswith("score_")]
    seeds = scores["run"].map(runs.set_index("run")["seed"])
    with_critic = scores["run"].isin(runs.loc[runs["gamma"] > 0, "run"])
    uneven = scores.copy()
    uneven.loc[with_critic & (seeds == 1), judges] += 3  # the mean is higher than before, and no longer certain
    uneven.loc[with_critic & (seeds == 2), judges] -= 2
    assert "operator parameters 0 of 4" in verdicts(Evidence(runs, uneven)).set_index("claim").loc["C2", "found"]


def test_a_gain_within_a_decibel_counts_as_both_at_once(mixed: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    runs, scores = mixed
    mild = scores["run"].str.contains("parameters-l2\\+0.001")
    close = scores.assign(psnr=scores["psnr"].where(~mild, scores["psnr"] + 1.6))
    table = verdicts(Evidence(runs, close)).set_index("claim")
    assert table.loc["C4", "verdict"] == "partly supported"
    assert "operator parameters 4 of 4" in table.loc["C4", "found"]
    assert "gamma 0.001" in table.loc["C4", "found"]


def test_without_a_gain_nothing_survives(mixed: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    runs, scores = mixed
    lost = scores.assign(score_compact=scores["score_compact"] - 2.0 * scores["run"].str.contains("parameters"))
    row = verdicts(Evidence(runs, lost)).set_index("claim").loc["C6"]
    assert row["verdict"] == "partly supported"
    assert "operator parameters 2 of 4" in row["found"]  # with the other critic


def test_a_network_that_grew_with_its_critic_is_not_free(mixed: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    runs, scores = mixed
    grown = runs.assign(parameters=runs["parameters"] + (runs["gamma"] > 0))
    assert verdict_of(verdicts(Evidence(grown, scores)))["C5"] == "not supported"


def test_comparisons_are_paired_adjusted_and_complete(mixed: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table = comparisons(Evidence(*mixed))
    assert set(table["claim"]) == {"C1", "C2", "C4", "C7"}
    assert (table["p_holm"] >= table["p"]).all()
    assert table["p_holm"].between(0, 1).all()
    assert not (table["measure"].isin(["gain_compact", "gain_ava"]) & table["claim"].isin(["C1", "C7"])).any()
    row = table[(table["claim"] == "C1") & (table["network"] == "can32") & (table["measure"] == "gain_niqe")].iloc[0]
    assert row["difference"] == pytest.approx(-0.4 * 0.45, abs=0.02)
    assert row["low"] < row["difference"] < row["high"] < 0


def test_a_critic_is_compared_with_the_seeds_that_it_trained_with_itself() -> None:
    runs, scores = invent_study(networks=("parameters",), operators=("tone",), seeds=2, rivals=False)
    with_critic = runs.loc[runs["gamma"] > 0, "run"]
    one = runs[~(runs["run"].isin(with_critic) & (runs["seed"] == 1))]  # the critic has one seed, L2 alone has two
    known = scores[scores["run"].isin(one["run"])]
    of_seed = one[one["seed"] != 1]
    table, expected = (comparisons(Evidence(some, known[known["run"].isin(some["run"])])) for some in (one, of_seed))
    columns = ["claim", "network", "critic", "fidelity", "gamma", "against", "measure", "difference", "n_seeds"]
    pd.testing.assert_frame_equal(table[columns], expected[columns])
