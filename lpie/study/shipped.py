"""What ships, measured as any trained network is, on the photographs that report: tables of their own.

    python -m lpie.study.shipped results/shipped

runs.csv and scores.csv.xz, a row per photo and rendition: the operators' own, and those of every shipped network.
comparisons.csv and answers.csv: what each instrument finds of a critic, against the network without one and against the
operator. A network ships once, so that nothing is known of other seeds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import typer
from torch import Tensor

from lpie.evidence import Evidence
from lpie.evidence.answers import answers
from lpie.evidence.comparisons import comparisons
from lpie.evidence.results import RUN_COLUMNS, run_row
from lpie.networks import from_pretrained
from lpie.records import write_csv
from lpie.study.evaluation import measure, render
from lpie.study.experiments import load_judges
from lpie.study.settings import Profile
from lpie.study.study_file import find_profile
from lpie.study.targets import Scene, load_scenes
from lpie.study.training import default_device
from lpie.weights import open_weights, shipped_names


def measure_shipped(profile: Profile, folder: Path, device: str | None = None) -> Evidence:
    """Runs and scores of what ships, on the test photographs of `profile`; written to `folder` with what follows."""
    device = device or default_device()
    judges = load_judges(profile, device)
    records: list[dict[str, Any]] = []
    tables = []
    for operator in profile.operators:
        scenes = load_scenes(profile, operator, folder / "targets", ("test",))
        for record, outputs in renditions(operator, scenes, device):
            tables.append(measure(record["run"], outputs, scenes, judges, device))
            records.append(record)
    evidence = Evidence(pd.DataFrame(records, columns=RUN_COLUMNS), pd.concat(tables, ignore_index=True), folder)
    compared = comparisons(evidence, evidence.trained_with_critic)
    tables_of = {"runs.csv": evidence.runs, "scores.csv.xz": evidence.scores, "comparisons.csv": compared}
    for name, table in (tables_of | {"answers.csv": answers(compared)}).items():
        write_csv(folder / name, table)
    return evidence


def renditions(operator: str, scenes: list[Scene], device: str) -> Iterator[tuple[dict[str, Any], list[Tensor]]]:
    """The record of a rendition and what it makes of each scene: the operator's input and target, then what ships."""
    plain = {"operator": operator, "fidelity": "none", "critic": "none", "gamma": 0.0, "seed": 0}
    for name in ("input", "target"):
        shown = [scene.photo if name == "input" else scene.target for scene in scenes]
        yield plain | {"run": f"{operator}-{name}", "network": name, "objective": name}, shown
    for name in shipped_names():
        if name.split("-")[0] == operator:
            network, metadata = from_pretrained(name), open_weights(name)[1]
            parameters = sum(parameter.numel() for parameter in network.parameters())
            record = run_row({"run": name, "parameters": parameters, "study": json.loads(metadata["study"])})
            yield record, render(network, scenes, device)


def main(folder: Path, profile: str = "study") -> None:
    """Measure what ships and print what each instrument answers."""
    measure_shipped(find_profile(profile), folder)
    print(pd.read_csv(folder / "answers.csv").to_string(index=False))


if __name__ == "__main__":
    typer.run(main)
