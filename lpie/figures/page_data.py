"""What the page of a report shows, in plain words and readable numbers: claims, photographs, sliders, tables."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from lpie.evidence import Evidence, labels
from lpie.evidence.results import crop_path
from lpie.figures.changes import kept_in, photos_to_compare, rendition_runs
from lpie.figures.gains import point_name
from lpie.figures.pictures import RATERS, RENDITIONS, SCENES
from lpie.networks import FAMILIES

SHORT = {
    "C1": "Without a critic it looks worse",
    "C2": "The critic improves the operators",
    "C3": "One method for several operators",
    "C4": "Close and well liked at once",
    "C5": "Free when it is used",
    "C6": "Its gradient improves pictures",
    "C7": "It adds what SSIM does not give",
}
SIGNS = {
    "supported": ("✓", "good"),
    "partly supported": ("◐", "some"),
    "no difference that matters": ("≈", "open"),
    "not supported": ("✗", "bad"),
    "contradicted": ("✗", "bad"),
}
"""Sign and tone of a verdict; any other is open."""

FIGURES = {
    "C1": ["claim-C1"],
    "C2": ["claim-C2"],
    "C4": ["frontier"],
    "C6": ["survival", "spectrum"],
    "C7": ["claim-C7"],
}
SLIDERS = (
    ("houses", "tone-can24-nima", "Hardly to be seen: the paper's network, with a small weight of its critic",
     "CAN24, trained on whole photographs. With the critic and without, it is hard to tell from the operator by eye."),
    ("airplane", "tone-grid-nima", "An attack that passes the tests: a bilateral grid with an ordinary critic",
     "It passes all sixteen criteria of the first study on 140 fresh photographs. Look at the sky, beside the "
     "propeller and along the borders: bands and patches of the size of a grid cell. Every photograph looked at has "
     "them. (The grid with L2 alone is a later one, led by luminance.)"),
    ("chalet", "dehaze-can24-plain", "Dehazing: a network that may change every pixel",
     "Haze was put on this photograph. The operator takes it off, and darkens; the network, trained on crops, leaves a "
     "veil and smears. No dehazing network with a critic ships, because none did better by the judges."),
)  # fmt: skip
"""Scene, right-hand rendition, title and text of the three pictures that a reader sees first."""

SHEETS = 6  # contact sheets inside the page
EQUAL = 80.0  # dB; closer pictures are equal to eight bits, and closeness says nothing


@dataclass(frozen=True)
class Tile:
    """One rendition of one photograph."""

    name: str
    label: str
    alt: str
    image: str
    width: int
    height: int
    scores: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Group:
    """Renditions of one photograph, side by side."""

    name: str
    title: str
    tiles: list[Tile]
    operator: str
    text: str = ""
    short: str = ""


def answer(verdicts: pd.DataFrame, recipes: pd.DataFrame) -> str:
    """The question's answer in two sentences."""
    found = dict(zip(verdicts["claim"], verdicts["verdict"], strict=True))
    lead = {
        "supported": "Yes, by the judges asked here",
        "partly supported": "Sometimes, by the judges asked here",
        "undecided": "These photographs cannot tell: they are too few for any difference to be significant",
        "not attempted": "Not measured by these runs",
    }.get(found.get("C2", ""), "No, not by the judges asked here")
    counts = verdicts["verdict"].value_counts()
    tally = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    chosen = recipes[recipes["chosen"].astype(bool)] if len(recipes) else recipes
    passing = int((chosen["passed"] == chosen["criteria"]).sum()) if len(chosen) else 0
    text = f"{lead}; of the paper's seven claims, {tally}."
    if len(chosen):
        number = "None" if passing == 0 else str(passing)
        text += f" {number} of {len(chosen)} networks taught by a critic, each at the weight that validation "
        text += "photographs chose, passes every test of an enhancement."
    return text


def claims(verdicts: pd.DataFrame, groups: list[Group], from_crops: bool = False) -> list[dict[Hashable, Any]]:
    """Each claim with its verdict as word, sign and tone, its figures and the photographs behind it.

    `from_crops`: networks trained on whole photographs have replaced those behind what claims say of CAN.
    """
    rows = []
    for row in verdicts.fillna("").to_dict("records"):
        sign, tone = SIGNS.get(row["verdict"], ("?", "open"))
        photos = [group for group in groups if group.short and row["claim"] != "C5"]
        rows.append({**row, "sign": sign, "tone": tone, "short": SHORT.get(row["claim"], ""),
                     "crops": from_crops and row["claim"] != "C5",
                     "figures": FIGURES.get(row["claim"], []), "photos": photos})  # fmt: skip
    return rows


def scene_groups(folder: Path) -> list[Group]:
    """The publishable photographs in `folder`/pictures, if there are any, with their scores."""
    place = folder / "pictures"
    if not (place / "pictures.csv").exists():
        return []
    scores = dict(pd.read_csv(place / "pictures.csv").set_index(["scene", "rendition"]).iterrows())
    groups = []
    for scene in SCENES:
        tiles = []
        for name in RENDITIONS:
            path = place / f"{scene.name}-{name}.webp"
            if path.exists() and (scene.name, name) in scores:
                alt = f"{scene.alt[0].upper()}{scene.alt[1:]}: {RENDITIONS[name]}"
                said = list(_said(scores[scene.name, name], {rater: rater for rater in RATERS}))
                tiles.append(_tile(path, f"{scene.name}-{name}", RENDITIONS[name], alt, said))
        if tiles:
            title = f"{labels.operator_label(scene.operator)}: {scene.name} ({scene.kind})"
            groups.append(Group(f"scene-{scene.name}", title, tiles, scene.operator, short=scene.name))
    return groups


def crop_groups(evidence: Evidence) -> list[Group]:
    """The kept crops of test photographs through every objective, a group for each operator and family."""
    folder, groups = kept_in(evidence), []
    for operator in evidence.operators:
        for network in evidence.families(operator):
            runs = rendition_runs(evidence, operator, network)
            for photo in photos_to_compare(evidence, runs):
                title = (
                    f"{labels.operator_label(operator)}, {labels.network_label(network)}: a crop of a test photograph"
                )
                tiles = [
                    _tile(path, f"crop-{run}", label, f"{title}, {label}", _crop_scores(evidence, run, photo))
                    for label, run in runs.items()
                    if run and (path := crop_path(folder, run, photo)).exists()
                ]
                chosen = evidence.chosen.query("operator == @operator and network == @network")
                note = (
                    f"NIMA: critic {chosen['critic'].iloc[0]}, weight {chosen['gamma'].iloc[0]:g}."
                    if len(chosen)
                    else ""
                )
                groups.append(
                    Group(f"crops-{operator}-{network}", title, tiles, operator, f"Scores of the whole photo. {note}")
                )
    return _each_picture_once(groups)


def _each_picture_once(groups: list[Group]) -> list[Group]:
    """`groups` with names of tiles that no other tile has: input and target stand beside every family."""
    seen: set[str] = set()
    unique = []
    for group in groups:
        tiles = []
        for tile in group.tiles:
            name = tile.name if tile.name not in seen else f"{tile.name}-in-{group.name}"
            seen.add(name)
            tiles.append(Tile(**{**tile.__dict__, "name": name}))
        unique.append(Group(**{**group.__dict__, "tiles": tiles}))
    return unique


def _crop_scores(evidence: Evidence, run: str, photo: str) -> list[tuple[str, str]]:
    scores = evidence.scores[(evidence.scores["run"] == run) & (evidence.scores["photo"] == photo)].iloc[0]
    critic = evidence.own_critic(evidence.runs[evidence.runs["run"] == run].iloc[0])
    return list(_said(scores, {name: f"score_{name}" for name in (critic, *labels.TELLING)}))


def _said(row: pd.Series, raters: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Six numbers at most beneath a picture: closeness to the operator, the critic, judges that tell."""
    for name, column, digits in (("PSNR", "psnr", 1), ("SSIM", "ssim", 3), ("MS-SSIM", "ms_ssim", 3)):
        if np.isfinite(row[column]) and row["psnr"] < EQUAL:
            yield name, f"{row[column]:.{digits}f}" + (" dB" if name == "PSNR" else "")
    yield from ((name, f"{row[column]:.2f}") for name, column in raters.items() if pd.notna(row.get(column)))


def _tile(path: Path, name: str, label: str, alt: str, scores: list[tuple[str, str]]) -> Tile:
    """A picture inside the page; one that is not WebP already becomes so, a tenth of a PNG's size."""
    picture, stored = Image.open(path), io.BytesIO(path.read_bytes())
    if picture.format != "WEBP":
        stored = io.BytesIO()
        picture.convert("RGB").save(stored, "WEBP", quality=75, method=4)
    address = "data:image/webp;base64," + base64.b64encode(stored.getvalue()).decode()
    return Tile(name, label, alt, address, picture.width, picture.height, scores)


def instruments(folder: Path) -> dict[str, Any] | None:
    """What is known of the instruments: a table, words about it, votes, contact sheets; None where there is no table.

    Files of `folder`: instruments.csv and .txt, people.csv, contact/*.webp with contact/captions.csv (file, caption,
    alt), of which SHEETS are shown.
    """
    if not (folder / "instruments.csv").exists():
        return None
    words, people, captions = folder / "instruments.txt", folder / "people.csv", folder / "contact" / "captions.csv"
    said = pd.read_csv(captions).head(SHEETS) if captions.exists() else pd.DataFrame(columns=["file", "caption", "alt"])
    table = pd.read_csv(folder / "instruments.csv")
    told = words.read_text(encoding="utf-8").strip().split("\n\n") if words.exists() else []
    return {
        "table": readable(table),
        "paragraphs": [*_who_sees_damage(table), *told],
        "people": readable(pd.read_csv(people)) if people.exists() else "",
        "sheets": [
            _tile(folder / "contact" / str(row["file"]), f"sheet-{place}", str(row["caption"]), str(row["alt"]), [])
            for place, row in said.iterrows()
        ],
    }


def _who_sees_damage(table: pd.DataFrame) -> list[str]:
    """Which instruments show that they see damage, in a sentence; none where they were not asked."""
    asked = table[table["question"] == "damage seen"] if "question" in table else table.head(0)
    if asked.empty:
        return []
    seeing = asked.loc[asked["shows"].astype(bool), "label"]
    said = [
        f"{row['label']} {row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        for row in asked[asked["instrument"].isin(["technical", "niqe"])].to_dict("records")
    ]
    return [
        f"Damage on purpose, beside an undamaged rendition, is seen reliably by {len(seeing)} of {len(asked)} "
        f"instruments: {', '.join(seeing) or 'none'}. Shares of pairs in order, of two that should: "
        f"{', '.join(said)}; chance is 0.5, and for a veto the lower end must exceed 0.75."
    ]


def sliders(groups: list[Group]) -> list[dict[str, Any]]:
    """The pictures that a reader sees first: SLIDERS where those scenes are there, else the first kept crops."""
    found = []
    for scene, right, title, text in SLIDERS:
        tiles = {tile.name: tile for group in groups if group.name == f"scene-{scene}" for tile in group.tiles}
        if (chosen := tiles.get(f"{scene}-{right}")) and len(tiles) > 2:
            family = chosen.label.split(",")[0]
            alone = [tile for tile in tiles.values() if "L2 alone" in tile.label and tile is not chosen]
            if "L2 alone" not in chosen.label:
                alone = [tile for tile in alone if tile.label.startswith(family)]
            references = [tile for tile in tiles.values() if tile.label in ("as it came", "the operator")]
            found.append((scene, title, text, references + alone, chosen))
    for group in groups if not found else []:
        tiles = {tile.label: tile for tile in group.tiles}
        if "L2 + NIMA" in tiles and len(found) < 3:
            left = [tiles[label] for label in ("target", "L2", "input") if label in tiles]
            found.append((group.name, group.title, "Right: L2 with the critic.", left, tiles["L2 + NIMA"]))
    order = {"the operator": 0, "target": 0}
    return [{"name": name, "title": title, "text": text, "right": right, "place": place + 1,
             "left": sorted(left, key=lambda tile: order.get(tile.label, 1))}
            for place, (name, title, text, left, right) in enumerate(found)]  # fmt: skip


def points(evidence: Evidence, groups: list[Group]) -> list[dict[str, Any]]:
    """A card for every point of the frontier: what it is, its scores, and its kept crop where there is one."""
    pictures = {tile.name: tile for group in groups for tile in group.tiles}
    columns = ["operator", "network", "objective", "gamma"]
    runs = evidence.runs.groupby(columns, sort=False)["run"].agg(list)
    cards = []
    for _, row in evidence.frontier[evidence.frontier["network"].isin(list(FAMILIES))].iterrows():
        kept = [pictures[f"crop-{run}"] for run in runs[tuple(row[columns])] if f"crop-{run}" in pictures]
        gains = ", ".join(f"{name} {row[f'gain_{name}']:+.2f}" for name in (*evidence.critics, *evidence.judges)
                          if pd.notna(row[f"gain_{name}"]))  # fmt: skip
        objective = labels.objective_label(row["fidelity"], row["critic"], row["gamma"])
        title = f"{labels.network_label(row['network'])}, {objective}"
        cards.append({"name": point_name(row), "title": title, "picture": kept[0] if kept else None,
                      "text": f"{row['psnr']:.1f} dB, SSIM {row['ssim']:.3f}. Gains: {gains}."
                      + ("" if kept else " No picture of it was kept.")})  # fmt: skip
    return cards


def readable(table: pd.DataFrame, kind: str = "display") -> str:
    """`table` as HTML: numbers as people write them, and what to sort them by; nothing where nothing is known.

    `kind`: its class; the page makes `display` searchable.
    """
    head = "".join(f'<th scope="col"{_kind(table[name])}>{html.escape(_heading(name))}</th>' for name in table)
    body = []
    for row in table.itertuples(index=False):
        cells = [_cell(name, value) for name, value in zip(table.columns, row, strict=True)]
        body.append("<tr>" + "".join(cells) + "</tr>")
    return f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'


def _kind(column: pd.Series) -> str:
    return ' class="number"' if pd.api.types.is_numeric_dtype(column) and column.dtype != bool else ""


def _heading(name: object) -> str:
    words = {"n_photos": "photos", "n_seeds": "seeds", "p_holm": "p (Holm)", "psnr": "PSNR (dB)", "gamma": "weight"}
    return words.get(str(name), str(name).removeprefix("gain_").replace("_", " "))


def _cell(name: object, value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, int | float | np.number):
        order = "" if pd.isna(float(value)) else f' data-order="{float(value):.6g}"'
        return f'<td class="number"{order}>{number(float(value), str(name))}</td>'
    label = {"operator": labels.operator_label, "network": labels.network_label, "against": labels.fidelity_label,
             "fidelity": labels.fidelity_label}.get(str(name), str)  # fmt: skip
    text = "" if pd.isna(value) else label(value)
    # sorted by the number that a mean with its interval begins with
    leading = re.match(r"[+-]?\d+(\.\d+)?", text.replace("−", "-"))
    order = f' data-order="{float(leading[0])}"' if leading else ""
    return f"<td{order}>{html.escape(text.removeprefix('gain_') if name == 'measure' else text)}</td>"


def number(value: float, name: str = "") -> str:
    """A number as people write it: three digits that count, no exponent, a true minus, nothing for unknown."""
    if not np.isfinite(value):
        return ""
    if name.startswith("p") and name in ("p", "p_holm") and value < 0.001:
        return "&lt; 0.001"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}".replace("-", "−")
    digits = 4 if abs(value) < 0.01 else 3 if abs(value) < 1 else 2 if abs(value) < 100 else 0
    return f"{value:,.{digits}f}".replace("-", "−")
