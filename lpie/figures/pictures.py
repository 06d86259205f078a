"""Photographs that may be published, through the operators and the shipped networks, for report and README.

    python -m lpie.figures.pictures             # writes results/published/pictures, wants LPIE_DATA or the network

Networks render as `lpie enhance` does, at the photograph's own size; the operator is the study's own. The photographs
are from scikit-image, scikit-learn and the Kodak set, which was released for unrestricted use.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pandas as pd
import typer
from PIL import Image, ImageDraw, ImageFont

from lpie.evidence.labels import JUDGES
from lpie.records import PUBLISHED, atomic_path, write_csv

if TYPE_CHECKING:
    from lpie.vocabulary import Photo

QUALITY = 72  # of WebP: the damage of networks stays plain, its own does not show
HAZE = (0.86, 0.88, 0.90)  # color of the haze that is put on clear photographs
DENSITY = 1.2  # optical depth of that haze at the far end


@dataclass(frozen=True)
class Scene:
    """One photograph of pictures.toml, which says what its fields mean."""

    name: str
    operator: str
    source: str
    kind: str
    alt: str
    hazy: bool = False


CHOSEN = tomllib.loads((Path(__file__).parent / "page" / "pictures.toml").read_text(encoding="utf-8"))
SCENES = tuple(Scene(**row) for row in CHOSEN["scenes"])
RENDITIONS: dict[str, str] = CHOSEN["renditions"]
RATERS = ("compact", *JUDGES)


def render_pictures(folder: Path) -> pd.DataFrame:
    """Write every scene in every rendition to `folder` as WebP, and pictures.csv with their scores; returns it.

    Columns: scene, rendition, psnr, ssim, ms_ssim to the operator's output, then a score by each of RATERS.
    """
    from lpie.judges import load_rater

    raters = {name: load_rater(name) for name in RATERS}
    rows = []
    for scene in SCENES:
        photo = _photo(scene)
        outputs = {name: _rendered(photo, scene.operator, name) for name in renditions_of(scene.operator)}
        for name, output in outputs.items():
            with atomic_path(folder / f"{scene.name}-{name}.webp") as temporary:
                _pixels(output).save(temporary, "WEBP", quality=QUALITY, method=6)
            closeness = _closeness(output, outputs["operator"]) if name != "operator" else {}
            scores = {rater: float(score(output)) for rater, score in raters.items()}
            rows.append({"scene": scene.name, "rendition": name, **closeness, **scores})
    table = pd.DataFrame(rows, columns=["scene", "rendition", "psnr", "ssim", "ms_ssim", *RATERS])
    write_csv(folder / "pictures.csv", table)
    return table


def renditions_of(operator: str) -> list[str]:
    """The renditions of an operator's scenes: input, operator, and those of its networks that are shipped."""
    from lpie.weights import shipped_names

    return [name for name in RENDITIONS if "-" not in name or (name.startswith(operator) and name in shipped_names())]


def readme_picture(folder: Path) -> Image.Image:
    """Windows of three photographs in the columns of pictures.toml, a row a photograph, from the files of `folder`."""
    width, height = 420, 315
    gap, top, font = 8, 78, ImageFont.load_default(30)
    columns, windows = CHOSEN["readme"]["columns"], CHOSEN["readme"]["windows"]
    size = ((width + gap) * len(columns) - gap, top + (height + gap) * len(windows) - gap)
    sheet = Image.new("RGB", size, "white")
    for column, (name, label) in enumerate(columns.items()):
        left = (width + gap) * column
        ImageDraw.Draw(sheet).text((left + width / 2, top / 2 - 4), label, "#222222", font, anchor="mm", align="center")
        for row, (scene, (x, y, across)) in enumerate(windows.items()):
            tile = Image.open(folder / f"{scene}-{name}.webp").convert("RGB")
            window = tile.crop((x, y, x + across, y + across * height // width))
            seen = window.resize((width, height), Image.Resampling.LANCZOS)
            sheet.paste(seen, (left, top + (height + gap) * row))
    return sheet


def _photo(scene: Scene) -> Photo:
    import torch

    from lpie import registry
    from lpie.photos.photographs import demo_photographs, read_photo
    from lpie.study.synthetic_haze import add_haze, depth_proxy

    photo = read_photo(registry.fetch(scene.source)) if "/" in scene.source else demo_photographs()[scene.source]
    photo = photo[..., 2:-2, 2:-2] if "/" in scene.source else photo  # the Kodak scans have a gray margin
    return add_haze(photo, depth_proxy(photo), torch.tensor([HAZE]), DENSITY).photo if scene.hazy else photo


def _rendered(photo: Photo, operator: str, name: str) -> Photo:
    """One rendition; `operator` is the study's own, which networks imitate, without what `enhance` does for skin."""
    from lpie.operators import OPERATORS
    from lpie.photos.enhancement import enhance

    if name == "operator":
        return OPERATORS[operator].apply(photo, OPERATORS[operator].settings())
    return photo if name == "input" else enhance(photo, operator, name)


def _closeness(output: Photo, target: Photo) -> dict[str, float]:
    from lpie.judges.full_reference import psnr
    from lpie.losses.similarity import ms_ssim, ssim

    return {measure.__name__: float(measure(output, target)) for measure in (psnr, ssim, ms_ssim)}


def _pixels(photo: Photo) -> Image.Image:
    from lpie.photos.photographs import to_pixels

    return Image.fromarray(to_pixels(photo, 8))


def main(folder: Annotated[Path, typer.Argument()] = PUBLISHED / "pictures") -> None:
    """Render the pictures of report and README."""
    print(render_pictures(folder).round(3).to_string(index=False))
    with atomic_path(folder / "readme.webp") as temporary:
        readme_picture(folder).save(temporary, "WEBP", quality=QUALITY, method=6)


if __name__ == "__main__":
    typer.run(main)
