"""Photographs side by side with their scores and alternative texts, for the page and for notebooks."""

from __future__ import annotations

import base64
import html
import io
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from lpie.evidence import Evidence, labels
from lpie.evidence.results import crop_path, cropped_photos
from lpie.figures.pictures import RATERS, RENDITIONS, SCENES

if TYPE_CHECKING:
    from IPython.display import HTML

AMPLIFIED = 4  # how much the change of the last tile is enlarged about middle gray
EQUAL = 80.0  # dB; closer pictures are equal in eight bits, and no closeness is shown
PHOTOS_COMPARED = 1  # crops that a group of tiles shows
WITH_CRITIC = "L2 + critic"
KINDS = {".png": "png", ".webp": "webp", ".jpg": "jpeg", ".jpeg": "jpeg"}  # of pictures that a notebook shows
TEMPLATES = Environment(loader=PackageLoader("lpie.figures", "page"), undefined=StrictUndefined, autoescape=True)
WORDS = tomllib.loads((Path(__file__).parent / "page" / "words.toml").read_text(encoding="utf-8"))
"""Of the page: its short answer, captions, claims in short, titles and texts of tables, the pictures seen first."""


@dataclass(frozen=True)
class Tile:
    """One rendition of one photograph; `image` is a data address."""

    name: str
    label: str
    alt: str
    image: str
    width: int
    height: int
    scores: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Group:
    """Renditions of one photograph; `short` is what links call it, if any lead to it."""

    name: str
    title: str
    tiles: list[Tile]
    text: str = ""
    short: str = ""


def show(path: str | os.PathLike[str], alt: str) -> HTML:
    """The picture at `path` inside a notebook's output, with `alt`, what it shows, as its alternative text.

    Raises ValueError for another kind of file or an empty `alt`, FileNotFoundError where there is no file.
    """
    from IPython.display import HTML

    place = Path(path)
    if place.suffix.lower() not in KINDS:
        raise ValueError(f"{place}: expected one of {', '.join(KINDS)} to show.")
    if not alt.strip():
        raise ValueError(f"{place}: a picture needs a text that says what it shows.")
    stored = base64.b64encode(place.read_bytes()).decode()
    kind = KINDS[place.suffix.lower()]
    return HTML(f'<img style="max-width: 100%" src="data:image/{kind};base64,{stored}" alt="{html.escape(alt)}">')


def show_crops(evidence: Evidence, operator: str | None = None) -> HTML:
    """The kept crops of test photographs through every objective, in a notebook; of one operator if named."""
    from IPython.display import HTML

    groups = [group for group in crop_groups(evidence) if operator is None or f"crops-{operator}-" in group.name]
    if not groups:  # as where no photograph may be passed on
        return HTML(
            f"<p>No windows of photographs are kept of {labels.operator_label(operator or 'any operator')}.</p>"
        )
    return HTML(TEMPLATES.get_template("crops.html").render(groups=groups))


def scene_groups(folder: Path) -> list[Group]:
    """The publishable photographs in `folder`/pictures, if there are any, with their scores."""
    place = folder / "pictures"
    if not (place / "pictures.csv").exists():
        return []
    scores = dict(pd.read_csv(place / "pictures.csv").set_index(["scene", "rendition"]).iterrows())
    groups = []
    for scene in SCENES:
        tiles = [
            tile_of(path.read_bytes(), f"{scene.name}-{name}", label, f"{_capital(scene.alt)}: {label}",
                    list(_numbers_beneath(scores[scene.name, name], {rater: rater for rater in RATERS})))
            for name, label in RENDITIONS.items()
            if (scene.name, name) in scores and (path := place / f"{scene.name}-{name}.webp").exists()
        ]  # fmt: skip
        if tiles:
            title = f"{labels.operator_label(scene.operator)}: {scene.name} ({scene.kind})"
            groups.append(Group(f"scene-{scene.name}", _capital(title), tiles, short=scene.name))
    return groups


def crop_groups(evidence: Evidence) -> list[Group]:
    """The kept crops of test photographs through every objective, a group for each operator and family."""
    folder, groups, seen = kept_in(evidence), [], set()
    for operator in evidence.operators:
        for network in evidence.families(operator):
            runs = rendition_runs(evidence, operator, network)
            chosen = evidence.chosen.query("operator == @operator and network == @network")
            note = f"Critic: {chosen['critic'].iloc[0]}, weight {chosen['gamma'].iloc[0]:g}." if len(chosen) else ""
            title = _capital(f"{labels.operator_label(operator)}, {labels.network_label(network)}")
            for photo in photos_to_compare(evidence, runs):
                kept = {label: path for label, run in runs.items() if (path := crop_path(folder, run, photo)).exists()}
                tiles = [
                    tile_of(path.read_bytes(), f"crop-{runs[label]}", label, f"{title}, a crop of a photo: {label}",
                            _crop_scores(evidence, runs[label], photo))
                    for label, path in kept.items()
                ]  # fmt: skip
                if {"L2", WITH_CRITIC} <= set(kept):
                    tiles.append(_change(kept["L2"], kept[WITH_CRITIC], f"change-{operator}-{network}", title))
                for place, tile in enumerate(tiles):  # input and target stand beside every family
                    if tile.name in seen:
                        tiles[place] = replace(tile, name=f"{tile.name}-{network}")
                seen |= {tile.name for tile in tiles}
                groups.append(Group(f"crops-{operator}-{network}", title, tiles, note))
    return groups


def rendition_runs(evidence: Evidence, operator: str, network: str) -> dict[str, str]:
    """The run behind each rendition, by its label: input, target, each loss alone, L1 and L2 with a critic.

    Of each loss the first seed of which the folder keeps a crop, else the first; left out where none was trained. Of
    the critics the first with a chosen weight.
    """
    runs, folder = evidence.runs, kept_in(evidence)
    chosen = evidence.chosen.query("operator == @operator and network == @network")
    references = runs[runs["operator"] == operator].set_index("network")["run"]
    for name in ("input", "target"):
        if name not in references:
            raise ValueError(f"The {name} of {operator} was not evaluated: run_studies does it.")
    first = runs[(runs["operator"] == operator) & (runs["network"] == network)].sort_values("seed")
    critic = chosen["critic"].iloc[0] if len(chosen) else ""
    weights = chosen.loc[chosen["critic"] == critic, "gamma"]
    found = {name: str(references[name]) for name in ("input", "target")}
    for fidelity, row in labels.FIDELITIES.items():
        found[row.label] = first_kept(folder, first[(first["fidelity"] == fidelity) & (first["gamma"] == 0)]["run"])
    trained = first[(first["critic"] == critic) & first["gamma"].isin(weights)]
    for fidelity in ("l1", "l2"):
        label = f"{labels.fidelity_label(fidelity)} + critic"
        found[label] = first_kept(folder, trained[trained["fidelity"] == fidelity]["run"])
    return {label: run for label, run in found.items() if run}


def photos_to_compare(evidence: Evidence, runs: Mapping[str, str]) -> list[str]:
    """Of the photos with a kept crop, those that the operator itself changes most."""
    kept, scores = cropped_photos(kept_in(evidence), runs["target"]), evidence.scores
    psnr = scores[scores["run"] == runs["input"]].set_index("photo")["psnr"].reindex(kept)
    return [str(photo) for photo in psnr.sort_values(kind="stable").index[:PHOTOS_COMPARED]]


def first_kept(folder: Path, runs: pd.Series) -> str:
    """The first of `runs` of which `folder` keeps a crop, else the first; empty where there is none."""
    return next((run for run in runs if cropped_photos(folder, run)), runs.iloc[0] if len(runs) else "")


def kept_in(evidence: Evidence) -> Path:
    """The folder with the crops of `evidence`; raises ValueError when it came without one."""
    if evidence.folder is None:
        raise ValueError("This evidence came without its folder, where crops are kept: use Evidence.read(folder).")
    return evidence.folder


def tile_of(stored: bytes, name: str, label: str, alt: str, scores: list[tuple[str, str]]) -> Tile:
    """A picture inside the page; one that is not WebP already becomes so, a tenth of a PNG's size."""
    picture = Image.open(io.BytesIO(stored))
    stored = stored if picture.format == "WEBP" else webp(picture.convert("RGB"), 75)
    address = "data:image/webp;base64," + base64.b64encode(stored).decode()
    return Tile(name, label, alt, address, picture.width, picture.height, scores)


def webp(picture: Image.Image, quality: int) -> bytes:
    """The picture as a WebP file."""
    stored = io.BytesIO()
    picture.save(stored, "WEBP", quality=quality, method=4)
    return stored.getvalue()


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _change(plain: Path, with_critic: Path, name: str, title: str) -> Tile:
    """What the critic's term changed, enlarged about middle gray."""
    before, after = (np.asarray(Image.open(path).convert("RGB")).astype(float) for path in (plain, with_critic))
    pixels = np.clip(128 + AMPLIFIED * (after - before), 0, 255).astype(np.uint8)
    label = f"change by the critic, x{AMPLIFIED}"
    return tile_of(webp(Image.fromarray(pixels), 75), name, label, f"{title}: {label}, about gray", [])


def _crop_scores(evidence: Evidence, run: str, photo: str) -> list[tuple[str, str]]:
    scores = evidence.scores[(evidence.scores["run"] == run) & (evidence.scores["photo"] == photo)].iloc[0]
    critic = evidence.own_critic(evidence.runs[evidence.runs["run"] == run].iloc[0])
    return list(_numbers_beneath(scores, {name: f"score_{name}" for name in (critic, *labels.JUDGES)}))


def _numbers_beneath(row: pd.Series, raters: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The numbers beneath a picture, six at most: closeness to the operator, then critic and judges."""
    for name, column, digits in (("PSNR", "psnr", 1), ("SSIM", "ssim", 3), ("MS-SSIM", "ms_ssim", 3)):
        if np.isfinite(row[column]) and row["psnr"] < EQUAL:
            yield name, f"{row[column]:.{digits}f}" + (" dB" if name == "PSNR" else "")
    for name, column in raters.items():
        if pd.notna(row.get(column)):  # of NIQE, scores hold the negative, so that more is better everywhere
            yield ("NIQE", f"{-row[column]:.2f}") if name == "niqe" else (name, f"{row[column]:.2f}")
