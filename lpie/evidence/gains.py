"""Gains over the operator's target, the bounds that a study sets before it runs, and the rule that chooses weights.

A gain is a difference to the operator's own target of the same photo. A configuration is what runs of several seeds
share. Weights are chosen on validation photos by the critic that trained, never by a judge.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from lpie.critic import CRITICS
from lpie.judges import JUDGES
from lpie.records import read_json

REFERENCES = ("input", "target")
RIVALS = ("trivial", "universal", "perturbation")
NEARER = "closer_"
"""How measures begin that say how much nearer one rendition is to a person's than another."""
GAINED = {"score_": "gain_", "survives_": "kept_", "near_": NEARER}
"""Columns of scores that are held against the target's, by how they begin, and what the differences are called."""
CONFIGURATION = ["operator", "network", "fidelity", "critic", "gamma", "objective"]


@dataclass(frozen=True)
class Criteria:
    """Bounds for an enhancement, and for the choice of a weight."""

    safe_gain: float = 0.35  # of the critic's score, looked for on validation photos, so that enough remains on others
    lowest_psnr: float = 20.0  # dB on validation photos, below which a weight is not considered
    most_lost: float = math.inf  # dB on validation photos to the network without a critic, above which neither
    enough_gain: float = 0.30  # of the critic's score over the target
    judge_slack: float = -0.02  # the lowest bound of a judge's gain that still counts as not below the target
    surviving_share: float = 0.80  # of the gain, after each transformation
    least_detail: float = 0.8  # of the target's fine-detail energy
    most_detail: float = 1.3
    largest_color_shift: float = 6.0  # CIEDE2000 to the target, on average
    most_unexplained: float = JUDGES["unexplained"].plain  # share of the area
    fidelity_slack: float = 1.0  # dB of PSNR that may be lost while fidelity still counts as kept

    @classmethod
    def read(cls, folder: Path) -> Criteria:
        """Those in `criteria` of the folder's study.json, and defaults for the others.

        Raises ValueError for an unknown criterion.
        """
        path = Path(folder) / "study.json"
        stored = read_json(path).get("criteria", {}) if path.exists() else {}
        unknown = set(stored) - {field.name for field in fields(cls)}
        if unknown:
            known = ", ".join(field.name for field in fields(cls))
            raise ValueError(f"{path}: unknown criteria {', '.join(sorted(unknown))}; there are {known}.")
        return cls(**stored)

    @property
    def rule(self) -> str:
        """How validation chooses a weight, as a sentence on two lines."""
        lost = f", cost at most {self.most_lost:g} dB" if math.isfinite(self.most_lost) else ""
        return (
            f"Of the weights that keep {self.lowest_psnr:g} dB{lost} and change nothing plainly without explanation,\n"
            f"the smallest whose critic gains {self.safe_gain:g}; else the one that gains most."
        )


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
    at least `criteria.lowest_psnr`, at most `criteria.most_lost` below the network without a critic, and a mean
    unexplained change that is not plain, the smallest whose critic gains `criteria.safe_gain` over the target; where
    none does, the one that gains most; where none is faithful enough, the smallest.

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
