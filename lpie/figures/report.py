"""Tables, figures and one page for readers, made from a results folder.

    python -m lpie.figures.report                       # draws results/published again from its tables
    python -m lpie.figures.report FOLDER                # the same for another results folder
    python -m lpie.figures.report FOLDER --publish  # gathers FOLDER's evidence in results/published, draws it

The same tables give the same bytes. Nothing here trains, scores or needs torch.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from matplotlib.figure import Figure
from PIL import Image

from lpie.evidence import Evidence, labels
from lpie.evidence.answers import answers
from lpie.evidence.comparisons import comparisons
from lpie.evidence.recipe import recipe_summary, recipe_table
from lpie.evidence.results import collect_results, crop_path, read_logs
from lpie.evidence.tables import confirmation_tables, headline, ladder, markdown, time_table
from lpie.evidence.verdicts import verdicts
from lpie.figures import page_data, tiles
from lpie.figures.gains import claim_figure, frontier_figure, gamma_figure, spectrum_figure
from lpie.figures.readable import readable
from lpie.figures.style import save_figure, svg_of
from lpie.networks import FAMILIES
from lpie.records import PUBLISHED, read_json, write_csv, write_whole

CROP_QUALITY = 90  # of gathered crops, as WebP
PICTURED = ("frontier", "spectrum", "claim-C1")  # figures that are files beside the page too


def write_report(folder: Path) -> Path:
    """Write every table, figure and report.html of `folder` from its runs and scores; returns the page's path.

    Figures that the tables cannot fill (no ladder, no critic) are left out, and the page says so.
    """
    evidence = Evidence.read(folder)
    folder = tiles.kept_in(evidence)
    tables = write_tables(evidence)
    drawn, missing = draw_figures(evidence, tables["comparisons"])
    page = _page(evidence, tables, drawn, missing)
    write_whole(folder / "report.html", page)
    return folder / "report.html"


def write_tables(evidence: Evidence) -> dict[str, pd.DataFrame]:
    """Write the tables that follow from runs and scores as CSV, verdicts and headline as Markdown too."""
    folder, compared = tiles.kept_in(evidence), comparisons(evidence)
    checks = recipe_table(evidence)
    tables = {
        "verdicts": verdicts(evidence, compared),
        "headline": headline(evidence),
        "frontier": evidence.frontier,
        "gammas": evidence.choices,
        "ladder": ladder(evidence),
        "recipe_summary": recipe_summary(checks),
        "recipe": checks,
        "comparisons": compared,
        "answers": answers(compared),
        "time": time_table(evidence.runs),
    }
    if (folder / "confirmation").exists():
        tables |= confirmation_tables(folder)
    for name, table in tables.items():
        write_csv(folder / f"{name}.csv", table)
    for name in ("verdicts", "headline"):
        write_whole(folder / f"{name}.md", markdown(tables[name]))
    return tables


def draw_figures(evidence: Evidence, compared: pd.DataFrame) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Draw the page's figures; returns caption and SVG of each, and why others could not be drawn.

    Those of PICTURED are also written to the folder's figures.
    """
    slack = evidence.criteria.judge_slack
    trained = [name for name in evidence.critics if name in set(evidence.trained_with_critic["critic"])]
    wanted: dict[str, Callable[[], Figure]] = {"frontier": partial(frontier_figure, evidence)}
    for operator, critic in product(evidence.operators, trained):  # one by one, for a page that may be narrow
        wanted[f"frontier--{operator}-{critic}"] = partial(frontier_figure, evidence, [operator], [critic])
    wanted |= {f"claim-{claim}": partial(claim_figure, compared, claim, slack) for claim in ("C1", "C2", "C7")}
    wanted["spectrum"] = partial(spectrum_figure, evidence)
    captions = dict(tiles.WORDS["captions"])
    for operator in evidence.operators:
        wanted[f"gamma-{operator}"] = partial(gamma_figure, evidence, operator)
        captions[f"gamma-{operator}"] = (
            f"What each weight of the critic gains and costs, {labels.operator_label(operator)}."
        )
    drawn, missing = {}, []
    for name, draw in wanted.items():
        try:
            figure = draw()
        except ValueError as error:
            missing.append(f"{name}: {error}")
            continue
        if name in PICTURED:
            save_figure(figure, tiles.kept_in(evidence) / "figures" / name, vector=False)
        if name != "frontier":
            drawn[name] = {"caption": captions.get(name, ""), "svg": svg_of(figure, name)}
    return drawn, missing


def _page(
    evidence: Evidence, tables: dict[str, pd.DataFrame], figures: dict[str, dict[str, str]], missing: list[str]
) -> str:
    folder = tiles.kept_in(evidence)
    scenes, crops = tiles.scene_groups(folder), tiles.crop_groups(evidence)
    shown = {
        name: {**words, "html": readable(_for_readers(name, tables[name]))}
        for name, words in tiles.WORDS["tables"].items()
        if name in tables and len(tables[name])
    }
    for claim, rows in tables["comparisons"].groupby("claim"):
        shown[str(claim)] = {
            "title": f"every comparison of {claim}",
            "text": "Differences of paired photographs with 95 % intervals, across photographs and across seeds.",
            "html": readable(rows.drop(columns="claim")),
        }
    origin = folder / "provenance.json"
    points = page_data.points(evidence, crops)
    named = {point["name"]: f"{point['title']}: {point['text']}" for point in points}
    for figure in figures.values():
        figure["svg"] = re.sub(
            r'<a xlink:href="#([^"]*)"[^>]*>',
            lambda link: f'<a href="#{link[1]}" aria-label="{named.get(link[1], "")}">',
            figure["svg"],
        )
    asked = page_data.instruments(folder)
    beside_claims = {name for claim in tiles.WORDS["claims"].values() for name in claim["figures"]}
    return tiles.TEMPLATES.get_template("report.html").render(
        answer=page_data.answer(folder, tables["verdicts"], tables["recipe_summary"]),
        numbers=page_data.numbers(tables["answers"], tables["ladder"]),
        seen=page_data.seen(folder),
        published=_published(folder, tables["verdicts"]),
        enhancers=_enhancers(folder),
        claims=page_data.claims(tables["verdicts"], [*scenes, *crops]),
        sliders=page_data.sliders([*scenes, *crops]),
        scenes=scenes,
        crops=crops,
        points=points,
        figures=figures,
        frontier=tiles.WORDS["captions"]["frontier"],
        placed=[panel for panel in figures if panel.split("--")[0] in beside_claims],
        tables=shown,
        missing=missing,
        counts={
            "networks": int(evidence.runs["network"].isin(list(FAMILIES)).sum()),
            "photos": evidence.gains["photo"].nunique(),
        },
        instruments=tiles.TEMPLATES.get_template("instruments.html").render(asked) if asked else "",
        lesson=tiles.TEMPLATES.get_template("lesson.html").render()
        if {"airplane", "lighthouse", "portrait"} <= {group.short for group in scenes}
        else "",
        provenance=json.dumps(read_json(origin), indent=1) if origin.exists() else "",
        styles=_joined(".css"),
        scripts=_joined(".js"),
    )


def _enhancers(folder: Path) -> list[str]:
    """The networks that a study of one's own photographs leaves beside its page, as `engine.run_all` names them."""
    asked = folder / "study.json"
    if not asked.exists() or not list(folder.glob("runs/*/weights.safetensors")):  # gathered tables leave none
        return []
    study = read_json(asked)
    if any(rows["set"] for rows in study["photographs"]):
        return []
    return [shlex.quote(f"{folder.resolve()}/{name.replace(':', '.')}.safetensors") for name in study["operators"]]


def _published(folder: Path, own: pd.DataFrame) -> dict[str, Any] | None:
    """The committed answer with its claims and pictures, where this run has too few photographs for one of its own."""
    undecided = own.loc[own["claim"] == "C2", "verdict"].isin(["undecided", "not attempted"]).any()
    if not undecided or (folder / "pictures").exists() or not (PUBLISHED / "verdicts.csv").exists():
        return None
    scenes = tiles.scene_groups(PUBLISHED)
    sliders = page_data.sliders(scenes)
    return {
        "answer": page_data.answer(PUBLISHED, own, own),
        "claims": page_data.claims(pd.read_csv(PUBLISHED / "verdicts.csv"), []),
        "sliders": sliders,
        "pictures": {tile.name: tile for slider in sliders for tile in (*slider["left"], slider["right"])},
    }


def _for_readers(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """Without the columns that only code needs; of recipes the chosen ones, where some are."""
    if name == "recipe_summary" and table["chosen"].any():
        table = table[table["chosen"].astype(bool)]
    unread = {"objective", "rule", "chosen"} if "headline" not in name else set()
    return table.drop(columns=[column for column in table if column in unread])


def _joined(suffix: str) -> str:
    """The vendored libraries' files of one kind, then the page's own."""
    here = Path(__file__).parent
    first = ["popper.js"]  # tippy needs it
    vendored = sorted((here / "vendor").glob(f"*{suffix}"), key=lambda path: (path.name not in first, path.stem))
    return "\n".join(path.read_text(encoding="utf-8") for path in (*vendored, here / "page" / f"report{suffix}"))


def publish(source: Path, destination: Path) -> None:
    """Gather in `destination` what the report of `source` rests on: runs, scores, logs, and crops.

    Crops are kept of what comparisons show and, for L2, of every weight of a critic.
    """
    evidence = Evidence.read(source)
    _gather(evidence.runs, evidence.scores, destination)
    if (source / "people.csv").exists():
        shutil.copyfile(source / "people.csv", destination / "people.csv")
    if (source / "confirmation").exists():
        confirmed = Evidence.read(source / "confirmation")
        _gather(confirmed.runs, confirmed.scores, destination / "confirmation")
    logs = read_logs(source)  # every fourth row of the training curves, and all validations
    thinned = (logs.groupby("run").cumcount() % 4 == 0) | logs["validation_psnr"].notna()
    write_csv(destination / "logs.csv.xz", logs[thinned])
    shutil.rmtree(destination / "crops", ignore_errors=True)
    with_critic = evidence.runs[(evidence.runs["gamma"] > 0) & (evidence.runs["fidelity"] == "l2")]
    for operator in evidence.operators:
        for network in evidence.families(operator):
            renditions = tiles.rendition_runs(evidence, operator, network)
            ours = with_critic[(with_critic["operator"] == operator) & (with_critic["network"] == network)]
            runs = [tiles.first_kept(source, same["run"]) for _, same in ours.groupby("objective", sort=False)]
            shown = dict.fromkeys(filter(None, (*renditions.values(), *runs)))
            for run, photo in product(shown, tiles.photos_to_compare(evidence, renditions)):
                kept, gathered = crop_path(source, run, photo), destination / "crops" / run / f"{photo}.webp"
                if kept.exists() and not gathered.exists():
                    write_whole(gathered, tiles.webp(Image.open(kept).convert("RGB"), CROP_QUALITY))


def _gather(runs: pd.DataFrame, scores: pd.DataFrame, destination: Path) -> None:
    write_csv(destination / "runs.csv", runs)
    numbers = scores.select_dtypes(float)  # in seven digits, so that rounding never chooses another weight
    write_csv(destination / "scores.csv.xz", scores.assign(**numbers.map(lambda value: float(f"{value:.7g}"))))


def main(
    folder: Annotated[Path, typer.Argument(help="A results folder.")] = PUBLISHED,
    gathered: Annotated[bool, typer.Option("--publish", help="Gather its evidence in results/published.")] = False,
) -> None:
    """Draw the tables, figures and page of a results folder."""
    if gathered:
        publish(folder, PUBLISHED)
        folder = PUBLISHED
    elif list(folder.glob("runs/*/run.json")):
        collect_results(folder)
    print(write_report(folder))


if __name__ == "__main__":
    typer.run(main)
