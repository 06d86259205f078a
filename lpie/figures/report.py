"""From a results folder to all that can be read: tables, figures, and one page that holds them.

    python -m lpie.figures.report                       # draws results/published again from its tables
    python -m lpie.figures.report FOLDER                # the same for another results folder
    python -m lpie.figures.report FOLDER --publish  # gathers FOLDER's evidence in results/published, draws it

The same tables give the same bytes. Nothing here trains, scores or needs torch.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from lpie.evidence import Evidence, labels
from lpie.evidence.comparisons import comparisons
from lpie.evidence.recipe import recipe_summary, recipe_table
from lpie.evidence.results import collect_results, crop_path, read_logs, read_results
from lpie.evidence.tables import confirmation_tables, headline, markdown, time_table
from lpie.evidence.verdicts import verdicts
from lpie.figures.changes import (
    comparison_figure,
    kept_in,
    photos_to_compare,
    rendition_runs,
    spectrum_figure,
    survival_figure,
)
from lpie.figures.gains import frontier_figure, gamma_figure, judge_figure, training_figure
from lpie.figures.style import save_figure
from lpie.networks import FAMILIES
from lpie.records import atomic_path, write_csv

PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "published"
"""The committed evidence; only a checkout has it."""

DPI, PICTURE_DPI = 92, 112  # so that the evidence stays small; every pixel of a crop is in crops/


def write_report(folder: Path) -> Path:
    """Write every table, figure and report.html of `folder` from its runs and scores; returns the page's path.

    Figures that the tables cannot fill (no ladder, no crops, no log) are left out, and the page says so.
    """
    evidence = Evidence.read(folder)
    folder = kept_in(evidence)
    tables = write_tables(evidence)
    drawn, missing = draw_figures(evidence)
    page = _page(evidence, tables, drawn, missing)
    with atomic_path(folder / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return folder / "report.html"


def write_tables(evidence: Evidence) -> dict[str, pd.DataFrame]:
    """Write the tables that follow from runs and scores as CSV, verdicts and headline as Markdown too."""
    folder, compared = kept_in(evidence), comparisons(evidence)
    checks = recipe_table(evidence)
    tables = {
        "verdicts": verdicts(evidence, compared),
        "headline": headline(evidence),
        "frontier": evidence.frontier,
        "gammas": evidence.choices,
        "recipe_summary": recipe_summary(checks),
        "recipe": checks,
        "comparisons": compared,
        "time": time_table(evidence.runs),
    }
    if (folder / "confirmation").exists():
        tables |= confirmation_tables(folder)
    for name, table in tables.items():
        write_csv(folder / f"{name}.csv", table)
    for name in ("verdicts", "headline"):
        with atomic_path(folder / f"{name}.md") as temporary:
            temporary.write_text(markdown(tables[name]), encoding="utf-8")
    return tables


def draw_figures(evidence: Evidence) -> tuple[dict[str, str], list[str]]:
    """Draw the folder's figures; returns the caption of each figure by name, and why others could not be drawn."""
    folder = kept_in(evidence)
    wanted: dict[str, tuple[str, Any]] = {
        "frontier": (
            "The critic's gain over the operator's target against closeness to it.",
            lambda: frontier_figure(evidence),
        )
    }
    for operator in evidence.operators:
        name = labels.operator_label(operator)
        for network in evidence.families(operator):
            wanted[f"comparison-{operator}-{network}"] = (
                f"The same crops through {labels.network_label(network)} for {name}, with the whole photo's scores.",
                lambda o=operator, n=network: comparison_figure(evidence, o, n),
            )
        wanted[f"gamma-{operator}"] = (
            f"What each weight of the critic gains and costs, {name}.",
            lambda o=operator: gamma_figure(evidence, o),
        )
        wanted[f"judges-{operator}"] = (
            f"Gain by every critic and judge with its 95 % interval across photos, {name}; empty: not scored.",
            lambda o=operator: judge_figure(evidence, o),
        )
    wanted["survival"] = (
        "What is left of the critic's gain, and what judges follow.",
        lambda: survival_figure(evidence),
    )
    wanted["spectrum"] = ("Where in the spectrum the change lies.", lambda: spectrum_figure(evidence))
    wanted["training"] = ("Training curves.", lambda: training_figure(read_logs(folder), evidence.runs))
    drawn, missing = {}, []
    for name, (caption, draw) in wanted.items():
        try:
            figure = draw()
            quality = (PICTURE_DPI, None) if name.startswith("comparison") else (DPI, 256)
            save_figure(figure, folder / "figures" / name, *quality)
            drawn[name] = caption
        except (ValueError, FileNotFoundError) as error:
            missing.append(f"{name}: {error}")
    return drawn, missing


def _page(evidence: Evidence, tables: dict[str, pd.DataFrame], drawn: dict[str, str], missing: list[str]) -> str:
    folder, runs = kept_in(evidence), evidence.runs
    environment = Environment(loader=PackageLoader("lpie", "."), undefined=StrictUndefined, autoescape=True)
    chosen = tables["recipe_summary"].query("chosen")
    origin = folder / "provenance.json"
    return environment.get_template("report_template.html").render(
        verdicts=_html(tables["verdicts"]),
        headline=_html(tables["headline"]),
        recipes=_html(chosen.drop(columns=["objective", "chosen"])),
        confirmation=_confirmed(tables) if "confirmation" in tables else {},
        gammas=_html(tables["gammas"]),
        time=_html(tables["time"]),
        figures=[{"name": name, "caption": text, "image": _embedded(folder, name)} for name, text in drawn.items()],
        missing=missing,
        counts={"networks": int(runs["network"].isin(list(FAMILIES)).sum()), "runs": len(runs)},
        provenance=json.dumps(json.loads(origin.read_text(encoding="utf-8")), indent=1) if origin.exists() else "",
    )


def _confirmed(tables: dict[str, pd.DataFrame]) -> dict[str, str]:
    criteria = tables["confirmation"].drop(columns=["operator", "fidelity", "critic", "gamma", "rule"])
    compared = tables["confirmation_comparisons"].query("claim != 'C4'")
    return {
        "criteria": _html(criteria),
        "headline": _html(tables["confirmation_headline"]),
        "comparisons": _html(compared.drop(columns=["operator", "network"])),
    }


def _html(table: pd.DataFrame) -> str:
    return table.to_html(index=False, border=0, na_rep="", float_format="{:.4g}".format)


def _embedded(folder: Path, name: str) -> str:
    """The figure as a WebP data address, a tenth of the PNG's size."""
    stored = io.BytesIO()
    Image.open(folder / "figures" / f"{name}.png").convert("RGB").save(stored, "WEBP", quality=60, method=4)
    return "data:image/webp;base64," + base64.b64encode(stored.getvalue()).decode()


def publish(source: Path, destination: Path) -> None:
    """Gather in `destination` what the report of `source` rests on: runs, scores, logs, and the crops it shows."""
    evidence = Evidence.read(source)
    _gather(evidence.runs, evidence.scores, destination)
    if (source / "confirmation").exists():
        _gather(*read_results(source / "confirmation"), destination / "confirmation")
    write_csv(destination / "logs.csv.xz", _thinned(read_logs(source)))
    shutil.rmtree(destination / "crops", ignore_errors=True)
    for operator in evidence.operators:
        for network in evidence.families(operator):
            tiles = rendition_runs(evidence, operator, network)
            for run, photo in product(filter(None, tiles.values()), photos_to_compare(evidence, tiles)):
                kept, gathered = crop_path(source, run, photo), destination / "crops" / run / f"{photo}.png"
                if kept.exists() and not gathered.exists():
                    with atomic_path(gathered) as temporary:
                        shutil.copyfile(kept, temporary)


def _gather(runs: pd.DataFrame, scores: pd.DataFrame, destination: Path) -> None:
    write_csv(destination / "runs.csv", runs)
    write_csv(destination / "scores.csv.xz", _to_five_digits(scores))


def _to_five_digits(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers with five significant digits: a tenth of what photos differ by, and a sixth of the bytes less."""
    return table.apply(lambda column: column.map("{:.5g}".format).astype(float) if column.dtype == float else column)


def _thinned(logs: pd.DataFrame) -> pd.DataFrame:
    """Every fourth row of the training curves, and all validations."""
    position = logs.groupby("run").cumcount()
    return logs[(position % 4 == 0) | logs["validation_psnr"].notna()]


def main() -> None:
    """Draw a results folder again, or publish one."""
    parser = argparse.ArgumentParser(
        prog="python -m lpie.figures.report", description="Tables, figures and page of a folder."
    )
    parser.add_argument("folder", type=Path, nargs="?", default=PUBLISHED)
    parser.add_argument("--publish", action="store_true", help="gather its evidence in results/published")
    chosen = parser.parse_args()
    folder = chosen.folder
    if chosen.publish:
        publish(folder, PUBLISHED)
        folder = PUBLISHED
    elif list(folder.glob("runs/*/run.json")):
        collect_results(folder)
    print(write_report(folder))


if __name__ == "__main__":
    main()
