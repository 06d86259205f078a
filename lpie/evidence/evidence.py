"""What a study measured and what follows from it, each derived table computed once.

    evidence = Evidence.read("results/demo")
    evidence.frontier                       # what every configuration costs and gains

Tables, figures, verdicts and the report take an Evidence, so that none of them chooses weights again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from lpie.evidence.gains import CONFIGURATION, REFERENCES, Criteria, choose_gammas, photo_gains, rater_names
from lpie.evidence.results import read_results
from lpie.evidence.statistics import Interval, paired_interval, paired_intervals, student_interval
from lpie.judges import JUDGES
from lpie.networks import FAMILIES

UNKNOWN = Interval(np.nan, np.nan, np.nan, 0)
MEASURES = ("ssim", "ms_ssim", "lpips", "color_shift", "detail_energy", "cvvdp", "unexplained")
"""Columns of scores whose means a frontier holds, where they were measured."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Runs and scores, and what they show; `folder` is where pictures and logs lie, if anywhere.

    `runs`: a row per trained or reference run, results.RUN_COLUMNS. `scores`: a row per run and photo of the
    validation and the test split; what the test split has not measured of a run is said of no claim.
    """

    runs: pd.DataFrame
    scores: pd.DataFrame
    folder: Path | None = None
    criteria: Criteria = field(default_factory=Criteria)

    @classmethod
    def read(cls, folder: str | Path) -> Evidence:
        """The evidence of a results folder; raises FileNotFoundError when it holds none."""
        return cls(*read_results(Path(folder)), Path(folder), Criteria.read(Path(folder)))

    @cached_property
    def critics(self) -> list[str]:
        """The critics that scored, in the order of tables."""
        return rater_names(self.runs, self.scores)[0]

    @cached_property
    def judges(self) -> list[str]:
        """The judges that scored, none of which took part in training; not every judge scores small photographs."""
        return [name for name in rater_names(self.runs, self.scores)[1] if self.scores[f"score_{name}"].notna().any()]

    @cached_property
    def preferring(self) -> list[str]:
        """The judges that scored and have the role *preference*: they alone say which rendition people like."""
        return [name for name in self.judges if "preference" in JUDGES[name].roles]

    @cached_property
    def nearing(self) -> list[str]:
        """The judges that measured how near renditions are to a person's, or to the scene without haze."""
        near = [name for name in JUDGES if f"near_{name}" in self.scores]
        return [name for name in near if self.scores[f"near_{name}"].notna().any()]

    def rows_of(self, case: pd.Series) -> pd.DataFrame:
        """The rows of `gains` that a row of `comparisons` is about."""
        known = (self.gains[name] == case[name] for name in ("operator", "network", "critic", "fidelity", "gamma"))
        return self.gains[np.logical_and.reduce([*known])]

    def vetoed(self, rows: pd.DataFrame) -> bool:
        """Whether unexplained change, which has the role *veto*, was measured and its mean over `rows` is too large."""
        return "unexplained" in rows and bool(rows["unexplained"].mean() > self.criteria.most_unexplained)

    @cached_property
    def operators(self) -> list[str]:
        """The operators that were imitated."""
        return list(dict.fromkeys(self.runs["operator"]))

    def families(self, operator: str) -> list[str]:
        """The families of which some network imitates `operator`."""
        known = (self.runs["operator"] == operator) & self.runs["network"].isin(list(FAMILIES))
        return list(dict.fromkeys(self.runs.loc[known, "network"]))

    @cached_property
    def gains(self) -> pd.DataFrame:
        """`photo_gains` of the test photos."""
        return photo_gains(self.runs, self.scores)

    @cached_property
    def choices(self) -> pd.DataFrame:
        """The weights that validation photos choose: `choose_gammas`."""
        return choose_gammas(photo_gains(self.runs, self.scores, "validation"), self.criteria)

    @cached_property
    def chosen(self) -> pd.DataFrame:
        """The trained configurations at the chosen weights, L2 first, then L1: rows of CONFIGURATION columns."""
        chosen = self.trained_with_critic.merge(self.choices[["operator", "network", "critic", "gamma"]])[CONFIGURATION]
        return pd.concat([chosen[chosen["fidelity"] == fidelity] for fidelity in ("l2", "l1")])

    def chosen_with(self, fidelity: str) -> pd.DataFrame:
        """The rows of `chosen` with one fidelity."""
        return self.chosen[self.chosen["fidelity"] == fidelity]

    @cached_property
    def trained_with_critic(self) -> pd.DataFrame:
        """Every configuration trained with a critic, rows of CONFIGURATION columns."""
        rows = (self.gains["gamma"] > 0) & self.gains["network"].isin(list(FAMILIES))
        return self.gains.loc[rows, CONFIGURATION].drop_duplicates()

    @cached_property
    def _rows(self) -> dict[tuple[object, ...], pd.DataFrame]:
        return {key: rows for key, rows in self.gains.groupby(CONFIGURATION, sort=False)}  # noqa: C416

    @cached_property
    def _photo_means(self) -> dict[tuple[object, ...], pd.DataFrame]:
        return {}

    def configurations(self) -> Iterator[tuple[pd.Series, pd.DataFrame]]:
        """Each configuration with its rows of `gains`, references left out, in the order of the runs."""
        for rows in self._rows.values():
            if rows["network"].iloc[0] not in REFERENCES:
                yield rows.iloc[0][CONFIGURATION], rows

    def rows(self, configuration: pd.Series) -> pd.DataFrame:
        """The rows of `gains` of one configuration; raises ValueError when there are none."""
        key = tuple(configuration[CONFIGURATION])
        if key not in self._rows:
            raise ValueError(f"No run of {'-'.join(map(str, key))}: train it first.")
        return self._rows[key]

    def without_critic(self, configuration: pd.Series, fidelity: str) -> pd.DataFrame | None:
        """The rows of the same network trained with `fidelity` alone, if it was."""
        plain = [*configuration[["operator", "network"]], fidelity, "none", 0.0]
        return next((rows for key, rows in self._rows.items() if list(key[:5]) == plain), None)

    def photo_means(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Means over seeds of one configuration's `rows` of gains: a row per photo, every numeric column."""
        key = tuple(rows.iloc[0][CONFIGURATION])
        if key not in self._photo_means:
            self._photo_means[key] = rows.groupby("photo").mean(numeric_only=True)
        return self._photo_means[key]

    def across_photos(self, rows: pd.DataFrame, column: str) -> Interval:
        """The mean of `column` with its interval across photos, each the mean over seeds."""
        return paired_interval(self.photo_means(rows)[column])

    def own_critic(self, configuration: pd.Series) -> str:
        """The critic that a configuration trained with; for one without, the first that scored."""
        critic = configuration["critic"]
        return critic if critic in self.critics else self.critics[0]

    @cached_property
    def frontier(self) -> pd.DataFrame:
        """One row per configuration: its fidelity and its gains by critic and judges, with intervals.

        For psnr and every gain: mean, `_low` and `_high` across photos, `_seed_low` and `_seed_high` across seeds.
        critic_gain is the gain on the critic that trained it; kept_<transformation> is the share of it that survives;
        transfer_<judge> is the judge's gain divided by it. The gain by a critic that did not score every run of the
        configuration is unknown, NaN.
        """
        return pd.DataFrame([self._frontier_row(*configuration) for configuration in self.configurations()])

    def _frontier_row(self, configuration: pd.Series, rows: pd.DataFrame) -> dict[str, object]:
        critic = self.own_critic(configuration)
        gained = f"gain_{critic}"
        row = {**configuration, "n_photos": rows["photo"].nunique(), "n_seeds": rows["seed"].nunique()}
        columns = {"psnr": "psnr", "critic_gain": gained} | {
            f"gain_{n}": f"gain_{n}" for n in self.critics + self.judges
        }
        seeds = rows.groupby("seed")[list(dict.fromkeys(columns.values()))].mean()
        means, known = self.photo_means(rows), {name for name in seeds if name == "psnr" or rows[name].notna().all()}
        across = dict(zip(known, paired_intervals(means[name] for name in known), strict=True))
        for name, column in columns.items():
            photos = across.get(column, UNKNOWN)
            trained = student_interval(seeds[column]) if column in known else UNKNOWN
            row |= {name: photos.mean, f"{name}_low": photos.low, f"{name}_high": photos.high}
            row |= {f"{name}_seed_low": trained.low, f"{name}_seed_high": trained.high}
        row |= {name: rows[name].mean() for name in MEASURES if name in rows}
        for column in (name for name in map(str, rows) if name.startswith(f"kept_{critic}_")):
            row[f"kept_{column.removeprefix(f'kept_{critic}_')}"] = rows[column].mean() / rows[gained].mean()
        for name in self.judges:
            row[f"transfer_{name}"] = rows[f"gain_{name}"].mean() / rows[gained].mean()
        return row
