"""The tables of a results folder: which runs there are, and one row per run and photo of what was measured.

Each run lies in `<folder>/runs/<run>/` with run.json and scores.csv; published evidence holds only the gathered
runs.csv and scores.csv.xz. Nothing here needs torch.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from lpie.critic import CRITICS
from lpie.evidence.labels import OTHERS
from lpie.losses import FIDELITIES
from lpie.networks import FAMILIES
from lpie.operators import OPERATORS
from lpie.records import read_json, write_csv

RUN_COLUMNS = ["run", "operator", "network", "fidelity", "critic", "gamma", "seed", "objective", "steps", "seconds",
               "parameters", "validation_psnr", "device"]  # fmt: skip
"""Columns of runs.csv. In `network`, a reference that is no trained network is named: input, target, trivial, ..."""


ENOUGH_VOTERS = 3
"""Fewer people say what they like themselves."""


def read_results(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs and scores of every finished run in `folder`, whichever process made it; else the gathered tables there.

    Raises FileNotFoundError when `folder` holds neither.
    """
    folder = Path(folder)
    finished = [path.parent for path in sorted(folder.glob("runs/*/scores.csv")) if (path.parent / "run.json").exists()]
    if finished:
        rows = [read_run(place / "run.json") for place in finished]
        tables = [read_scores(place) for place in finished]
        runs, scores = pd.DataFrame(rows, columns=RUN_COLUMNS), pd.concat(tables, ignore_index=True)
    elif (folder / "runs.csv").exists() and (gathered := [*folder.glob("scores.csv"), *folder.glob("scores.csv.xz")]):
        runs, scores = pd.read_csv(folder / "runs.csv"), pd.read_csv(gathered[0])
    else:
        raise FileNotFoundError(f"{folder} holds no finished run and no runs.csv with scores.csv: run the study first.")
    runs = runs.fillna({"fidelity": "none", "critic": "none", "gamma": 0.0, "seed": 0})
    runs = _in_order(runs.astype({"seed": int, "gamma": float}))
    scores = runs[["run"]].merge(scores, on="run")
    if (folder / "votes.csv").exists():
        scores = scores.merge(people_scores(pd.read_csv(folder / "votes.csv"), runs), how="left", on=["run", "photo"])
    return runs, scores


def people_scores(votes: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The judge *people*: run, photo and score_people, the share of its votes that a run's rendition of the photo won.

    `votes` as `people.votes.read_votes` gives them; renditions are called as runs are, or `operator` for the target.
    Votes on other renditions, and all votes of fewer than `ENOUGH_VOTERS` people, count for nothing.
    """
    targets = runs.loc[runs["network"] == "target", "run"]
    named = dict(zip(runs["run"], runs["run"], strict=True)) | ({"operator": targets.iloc[0]} if len(targets) else {})
    known = votes[votes["first"].isin(list(named)) & votes["second"].isin(list(named))]
    if known["voter"].nunique() < ENOUGH_VOTERS:
        known = known.head(0)
    stems = known["photo"].map(lambda photo: str(PurePosixPath(photo).with_suffix("")))
    sides = [
        pd.DataFrame({"run": known[side].map(named), "photo": stems, "score_people": won})
        for side, won in (("first", known["outcome"]), ("second", 1 - known["outcome"]))
    ]
    return pd.concat(sides).groupby(["run", "photo"])["score_people"].mean().reset_index()


def read_scores(place: Path, rows: int | None = None) -> pd.DataFrame:
    """The scores in a run's folder, or the first `rows`; raises ValueError, naming the file, if it is damaged."""
    path = place / "scores.csv"
    try:
        table = pd.read_csv(path, nrows=rows)
        if missing := {"run", "photo", "split"} - set(table):
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    except ValueError as error:  # pandas' own errors are of this kind
        raise ValueError(f"{path} is damaged ({error}): delete it, and its run is evaluated again.") from error
    return table


def is_gathered(folder: Path) -> bool:
    """Whether `folder` is evidence that `report.publish` gathered from runs that lie elsewhere.

    Only that compresses its scores: the plain tables beside runs that were set aside are not evidence.
    """
    return (Path(folder) / "scores.csv.xz").exists() and not any(Path(folder).glob("runs/*/run.json"))


def _in_order(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs as a reader expects them: operators, networks, then from plain objectives to heavier critics."""
    orders = {
        "operator": list(OPERATORS),
        "network": [*FAMILIES, *OTHERS],
        "critic": list(CRITICS),
        "fidelity": list(FIDELITIES),
    }

    def rank(column: pd.Series) -> pd.Series:
        order = orders.get(str(column.name), [])
        return column.map(lambda value: order.index(value) if value in order else len(order)) if order else column

    critics = runs["critic"].ne("none")
    ordered = runs.assign(with_critic=critics).sort_values(
        ["operator", "network", "with_critic", "critic", "gamma", "fidelity", "seed", "run"], key=rank, kind="stable"
    )
    return ordered.drop(columns="with_critic").reset_index(drop=True)


def collect_results(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`read_results`, also written to runs.csv and scores.csv of `folder`."""
    runs, scores = read_results(folder)
    write_csv(Path(folder) / "runs.csv", runs)
    write_csv(Path(folder) / "scores.csv", scores)
    return runs, scores


def read_logs(folder: Path) -> pd.DataFrame:
    """The training curves of every finished run in `folder`, column `run` first; else the gathered logs.csv.xz."""
    paths = sorted(Path(folder).glob("runs/*/log.csv"))
    if not paths:
        return pd.read_csv(Path(folder) / "logs.csv.xz")
    tables = [pd.read_csv(path).assign(run=path.parent.name) for path in paths]
    return pd.concat(tables, ignore_index=True).set_index("run").reset_index()


def crop_path(folder: Path, run: str, photo: str) -> Path:
    """Where the kept window of `photo` lies: with its run, or gathered in published evidence, as WebP."""
    gathered = Path(folder) / "crops" / run / f"{photo}.webp"
    return gathered if gathered.exists() else Path(folder) / "runs" / run / "crops" / f"{photo}.png"


def cropped_photos(folder: Path, run: str) -> list[str]:
    """The photos of which `run` kept a window."""
    places = ((Path(folder) / "crops" / run, "*.webp"), (Path(folder) / "runs" / run / "crops", "*.png"))
    return sorted({path.stem for place, pattern in places for path in place.glob(pattern)})


def read_run(path: Path) -> dict[str, Any]:
    """The row of runs.csv that a run's record gives; raises ValueError, naming the file, if it is damaged."""
    record = read_json(path)
    study = record.get("study", {})
    try:
        row = {key: record.get(key, study.get(key)) for key in RUN_COLUMNS}
        if study:
            row["steps"] = study["schedule"]["steps"]
            row["objective"] = study["fidelity"] + (f"+{study['gamma']:g}{study['critic']}" if study["gamma"] else "")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error!r}): remove its folder, and the run is made again.") from error
    return row
