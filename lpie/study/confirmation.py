"""Whether what the test photos showed holds on photographs that neither trained, nor chose, nor reported.

Those are the study's photographs of the split `confirmation`. Every finished network of the objectives asked for, and
the trivial edits tuned for their critics, are judged on them. `<folder>/confirmation` is a results folder of its own,
`<folder>/confirmation.csv` says which criteria of a recipe are met, `<folder>/confirmation_comparisons.csv` what the
critic adds to networks without one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from lpie import networks
from lpie.evidence.results import read_results
from lpie.evidence.tables import confirmation_tables
from lpie.imaging.color import from_uint8, to_uint8
from lpie.records import read_json, sharing, write_csv, write_json
from lpie.study.evaluation import measure, render
from lpie.study.experiments import Results
from lpie.study.rivals import GlobalEdit
from lpie.study.settings import Profile
from lpie.study.study_file import find_profile
from lpie.study.targets import Scene, load_scenes

log = logging.getLogger(__name__)

EDITS = 3  # trivial edits taken along: which of them compares is settled by their PSNR on the fresh photographs


def confirm(
    folder: Path,
    network: str,
    objectives: Sequence[str],
    device: str | None = None,
    *,
    operator: str = "tone",
    profile: Profile | None = None,
) -> pd.DataFrame:
    """The recipe's criteria on fresh photographs, for the networks that `folder` holds; each is judged once.

    `profile`: whose photographs and judges; the built-in `study` when left out. All that follows is written to `folder`
    too: see `confirmation_tables`. Raises FileNotFoundError where `folder` has no such run, or where its weights are
    missing, and ValueError where the profile keeps no photographs for confirmations.
    """
    folder, profile = Path(folder), profile or find_profile("study")
    records = _wanted(folder, operator, network, objectives)
    results = Results.of(profile, folder / "confirmation", device)
    kept = load_scenes(profile, operator, folder / "targets", ("confirmation",))
    scenes = [replace(scene, split="test") for scene in kept]  # here they report
    with sharing(folder):
        for record in records:
            run = record["run"]
            if not results.have(run):
                place = results.folder / "runs" / run
                outputs = _outputs(folder, record, scenes, results.device)
                write_csv(place / "scores.csv", measure(run, outputs, scenes, results.judges, results.device))
                write_json(place / "run.json", record)
                log.info("%s is judged", run)
    tables = confirmation_tables(folder)
    for name, table in tables.items():
        write_csv(folder / f"{name}.csv", table)
    return tables["confirmation"]


def _wanted(folder: Path, operator: str, network: str, objectives: Sequence[str]) -> list[dict[str, Any]]:
    """Records of the operator's input and target, the networks, and the trivial edits that they compare with."""
    runs, scores = read_results(folder)
    runs = runs[runs["operator"] == operator]
    ours = runs[(runs["network"] == network) & runs["objective"].isin(objectives)]
    missing = [objective for objective in objectives if objective not in set(ours["objective"])]
    if missing:
        raise FileNotFoundError(f"{folder} holds no {operator} by {network} with {', '.join(missing)}: train it first.")
    closeness = scores[scores["split"] == "test"].groupby("run")["psnr"].mean()
    edits = [
        name
        for _, rows in ours.groupby("objective", sort=False)
        for name in _edits_near(runs, closeness, str(rows["critic"].iloc[0]), closeness[rows["run"]].mean())
    ]
    wanted = dict.fromkeys([f"{operator}-input", f"{operator}-target", *ours["run"], *edits])
    return [read_json(folder / "runs" / run / "run.json") for run in wanted]


def _edits_near(runs: pd.DataFrame, closeness: pd.Series, critic: str, decibels: float) -> list[str]:
    """The trivial edits tuned for `critic`, none for `none`, whose PSNR is nearest to `decibels`."""
    edits = runs[(runs["network"] == "trivial") & (runs["critic"] == critic)]["run"]
    return list((closeness[edits] - decibels).abs().sort_values().index[:EDITS])


def _outputs(folder: Path, record: dict[str, Any], scenes: Sequence[Scene], device: str) -> list[Tensor]:
    if record.get("network") == "input":
        return [scene.photo for scene in scenes]
    if record.get("network") == "target":
        return [scene.target for scene in scenes]
    if record.get("network") == "trivial":
        edit = GlobalEdit(record["exposure"], record["contrast"], record["saturation"])
        return [to_uint8(edit(from_uint8(scene.target[None])))[0] for scene in scenes]
    return render(networks.from_pretrained(folder / "runs" / record["run"] / "weights.safetensors"), scenes, device)
