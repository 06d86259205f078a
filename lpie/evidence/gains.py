"""Gains over the operator's target, the names of what was measured, and the rule that chooses weights.

A gain is a difference to the operator's own target of the same photo. A configuration is what runs of several seeds
share. Weights are chosen on validation photos by the critic that trained, never by a judge.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from lpie.critic import CRITICS
from lpie.evidence.criteria import Criteria
from lpie.judges import JUDGES

REFERENCES = ("input", "target")
RIVALS = ("trivial", "universal", "perturbation")
NEARER = "closer_"
"""How measures begin that say how much nearer one rendition is to a person's than another."""
GAINED = {"score_": "gain_", "survives_": "kept_", "near_": NEARER}
"""Columns of scores that are held against the target's, by how they begin, and what the differences are called."""
CONFIGURATION = ["operator", "network", "fidelity", "critic", "gamma", "objective"]


def rater_names(runs: pd.DataFrame, scores: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The critics and the judges with scores; columns of other instruments are not read."""
    names = [column.removeprefix("score_") for column in map(str, scores) if column.startswith("score_")]
    critics = [*CRITICS, *(name for name in dict.fromkeys(runs["critic"]) if name not in CRITICS)]
    return [name for name in critics if name in names], [name for name in names if name in JUDGES]


def photo_gains(runs: pd.DataFrame, scores: pd.DataFrame, split: str = "test") -> pd.DataFrame:
    """One row per run and photo of `split`: the columns of both tables and the gains over the target.

    Added: gain_<rater> for every critic and judge, kept_<critic>_<transformation> for the gain that is left when output
    and target are both transformed, closer_<judge> for how much nearer than the target the output is to a person's
    rendition or to the scene without haze. Raises ValueError when an operator's target was not evaluated.
    """
    rows = scores[scores["split"] == split].merge(runs, on="run", validate="many_to_one")
    targets = rows[rows["network"] == "target"].set_index(["operator", "photo"])
    unmeasured = set(rows["operator"]) - set(targets.index.get_level_values(0))
    if unmeasured:
        raise ValueError(f"The target of {', '.join(sorted(unmeasured))} has no scores: run_studies makes them.")
    measured = [column for column in map(str, rows) if column.startswith(tuple(GAINED))]
    reference = targets[measured].reindex(pd.MultiIndex.from_frame(rows[["operator", "photo"]])).to_numpy()
    names = [re.sub("^[a-z]+_", lambda prefix: GAINED[prefix[0]], name) for name in measured]
    gains = pd.DataFrame(rows[measured].to_numpy() - reference, columns=names, index=rows.index)
    return pd.concat([rows.replace({"psnr": {np.inf: np.nan}}), gains], axis=1)


def choose_gammas(gains: pd.DataFrame, criteria: Criteria) -> pd.DataFrame:
    """The weight of each operator, network and critic, by one rule on validation photos and the critic's score alone.

    `gains`: `photo_gains` of the validation split. Of the weights on the ladder (L2, first seed) with a mean PSNR of
    at least `criteria.lowest_psnr`, at most `criteria.most_lost` below the network without a critic, and without plain
    unexplained change, the smallest whose critic gains `criteria.safe_gain` over the target; where none does, the one
    that gains most; where none is faithful enough, the smallest.

    Columns: operator, network, critic, gamma, psnr and critic_gain on validation photos, reason.
    """
    l2 = gains[(gains["fidelity"] == "l2") & (gains["seed"] == gains["seed"].min())]
    ladder, without = l2[l2["gamma"] > 0], l2[l2["gamma"] == 0].groupby(["operator", "network"])["psnr"].mean()
    choices = []
    for (operator, network, critic), rows in ladder.groupby(["operator", "network", "critic"], sort=False):
        steps = rows.groupby("gamma", as_index=False).mean(numeric_only=True)
        steps = steps.rename(columns={f"gain_{critic}": "critic_gain"}).sort_values("gamma")
        lost = without.get((operator, network), -np.inf) - steps["psnr"]
        faithful = (steps["psnr"] >= criteria.lowest_psnr) & (lost <= criteria.most_lost)
        if "unexplained" in steps:
            faithful &= ~(steps["unexplained"] > criteria.most_unexplained)
        row, reason = _choose(steps[["gamma", "psnr", "critic_gain"]], faithful, criteria)
        choices.append({"operator": operator, "network": network, "critic": critic, **row, "reason": reason})
    columns = ["operator", "network", "critic", "gamma", "psnr", "critic_gain", "reason"]
    return pd.DataFrame(choices, columns=columns).astype({"gamma": float})


def _choose(steps: pd.DataFrame, kept: pd.Series, criteria: Criteria) -> tuple[pd.Series, str]:
    faithful = steps[kept]
    enough = faithful[faithful["critic_gain"] >= criteria.safe_gain]
    if len(enough):
        return enough.iloc[0], f"smallest that gains {criteria.safe_gain}"
    if len(faithful):
        return faithful.iloc[int(faithful["critic_gain"].argmax())], f"gains most; none gains {criteria.safe_gain}"
    return steps.iloc[0], "smallest; none is faithful enough"
