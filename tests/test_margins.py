"""Answers against a margin, and whether plan, README and tables agree."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pandas as pd
import pytest

from lpie.evidence.answers import answer
from lpie.evidence.gains import NEARER
from lpie.evidence.results import read_results
from lpie.evidence.statistics import Interval
from lpie.judges import JUDGES
from lpie.networks import FAMILIES
from lpie.records import PUBLISHED
from lpie.study.sources import find_sources
from lpie.study.study_file import find_profile


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.06, 0.2, "supported"),
        (-0.2, -0.06, "contradicted"),
        (-0.04, 0.05, "no difference that matters"),
        (0.01, 0.03, "no difference that matters"),
        (0.04, 0.2, "undecided"),
        (-0.2, 0.2, "undecided"),
    ],
)
def test_the_whole_interval_must_lie_beyond_the_margin_or_within_it(low: float, high: float, expected: str) -> None:
    assert answer(Interval((low + high) / 2, low, high, 40), 0.05) == expected


def test_the_plan_counts_the_photographs_that_have_a_reference(data: Path) -> None:
    plan = tomllib.loads((PUBLISHED / "plan.toml").read_text(encoding="utf-8"))
    for operator, word in (("tone", "photographs, tone"), ("dehaze", "photographs, dehazing")):
        sources = find_sources(find_profile("study"), operator, ("test",))
        known = sum(source.other is not None for source in sources)
        assert f"{known} {word}" in plan["instruments"]["human_reference"]


def test_the_plan_states_the_margins_and_the_rule_that_the_code_keeps() -> None:
    plan = tomllib.loads((PUBLISHED / "plan.toml").read_text(encoding="utf-8"))
    assert plan["margins"] == {name: JUDGES[name].margin for name in plan["margins"]}
    assert str(JUDGES["unexplained"].plain) in plan["instruments"]["veto"]
    profile = find_profile("study")
    assert f"lose at most {profile.criteria['most_lost']:g} dB" in plan["weights"]["rule"]
    assert f"{profile.first_phases['can24'].steps:,}" in plan["training"]["can24"]
    assert f"{profile.own_schedules['can24'].steps:,}" in plan["training"]["can24"]


def test_what_the_readme_says_of_the_study_stands_in_its_tables() -> None:
    text = _words(PUBLISHED.parents[1] / "README.md")
    assert _words(PUBLISHED / "answer.txt") in text.replace("*", "")
    pleased, plain = _ladder().loc["can24"].loc["l2+0.001compact"], _ladder().loc["can24"].loc["l2"]
    gain = pleased["score_compact"] - plain["score_compact"]
    assert f"raises its score of CAN24 by {gain:.2f}, and {pleased['plain']:.0%}".replace("%", " %") in text
    assert pleased["score_technical"] > plain["score_technical"]  # "likes even that"

    answers = pd.read_csv(PUBLISHED / "answers.csv")
    asked = answers[(answers["claim"] == "C1") & (answers["role"] == "human reference")]
    within, cases = (int(asked[column].sum()) for column in ("no difference that matters", "cases"))
    assert f"less than their margins in {within} of {cases} cases" in text

    mssim, mix, l2, pleasing = (_plainly_changed("CAN24", name) for name in ("MS-SSIM", "mix", "L2", PLEASING))
    assert f"change on {mssim} of the photographs if it learns with MS-SSIM, on {mix} with the mix" in text
    assert f"on {l2} with L2, and on {pleasing} with L2 and `compact`" in text
    assert f"plainly damages {mssim} of the test photographs instead of {l2}." in text
    can24, grid = _harm("CAN24"), _harm("bilateral grid")
    assert "plain damage on {} % without a critic, on {} % with `compact` and {} % with `robust`".format(*can24) in text
    assert "the grid on {}, {} and {} %.".format(*grid) in text
    assert "damages {1} or {2} % of 150 fresh photographs, without one {0} %;".format(*grid) in text

    runs = pd.read_csv(PUBLISHED / "runs.csv")
    families = runs[runs["network"].isin(list(FAMILIES))]
    assert f"{len(families)} networks of three families" in text
    assert f"({len(runs)} evaluated outputs" in text
    alone = runs[(runs["objective"] == "l2") & (runs["operator"] == "dehaze")].groupby("network")["validation_psnr"]
    psnr = alone.agg(["count", "min", "max", "mean"]).round(1)
    (seeds, low, high, _), grid = psnr.loc["can24"], psnr.loc["grid"]
    assert f"{('one', 'two', 'three', 'four', 'five')[int(seeds) - 1]} seeds of CAN24" in text
    assert f"{low} to {high} dB to the operator on validation photographs" in text
    assert f"five of the grid to {grid['min']} to {grid['max']}" in text
    assert grid["count"] == 5
    assert f"comes to {psnr.loc['parameters', 'mean']}" in text


def test_what_the_readme_beside_the_tables_says_stands_in_them() -> None:
    text = _words(PUBLISHED / "README.md")
    ladder = _ladder()
    gains, shares = [], []
    for network in ("can24", "grid"):
        pleased, plain = ladder.loc[network].loc["l2+0.001compact"], ladder.loc[network].loc["l2"]
        gains.append(f"{pleased['score_compact'] - plain['score_compact']:.2f}")
        shares.append((f"{100 * pleased['plain']:.0f}", f"{100 * plain['plain']:.0f}"))
    assert f"its own score of CAN24 by {gains[0]} and of the grid by {gains[1]}" in text
    assert f"{shares[0][0]} and {shares[1][0]} % of the photographs" in text
    assert f"({shares[0][1]} and {shares[1][1]} % without a critic)" in text
    technical = ladder.loc["can24"]["score_technical"]
    assert f"{technical['l2']:.2f} without a critic, {technical['l2+0.03compact']:.2f} at 0.03" in text
    most, none = ladder.loc["parameters"].loc["l2+0.03compact"], ladder.loc["parameters"].loc["l2"]
    gain, cost = most["score_compact"] - none["score_compact"], none["psnr"] - most["psnr"]
    assert f"`compact` gains {gain:.2f} there for {cost:.0f} dB" in text

    compared = pd.read_csv(PUBLISHED / "comparisons.csv")
    compared = compared[compared["fidelity"] == "l2"].set_index(["claim", "operator", "network", "critic"])
    farther = compared.loc[("C1", "tone", "grid", "robust")].set_index("measure").loc[f"{NEARER}cvvdp"]
    assert f"{farther['difference']:.2f} [{farther['low']:.2f}, {farther['high']:.2f}] JOD" in text
    closer = compared.loc[("C4", "tone", "can24", "compact")].set_index("measure")
    gained, lost = closer.loc["gain_compact", "difference"], -closer.loc["psnr", "difference"]
    assert f"CAN24 gains {gained:.2f} by `compact` for {lost:.1f} dB" in text

    can24 = [_plainly_changed("CAN24", name) for name in ("L2", PLEASING, "L2 + 0.003 NIMA (robust)")]
    assert "by CAN24 {} without a critic, {} with `compact`, {} with `robust`".format(*can24) in text
    objectives = ("L2", PLEASING, "L2 + 0.01 NIMA (robust)")
    grid = [_plainly_changed("bilateral grid", name).removesuffix(" %") for name in objectives]
    assert "by the grid {}, {} and {} %".format(*grid) in text
    reached = compared.loc[("C7", "dehaze", "can24", "compact")].set_index(["against", "measure"])["difference"]
    jod, lpips = -reached.loc[("ms_ssim", f"{NEARER}cvvdp")], -reached.loc[("ms_ssim", f"{NEARER}lpips")]
    assert f"with MS-SSIM by {jod:.2f} JOD and {lpips:.3f} of LPIPS" in text

    l1 = pd.read_csv(PUBLISHED / "comparisons.csv").query("claim == 'C1' and fidelity == 'l1'")
    answers = pd.read_csv(PUBLISHED / "answers.csv").query("claim == 'C1' and role == 'human reference'")
    all_cases, l1_cases = answers["cases"].sum(), l1["measure"].str.startswith(NEARER).sum()
    within = answers["no difference that matters"].sum() - (all_cases - l1_cases - 1)  # of L2 one is undecided
    assert f"With L1, one to three seeds, {within} of {l1_cases} do." in text
    grid_closer = compared.loc[("C7", "tone", "grid", "compact")].set_index(["against", "measure"])["difference"]
    assert f"learned with LPIPS ({grid_closer.loc[('lpips', f'{NEARER}lpips')]:.3f}, margin 0.01)" in text
    fresh = pd.read_csv(PUBLISHED / "confirmation_comparisons.csv").query("network == 'can24' and critic == 'compact'")
    fresh = fresh.set_index(["claim", "against", "measure"])
    own, technical = fresh.loc[("C4", "l2", "gain_compact")], fresh.loc[("C1", "l2", "gain_technical"), "difference"]
    said = f"CAN24 by {own['difference']:.2f} [{own['low']:.2f}, {own['high']:.2f}]; technical by {technical:.2f}"
    assert said in text
    assert (
        "on {} % of them without a critic, is so on {} % with `compact` and {} % with".format(*_harm("bilateral grid"))
        in text
    )
    assert "CAN24 on {}, {} and {} %".format(*_harm("CAN24")) in text

    runs, scores = read_results(PUBLISHED)
    alone = runs[(runs["objective"] == "l2") & (runs["operator"] == "tone")]
    test = scores[scores["split"] == "test"].merge(alone[["run", "network"]])
    psnr = test.groupby("network")["psnr"].mean().round(1)
    said = f"CAN24 reaches {psnr['can24']} dB on the photographs that report, the grid {psnr['grid']}"
    assert f"{said}, parameters {psnr['parameters']}" in text


CHOSEN = {"can24": ("0.0003compact", "0.003robust"), "grid": ("0.0003compact", "0.01robust")}
PLEASING = "L2 + 0.0003 NIMA (compact)"


def _plainly_changed(network: str, objective: str) -> str:
    """The share of the photographs for tone mapping with plain unexplained change, as the headline says it."""
    table = pd.read_csv(PUBLISHED / "headline.csv").set_index(["operator", "network", "objective"])
    return str(table.loc[("tone mapping", network, objective), "plainly changed"])


def test_what_was_seen_is_counted_as_the_readme_and_the_card_say() -> None:
    seen = pd.read_csv(PUBLISHED / "seen.csv", index_col="photograph")
    assert len(seen) == 30
    clean = (seen == "clean").sum()
    can24, mssim = clean["CAN24 with a little of the critic or none"], clean["CAN24 by MS-SSIM (windows of each)"]
    text = _words(PUBLISHED.parents[1] / "README.md")
    assert f"CAN24 is clean on {can24}, with a little" in text
    assert f"With MS-SSIM {mssim} are clean" in text
    grid, pushed = clean["luminance-led grid without a critic"], clean["parameters with 0.01 compact"]
    assert clean["parameters without a critic"] == 30
    assert f"grid without a critic on {grid}, parameters with a critic on {pushed}" in text
    card = _words(PUBLISHED.parents[1] / "lpie" / "weights" / "tone-can24-msssim.md")
    assert f"{mssim} are clean (`results/published/seen.csv`; {can24} by" in card


def test_what_the_mean_over_validation_photographs_hid_is_in_the_ladder() -> None:
    plain = (100 * _ladder()["plain"]).round().astype(int).astype(str)
    can24, grid = ([plain[network][f"l2+{name}"] for name in chosen] for network, chosen in CHOSEN.items())
    text = _words(PUBLISHED / "README.md")
    assert "change {} (`compact`) and {} % (`robust`) of them by CAN24".format(*can24) in text
    assert "{} and {} % by the grid".format(*grid) in text
    assert "{} and {} % of the grid's validation".format(*grid) in _words(PUBLISHED.parents[1] / "README.md")
    assert plain["grid"]["l2+0.003robust"] == "0"
    chosen = pd.read_csv(PUBLISHED / "gammas.csv").query("operator == 'tone'")
    assert {f"{row.gamma:g}{row.critic}" for row in chosen.itertuples() if row.network in CHOSEN} == {
        name for names in CHOSEN.values() for name in names
    }


def _harm(network: str) -> list[str]:
    """Percent of the fresh photographs that are plainly changed: without a critic, with `compact`, with `robust`."""
    table = pd.read_csv(PUBLISHED / "confirmation_headline.csv")
    own = table[(table["network"] == network) & table["objective"].str.startswith("L2")]
    return [share.removesuffix(" %") for share in own["plainly changed"]]


def _ladder() -> pd.DataFrame:
    """Tone mapping's, by network and objective."""
    ladder = pd.read_csv(PUBLISHED / "ladder.csv")
    return ladder[ladder["operator"] == "tone"].set_index(["network", "objective"]).sort_index()


def _words(path: Path) -> str:
    return " ".join(path.read_text(encoding="utf-8").split())
