"""From the tables of runs and scores to what they show: gains over the target, the frontier, the choice of weights.

A gain is a difference to the operator's own target of the same photo. A configuration is what runs of several seeds
share; its interval across photos is of the photo's mean over seeds, its interval across seeds of the mean over photos.
Weights are chosen on validation photos by the critic that trained, never by a judge; everything else is read off the
test photos once.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lpie.evidence.labels import CRITICS
from lpie.evidence.statistics import Interval, paired_interval, student_interval

REFERENCES = ("input", "target")
RIVALS = ("trivial", "universal", "perturbation")
FAMILIES = ("can24", "can32", "grid", "parameters")
CONFIGURATION = ["operator", "network", "fidelity", "critic", "gamma", "objective"]

SAFE_GAIN = 0.35  # of the critic's score, looked for on validation photos, so that 0.3 remains on others
UNKNOWN = Interval(np.nan, np.nan, np.nan, 0)
LOWEST_PSNR = 20.0  # dB on validation photos, below which a weight is not considered


def judge_names(scores: pd.DataFrame) -> list[str]:
    """Judges with scores, those that took no part in training; the critics are not among them."""
    names = [column.removeprefix("score_") for column in map(str, scores) if column.startswith("score_")]
    return [name for name in names if name not in CRITICS]


def critic_names(scores: pd.DataFrame) -> list[str]:
    """Critics with scores."""
    return [name for name in CRITICS if f"score_{name}" in scores]


def trained_networks(runs: pd.DataFrame, operator: str) -> list[str]:
    """The families of which some run imitates `operator`."""
    return list(dict.fromkeys(runs.loc[(runs["operator"] == operator) & runs["network"].isin(FAMILIES), "network"]))


def gained_names(table: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The critics and the judges whose gains a table of gains or a frontier holds."""
    names = [name.removeprefix("gain_") for name in map(str, table) if name.startswith("gain_")]
    names = [name for name in names if not name.endswith(("_low", "_high"))]
    return [name for name in names if name in CRITICS], [name for name in names if name not in CRITICS]


def photo_gains(runs: pd.DataFrame, scores: pd.DataFrame, split: str = "test") -> pd.DataFrame:
    """One row per run and photo of `split`: the columns of both tables and the gains over the target.

    Added: gain_<judge> for every critic and judge, kept_<critic>_<transformation> for the gain that is left when output
    and target are both transformed. Raises ValueError when an operator's target was not evaluated.
    """
    rows = scores[scores["split"] == split].merge(runs, on="run", validate="many_to_one")
    targets = rows[rows["network"] == "target"].set_index(["operator", "photo"])
    unmeasured = set(rows["operator"]) - set(targets.index.get_level_values(0))
    if unmeasured:
        raise ValueError(f"The target of {', '.join(sorted(unmeasured))} has no scores: run_studies makes them.")
    measured = [column for column in map(str, rows) if column.startswith(("score_", "survives_"))]
    reference = targets[measured].reindex(pd.MultiIndex.from_frame(rows[["operator", "photo"]])).to_numpy()
    names = [name.replace("score_", "gain_").replace("survives_", "kept_") for name in measured]
    gains = pd.DataFrame(rows[measured].to_numpy() - reference, columns=names, index=rows.index)
    return pd.concat([rows.replace({"psnr": {np.inf: np.nan}}), gains], axis=1)


def configurations(gains: pd.DataFrame) -> list[tuple[pd.Series, pd.DataFrame]]:
    """Each configuration with its rows, references left out, in the order of the table."""
    learned = gains[~gains["network"].isin(REFERENCES)]
    return [(rows.iloc[0][CONFIGURATION], rows) for _, rows in learned.groupby(CONFIGURATION, sort=False)]


def select(gains: pd.DataFrame, configuration: pd.Series) -> pd.DataFrame:
    """The rows of one configuration; raises ValueError when there are none."""
    rows = gains[(gains[CONFIGURATION] == configuration[CONFIGURATION]).all(axis=1)]
    if rows.empty:
        raise ValueError(f"No run of {'-'.join(map(str, configuration[CONFIGURATION]))}: train it first.")
    return rows


def across_photos(rows: pd.DataFrame, column: str) -> Interval:
    """The mean of `column` with its interval across photos, each the mean over seeds."""
    return paired_interval(rows.groupby("photo")[column].mean())


def across_seeds(rows: pd.DataFrame, column: str) -> Interval:
    """The mean of `column` with its interval across seeds, each the mean over photos."""
    return student_interval(rows.groupby("seed")[column].mean())


def own_critic(configuration: pd.Series, gains: pd.DataFrame) -> str:
    """The critic that a configuration trained with; for one without, the first that scored."""
    critic = configuration["critic"]
    return critic if critic in CRITICS else critic_names(gains)[0]


def frontier(runs: pd.DataFrame, scores: pd.DataFrame, split: str = "test") -> pd.DataFrame:
    """One row per configuration: what it costs in fidelity and gains by critic and judges, with intervals.

    For psnr and every gain: mean, `_low` and `_high` across photos, `_seed_low` and `_seed_high` across seeds.
    critic_gain is the gain on the critic that trained it; kept_<transformation> is the share of it that survives;
    transfer_<judge> is the judge's gain divided by it. The gain by a critic that did not score every run of the
    configuration is unknown, NaN.
    """
    gains = photo_gains(runs, scores, split)
    table = []
    for configuration, rows in configurations(gains):
        critic = own_critic(configuration, gains)
        rows = rows.assign(critic_gain=rows[f"gain_{critic}"])
        row = {**configuration, "n_photos": rows["photo"].nunique(), "n_seeds": rows["seed"].nunique()}
        for column in ("psnr", "critic_gain", *(f"gain_{name}" for name in _scored(gains))):
            scored = column == "psnr" or rows[column].notna().all()
            photos, seeds = (across_photos(rows, column), across_seeds(rows, column)) if scored else (UNKNOWN, UNKNOWN)
            row |= {column: photos.mean, f"{column}_low": photos.low, f"{column}_high": photos.high}
            row |= {f"{column}_seed_low": seeds.low, f"{column}_seed_high": seeds.high}
        measures = ("ssim", "ms_ssim", "lpips", "color_shift", "detail_energy")
        row |= {name: rows[name].mean() for name in measures if name in rows}
        for column in (name for name in map(str, rows) if name.startswith(f"kept_{critic}_")):
            row[f"kept_{column.removeprefix(f'kept_{critic}_')}"] = rows[column].mean() / rows["critic_gain"].mean()
        for name in judge_names(gains):
            row[f"transfer_{name}"] = rows[f"gain_{name}"].mean() / rows["critic_gain"].mean()
        table.append(row)
    return pd.DataFrame(table)


def _scored(table: pd.DataFrame) -> list[str]:
    return [*critic_names(table), *judge_names(table)]


def choose_gammas(runs: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """The weight of each operator, network and critic, by one rule on validation photos and the critic's score alone.

    Of the weights on the ladder (L2, first seed) with a mean PSNR of at least LOWEST_PSNR, the smallest whose critic
    gains SAFE_GAIN over the target; where none does, the one that gains most; where none keeps the PSNR, the smallest.
    Columns: operator, network, critic, gamma, psnr and critic_gain on validation photos, reason.
    """
    gains = photo_gains(runs, scores, "validation")
    ladder = gains[(gains["gamma"] > 0) & (gains["fidelity"] == "l2") & (gains["seed"] == gains["seed"].min())]
    choices = []
    for (operator, network, critic), rows in ladder.groupby(["operator", "network", "critic"], sort=False):
        steps = rows.groupby("gamma", as_index=False)[["psnr", f"gain_{critic}"]].mean()
        steps = steps.rename(columns={f"gain_{critic}": "critic_gain"}).sort_values("gamma")
        row, reason = _choose(steps)
        choices.append({"operator": operator, "network": network, "critic": critic, **row, "reason": reason})
    columns = ["operator", "network", "critic", "gamma", "psnr", "critic_gain", "reason"]
    return pd.DataFrame(choices, columns=columns).astype({"gamma": float})


def _choose(steps: pd.DataFrame) -> tuple[pd.Series, str]:
    faithful = steps[steps["psnr"] >= LOWEST_PSNR]
    enough = faithful[faithful["critic_gain"] >= SAFE_GAIN]
    if len(enough):
        return enough.iloc[0], f"smallest that gains {SAFE_GAIN}"
    if len(faithful):
        return faithful.iloc[int(faithful["critic_gain"].argmax())], f"gains most; none gains {SAFE_GAIN}"
    return steps.iloc[0], f"smallest; none keeps {LOWEST_PSNR:g} dB"


def chosen_configurations(runs: pd.DataFrame, scores: pd.DataFrame, fidelity: str = "l2") -> pd.DataFrame:
    """The configurations with a critic at the chosen weights, of those trained: rows of CONFIGURATION columns."""
    trained = runs[runs["gamma"] > 0].drop_duplicates(CONFIGURATION)
    trained = trained[trained["fidelity"] == fidelity]
    keys = ["operator", "network", "critic", "gamma"]
    return trained.merge(choose_gammas(runs, scores)[keys], on=keys)[CONFIGURATION]
