"""Whether what the test photos showed holds on photographs that neither trained, nor chose, nor reported.

    python -m lpie.study.confirmation FOLDER --network grid --objective l2 l2+0.003compact

Those are what is left of BSDS500's test set. Every finished network of these objectives in FOLDER, and the
trivial edits tuned for their critics there, are judged on them; FOLDER/confirmation is a results folder of its own,
FOLDER/confirmation.csv says which criteria of a recipe are met, and FOLDER/confirmation_comparisons.csv what the critic
adds to networks without one. Tone mapping only: no haze is left over.
"""

from __future__ import annotations

import argparse
import json
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
from lpie.imaging.pixels import from_uint8, to_uint8
from lpie.records import write_csv, write_json
from lpie.study.evaluation import measure, render
from lpie.study.experiments import is_evaluated, load_judges
from lpie.study.rivals import GlobalEdit
from lpie.study.settings import find_profile
from lpie.study.targets import Scene, load_scenes
from lpie.study.training import default_device

log = logging.getLogger(__name__)

PROFILE = replace(find_profile("study"), photographs="fresh")
EDITS = 3  # trivial edits taken along: which of them compares is settled by their PSNR on the fresh photographs


def confirm(folder: Path, network: str, objectives: Sequence[str], device: str | None = None) -> pd.DataFrame:
    """The recipe's criteria on fresh photographs, for the networks that `folder` holds; each is judged once.

    All that follows is written to `folder` too: see `report.confirmation_tables`.

    Raises FileNotFoundError where `folder` has no such run, or where a run's weights are missing.
    """
    folder, device = Path(folder), device or default_device()
    records = _wanted(folder, network, objectives)
    judges = load_judges(PROFILE, device)
    scenes = load_scenes(PROFILE, "tone", folder / "targets")
    for record in records:
        run = record["run"]
        if not is_evaluated(folder / "confirmation", run, judges):
            place = folder / "confirmation" / "runs" / run
            outputs = _outputs(folder, record, scenes, device)
            write_csv(place / "scores.csv", measure(run, outputs, scenes, judges, device))
            write_json(place / "run.json", record)
            log.info("%s is judged", run)
    tables = confirmation_tables(folder)
    for name, table in tables.items():
        write_csv(folder / f"{name}.csv", table)
    return tables["confirmation"]


def _wanted(folder: Path, network: str, objectives: Sequence[str]) -> list[dict[str, Any]]:
    """Records of the operator's input and target, the networks, and the trivial edits that they compare with."""
    runs, scores = read_results(folder)
    runs = runs[runs["operator"] == "tone"]
    ours = runs[(runs["network"] == network) & runs["objective"].isin(objectives)]
    missing = [objective for objective in objectives if objective not in set(ours["objective"])]
    if missing:
        raise FileNotFoundError(
            f"{folder} holds no tone mapping by {network} with {', '.join(missing)}: train it first."
        )
    closeness = scores[scores["split"] == "test"].groupby("run")["psnr"].mean()
    edits = [
        name
        for _, rows in ours.groupby("objective", sort=False)
        for name in _edits_near(runs, closeness, str(rows["critic"].iloc[0]), closeness[rows["run"]].mean())
    ]
    wanted = dict.fromkeys(["tone-input", "tone-target", *ours["run"], *edits])
    return [json.loads((folder / "runs" / run / "run.json").read_text(encoding="utf-8")) for run in wanted]


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


def main() -> None:
    """Judge the networks named and print which criteria they meet."""
    parser = argparse.ArgumentParser(prog="python -m lpie.study.confirmation", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", required=True)
    parser.add_argument("--objective", nargs="+", required=True)
    parser.add_argument("--device")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    table = confirm(chosen.folder, chosen.network, chosen.objective, chosen.device)
    columns = ["objective", "criterion", "value", "low", "high", "bound", "n", "passed"]
    print(table[columns].to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    main()
