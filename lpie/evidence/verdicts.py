"""The seven claims of the paper, each held against the tables: what is found, on how much, by which test.

`verdicts` says in how many cases a claim holds and shows the best one. Numbers come from the tables alone.

Source: the claims are those of Talebi and Milanfar, Learned Perceptual Image Enhancement, ICCP 2018, in our words.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lpie.evidence import labels
from lpie.evidence.answers import ANSWERS, answer, interval_of
from lpie.evidence.comparisons import CASE, comparisons
from lpie.evidence.evidence import Evidence
from lpie.evidence.gains import NEARER, Criteria
from lpie.evidence.statistics import SIGNIFICANCE, paired_ratio_interval
from lpie.judges import JUDGES
from lpie.networks import FAMILIES

CLAIMS = {
    "C1": "A network trained with L1 or L2 alone looks worse than one that also pleases a learned critic.",
    "C2": "Adding the learned critic significantly improves what the operators make of photographs.",
    "C3": "One method serves several operators: local tone mapping and dehazing.",
    "C4": "Closeness to the operator and quality are optimized at the same time.",
    "C5": "The improvement costs nothing at inference.",
    "C6": "The critic gives a gradient that improves pictures (implied by training on it).",
    "C7": "The critic adds what SSIM, MS-SSIM and their mix with L1 do not give.",
}

NOBODY = "no measure that people's opinions support decides"

PAIRED_TEST = (
    "Wilcoxon signed-rank over photos, Holm over the claim's comparisons, and the interval across seeds where both "
    "sides have several"
)


def verdicts(evidence: Evidence, compared: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row per claim: claim, paper, found, n, interval, test, verdict. `compared`: `comparisons`, if at hand.

    A verdict is `supported` (in every case), `partly supported` (in some), `no difference that matters` or
    `contradicted` (in none, and every case says so), `not supported` (in none otherwise), `undecided` (too few
    photographs for any difference to be significant, or no instrument with the role that the claim asks for) or
    `not attempted`.
    """
    table = comparisons(evidence) if compared is None else compared
    rows, criteria = {claim: table[table["claim"] == claim] for claim in CLAIMS}, evidence.criteria
    found = {
        "C1": _judged_cases(rows["C1"], [*CASE, "fidelity"], evidence),
        "C2": _judged_cases(rows["C2"], CASE, evidence),
        "C3": _served_cases(rows["C2"], evidence),
        "C4": _faithful_cases(rows["C4"], criteria),
        "C5": _size_cases(evidence.runs),
        "C6": _surviving_cases(evidence),
        "C7": _judged_cases(rows["C7"], [*CASE, "against"], evidence),
    }
    tested = table["claim"].value_counts().to_dict()
    tested["C3"] = tested.get("C2", 1)
    return pd.DataFrame([_verdict(claim, cases, tested.get(claim, 1)) for claim, cases in found.items()])


def _verdict(claim: str, cases: pd.DataFrame, comparisons_made: int) -> dict[str, str]:
    row = {"claim": claim, "paper": CLAIMS[claim]}
    if cases.empty:
        nothing = {"found": "Not measured by these runs.", "n": "0", "interval": "", "test": ""}
        return row | nothing | {"verdict": "not attempted"}
    open_ = cases["holds"].isna()
    cases = cases.assign(holds=cases["holds"].eq(True))
    count, undecided = int(cases["holds"].sum()), int(open_.sum())
    best = cases.sort_values(["holds", "merit"], ascending=False, kind="stable").iloc[0]
    said = cases["said"].value_counts() if "said" in cases else pd.Series(dtype=int)
    verdict = "supported" if count == len(cases) else "partly supported" if count else "not supported"
    if said.sum() == len(cases) and set(said.index) in ({"no difference that matters"}, {"contradicted"}):
        verdict = str(said.index[0])
    smallest_p = 2.0 ** (1 - best["n_photos"])  # of a signed-rank test: all photos on one side
    if smallest_p * comparisons_made >= SIGNIFICANCE or (undecided and not count):
        verdict = "undecided"
    words = [f"{word} in {times}" for word, times in said.items() if word not in ("supported", "undecided")]
    others = f" Of the others: {', '.join(words)}." if words else ""
    found = f"Holds in {count} of {len(cases)} cases ({_tally(cases)}).{others}"
    if undecided:
        left = len(cases) - undecided
        none = f" It does not hold in the other {left}, so that it holds in {undecided} at most." if left else ""
        rest = f" {found}" if count else others or none
        found = f"Undecided in {undecided} of {len(cases)} cases: {NOBODY}.{rest}"
    return {
        **row,
        "found": f"{found} {best['detail']}",
        "n": best["n"],
        "interval": best["interval"],
        "test": best["test"],
        "verdict": verdict,
    }


def _tally(cases: pd.DataFrame) -> str:
    """In how many cases a claim holds, by network and, where there are two, by operator."""
    parts = []
    for key, label in (("network", labels.network_label), ("operator", labels.operator_label)):
        groups = [(name, group["holds"]) for name, group in cases.groupby(key, sort=False) if name]
        if key == "network" or len(groups) > 1:
            parts.append(", ".join(f"{label(name)} {holds.sum()} of {len(holds)}" for name, holds in groups))
    return "; ".join(part for part in parts if part)


def _judged_cases(rows: pd.DataFrame, key: list[str], evidence: Evidence) -> pd.DataFrame:
    """Cases in which no judge with the role *preference* loses, one gains, and none with the role *veto* objects.

    Without such a judge those with the role *human reference* decide: some finds the rendition nearer to a person's by
    more than its margin, none farther. Where they cannot either, a case that is not vetoed stays open, `holds` None.
    """
    cases, speaking = [], [f"gain_{name}" for name in evidence.preferring]
    speaking = speaking or [f"{NEARER}{name}" for name in evidence.nearing]
    for _, case in rows.groupby(key, sort=False):
        judged = case[case["measure"].isin(speaking)]
        holds: bool | None = None
        said = "undecided"
        if evidence.vetoed(evidence.rows_of(case.iloc[0])):
            holds, said = False, "plain unexplained change"
        elif len(judged) and evidence.preferring:
            holds = bool((judged["low"] >= evidence.criteria.judge_slack).all() and _gains(judged).any())
        elif len(judged):
            said = _nearer(judged)
            holds = None if said == "undecided" else said == "supported"
        shown = judged if len(judged) else case
        worst = shown.iloc[int(shown["difference"].argmin())]
        detail = f"Best case, {_label(case.iloc[0], key)}: {_listed(judged)}." if len(judged) else ""
        interval = f"{_name(worst)} {_bounds(worst)}" if len(judged) else ""
        row = _case(case.iloc[0], key, holds, float(worst["difference"]), detail, interval) | _paired(worst)
        cases.append(row if evidence.preferring else {**row, "said": said})
    return pd.DataFrame(cases)


def _nearer(judged: pd.DataFrame) -> str:
    """What all that measured how near renditions are to a person's say together, of the ANSWERS."""
    margins = [JUDGES[name.removeprefix(NEARER)].margin for name in judged["measure"]]
    found = {answer(interval_of(case), margin) for (_, case), margin in zip(judged.iterrows(), margins, strict=True)}
    return next(word for word in ("contradicted", "supported", "undecided", *ANSWERS) if word in found)


def _gains(row: Any) -> Any:
    """Whether a comparison, or each of several, is above 0 across photos and, where it is known, across seeds."""
    seeds = (row["seed_low"] > 0) | np.isnan(row["seed_low"])
    return (row["low"] > 0) & (row["p_holm"] < SIGNIFICANCE) & seeds


def _served_cases(rows: pd.DataFrame, evidence: Evidence) -> pd.DataFrame:
    """Networks and critics for which C2 holds with every operator; none where fewer than two operators were run."""
    judged = _judged_cases(rows, CASE, evidence)
    if judged.empty or judged["operator"].nunique() < 2:
        return pd.DataFrame()
    cases = []
    for (network, critic), group in judged.groupby(["network", "critic"], sort=False):
        if group["operator"].nunique() == judged["operator"].nunique():
            worst = group.iloc[int(group["merit"].argmin())]
            served = [labels.operator_label(name) for name in group.loc[group["holds"].eq(True), "operator"]]
            known = group["holds"].notna()
            holds = bool(group["holds"].all()) if known.all() else None if group.loc[known, "holds"].all() else False
            name = f"{labels.network_label(network)} ({critic})"
            detail = (
                f"Best case, {name}: serves {' and '.join(served) or 'neither operator'}."
                if evidence.preferring or evidence.nearing
                else ""
            )
            cases.append({**worst, "operator": "", "holds": holds, "name": name, "detail": detail})
    return pd.DataFrame(cases)


def _faithful_cases(rows: pd.DataFrame, criteria: Criteria) -> pd.DataFrame:
    """Cases with some weight at which the critic gains over no critic and PSNR falls by little enough."""
    cases = []
    for _, case in rows.groupby(CASE, sort=False):
        steps = []
        for gamma, step in case.groupby("gamma"):
            gain = step[step["measure"].str.startswith("gain_")].iloc[0]
            cost = step[step["measure"] == "psnr"].iloc[0]
            kept = _gains(gain) and cost["difference"] >= -criteria.fidelity_slack
            steps.append((bool(kept), gain["difference"] if kept else cost["difference"], gamma, gain, cost))
        holds, merit, gamma, gain, cost = max(steps, key=lambda step: step[:2])
        lead = f"Most gained within {criteria.fidelity_slack:g} dB" if holds else "The weight that costs least"
        detail = (f"{lead}, {_label(gain, CASE)} at gamma {gamma:g}: critic {gain['difference']:+.2f} "
                  f"for {cost['difference']:+.1f} dB.")  # fmt: skip
        interval = f"critic {_bounds(gain)}; PSNR {_bounds(cost)} dB"
        cases.append(_case(gain, CASE, holds, merit, detail, interval) | _paired(gain))
    return pd.DataFrame(cases)


def _size_cases(runs: pd.DataFrame) -> pd.DataFrame:
    """Networks whose parameters are as many with a critic in training as without."""
    trained = runs[runs["network"].isin(list(FAMILIES))]
    cases = []
    for (operator, network), group in trained.groupby(["operator", "network"], sort=False):
        sizes = [set(group.loc[chosen, "parameters"]) for chosen in (group["gamma"] > 0, group["gamma"] == 0)]
        if all(sizes):
            size = f"{int(max(sizes[0])):,} parameters with and without the critic"
            case = pd.Series({"operator": operator, "network": network, "critic": "any"})
            detail = f"The critic is used in training only; {labels.network_label(network)} has {size}."
            tested = {"n": f"{len(group)} runs", "n_photos": np.inf, "test": "equality of the networks' sizes"}
            cases.append(_case(case, CASE[:2], sizes[0] == sizes[1], 0.0, detail, "exact") | tested)
    return pd.DataFrame(cases)


def _surviving_cases(evidence: Evidence) -> pd.DataFrame:
    """Cases whose gain survives every transformation, with like detail and colors, and that a judge prefers."""
    criteria, cases = evidence.criteria, []
    for _, configuration in evidence.chosen_with("l2").iterrows():
        rows, critic = evidence.rows(configuration), configuration["critic"]
        means = evidence.photo_means(rows)
        kept = {name: paired_ratio_interval(means[f"kept_{critic}_{name}"], means[f"gain_{critic}"])
                for name in labels.TRANSFORMATIONS if f"kept_{critic}_{name}" in means}  # fmt: skip
        if not kept:
            continue
        name, least = min(kept.items(), key=lambda item: item[1].mean)
        detail_energy, shift = means["detail_energy"].mean(), means["color_shift"].mean()
        faithful = criteria.least_detail <= detail_energy <= criteria.most_detail
        faithful = faithful and shift <= criteria.largest_color_shift
        gained = means[f"gain_{critic}"].mean() > 0  # without a gain there is no share of it
        survives = bool(gained and faithful and all(share.low >= criteria.surviving_share for share in kept.values()))
        liked = [evidence.across_photos(rows, f"gain_{judge}").low > 0 for judge in evidence.preferring]
        holds = survives and any(liked) if liked or not survives else None  # the critic alone cannot judge its own work
        share = f"{least.mean:.0%} of the gain is left after {labels.TRANSFORMATIONS[name]}"
        text = (f"Best case, {_label(configuration, CASE)}: {share if gained else 'the critic gains nothing'}, "
                f"fine detail {detail_energy:.2f} of the target's, color shift {shift:.1f}.")  # fmt: skip
        bounds = f" [{least.low:.2f}, {least.high:.2f}]" if np.isfinite(least.low) else ""
        interval = f"share left {least.mean:.2f}{bounds}" if gained else "no gain"
        merit = least.mean - abs(np.log(detail_energy)) if gained else -np.inf
        tested = {"n": _count(least.n, rows["seed"].nunique()), "n_photos": least.n}
        tested["test"] = "BCa interval of the share over photos"
        cases.append(_case(configuration, CASE, holds, merit, text, interval) | tested)
    return pd.DataFrame(cases)


def _case(
    case: pd.Series, key: list[str], holds: bool | None, merit: float, detail: str, interval: str
) -> dict[str, object]:
    row: dict[str, object] = {name: case.get(name, "") for name in CASE}
    return row | {"name": _label(case, key), "holds": holds, "merit": merit, "detail": detail, "interval": interval}


def _paired(tested: pd.Series) -> dict[str, object]:
    """On how much and by which test a case rests that is a row of `comparisons`."""
    count = _count(int(tested["n_photos"]), int(tested["n_seeds"]))
    return {"n": count, "n_photos": tested["n_photos"], "test": PAIRED_TEST}


def _count(photos: int, seeds: int) -> str:
    return f"{photos} photos, {seeds} {'seed' if seeds == 1 else 'seeds'}"


def _label(case: pd.Series, key: list[str]) -> str:
    text = f"{labels.operator_label(case['operator'])}, {labels.network_label(case['network'])}"
    text += f" (critic {case['critic']})" if "critic" in key else ""
    text += f" with {labels.fidelity_label(case['fidelity'])}" if "fidelity" in key else ""
    return text + (f" against {labels.fidelity_label(case['against'])}" if "against" in key else "")


def _name(row: pd.Series) -> str:
    measure = str(row["measure"])
    if measure.startswith(NEARER):
        return f"nearer to a person's version by {JUDGES[measure.removeprefix(NEARER)].label}"
    return measure.removeprefix("gain_")


def _listed(judged: pd.DataFrame) -> str:
    """Every instrument's difference, in as many digits as its margin asks for."""
    names = judged["measure"].str.removeprefix("gain_").str.removeprefix(NEARER)
    numbers = [f"{JUDGES[name].label} {value:+.{2 if JUDGES[name].margin >= 0.05 else 3}f}"
               for name, value in zip(names, judged["difference"], strict=True)]  # fmt: skip
    lead = "nearer to a person's version by " if judged["measure"].str.startswith(NEARER).all() else ""
    return lead + ", ".join(numbers)


def _bounds(row: pd.Series) -> str:
    return f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
