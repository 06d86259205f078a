"""A contact sheet: what a person looks at before believing a number.

    lpie sheet tone-grid-plain tone-grid-nima          # shipped names, or weights.safetensors of a run's folder

Thirty photographs that no shipped network trained on, each as it came and as the operator and the networks render it;
beneath a network's rendition, where it visibly differs from the operator's and where it changed the photo without
explanation. The worst first, in one HTML page that loads nothing; a click shows a picture at its own size.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from jinja2 import Template
from PIL import Image, ImageOps

from lpie import registry
from lpie.imaging.color import quantize, to_uint8
from lpie.imaging.resampling import within
from lpie.judges import JUDGES
from lpie.judges.full_reference import visible_difference
from lpie.judges.unexplained import unexplained_map
from lpie.operators import OPERATORS
from lpie.photos.enhancement import enhance
from lpie.photos.photographs import demo_photographs, read_photo
from lpie.photos.writing import data_address
from lpie.records import atomic_path, write_csv, write_whole
from lpie.vocabulary import Luminance, Photo

log = logging.getLogger(__name__)

_NAMES = {
    "faces": "1864 2889 3242 fivek/1080p/000001.png kodak24/04.png kodak24/15.png",
    "plain skies": "1016 1961 2636 3345 kodak24/20.png",
    "night": "0028 0701 2183 2300 3252",
    "fog": "0515 1595 2937",
    "foliage": "1389 2917 3481",
    "text": "1206 1615 3261",
    "walls": "2489 fivek/1080p/000005.png kodak24/01.png",
    "animals": "1910 2456",
}  # numbers alone are of unsplash800
SHEET: Mapping[str, tuple[str, ...]] = {
    kind: tuple(name if "/" in name else f"unsplash800/{name}.jpg" for name in names.split())
    for kind, names in _NAMES.items()
}
"""The photographs by what they show: 800 px and larger, and Kodak's of 768 px, whose pictures may be published."""

PUBLISHABLE = "kodak24/"
LONGEST_SIDE = 1024  # px: a larger photo is reduced to what a screen shows
PLAINLY_VISIBLE = 3.0  # JOD that the map of visible change shows as white
QUALITY = 88  # of the pictures
STRIP = 400  # px of each in a strip for a report

PAGE = Template(Path(__file__).with_name("sheet.html").read_text(encoding="utf-8"), autoescape=True)


def write_sheet(
    out: Path,
    networks: Sequence[str],
    *,
    operator: str = "tone",
    photographs: Mapping[str, Photo] | None = None,
    pictures: Path | None = None,
) -> pd.DataFrame:
    """Write the page for `networks`, shipped names or files, from the plain to the judged one; the worst first.

    `photographs` replace the thirty of `SHEET`. `pictures` is the folder `contact` of a study, which gets a strip of
    every photograph that may be published, for the study's report, and the table that is returned: the unexplained
    change by each network, a row per photograph. Raises ValueError without a network.
    """
    if not networks:
        raise ValueError("Name at least one network: a shipped name, or a safetensors file.")
    rows, sections = {}, {}
    for name, photo in (photographs or sheet_photographs()).items():
        columns, rows[name] = _columns(photo, networks, operator)
        change = list(rows[name].values())[-1]
        addresses = [{text: data_address(shown, "WEBP", quality=QUALITY) for text, shown in column.items()}
                     for column in columns]  # fmt: skip
        sections[name] = name, change, addresses
        if pictures and PUBLISHABLE in name:
            _write_strip(pictures, name, change, columns)
        log.info("%s: %.3f of the area changed without explanation", name, change)
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("photograph").round(4)
    table = table.sort_values(table.columns[-1], ascending=False, kind="stable")
    if pictures:
        write_csv(pictures / "unexplained.csv", table.reset_index())
    plain = JUDGES["unexplained"].plain
    count = int((table.iloc[:, -1] > plain).sum())
    title = f"{Path(networks[-1]).stem}: {count} of {len(table)} photographs plainly changed"
    page = PAGE.render(title=title, plain=plain, sections=[sections[name] for name in table.index])
    write_whole(out, page)
    return table


def sheet_photographs() -> dict[str, Photo]:
    """The thirty photographs by name, with what they show; the demo's where none of them can be found."""
    try:
        return {f"{kind}: {name}": read_photo(registry.fetch(name)) for kind, names in SHEET.items() for name in names}
    except (FileNotFoundError, ConnectionError) as error:
        log.warning("the sheet shows the demo's photographs: %s", error)
        return demo_photographs()


_Columns = list[dict[str, Image.Image]]


def _columns(photo: Photo, networks: Sequence[str], operator: str) -> tuple[_Columns, dict[str, float]]:
    """Pictures by caption, a column for the photo, the operator and each network; unexplained change by network."""
    photo = within(photo, LONGEST_SIDE)
    target = quantize(enhance(photo, operator=operator, weights="operator"))
    hazy = OPERATORS[operator].estimate is not None
    columns, changes = [{"input": _picture(photo)}, {"operator": _picture(target)}], {}
    for network in networks:
        rendition, name = quantize(enhance(photo, operator=operator, weights=network)), Path(network).stem
        visible = visible_difference(rendition, target) / PLAINLY_VISIBLE
        where = unexplained_map(photo, rendition, hazy=hazy)
        changes[name] = float(where.mean())
        maps = {"visible beside the operator's": visible, f"{name}, unexplained {changes[name]:.3f}": where}
        columns.append({name: _picture(rendition)} | {text: _picture(map_) for text, map_ in maps.items()})
    return columns, changes


def _picture(photo: Photo | Luminance) -> Image.Image:
    return Image.fromarray(to_uint8(photo.clamp(0, 1).expand(-1, 3, -1, -1))[0].movedim(0, -1).numpy())


def _write_strip(folder: Path, name: str, change: float, columns: _Columns) -> None:
    """One picture of all columns and its line in captions.csv, the worst first."""
    small = [[ImageOps.contain(picture, (STRIP, STRIP)) for picture in column.values()] for column in columns]
    width, height = small[0][0].size
    strip = Image.new("RGB", (width * len(small), height * max(map(len, small))))
    for across, column in enumerate(small):
        for down, picture in enumerate(column):
            strip.paste(picture, (across * width, down * height))
    file = f"{name.split()[-1].replace('/', '-').split('.')[0]}.webp"
    with atomic_path(folder / file) as temporary:
        strip.save(temporary, "WEBP", quality=QUALITY)
    shown = [next(iter(column)) for column in columns]
    caption = f"{name}: {', '.join(shown)}, unexplained {change:.3f}"
    alt = f"{caption}. Beneath each network, where it visibly differs from the operator and what is unexplained"
    captions = folder / "captions.csv"
    known = pd.read_csv(captions) if captions.exists() else pd.DataFrame(columns=["file", "caption", "alt", "change"])
    line = {"file": file, "caption": caption, "alt": alt}
    known = pd.concat([known[known["file"] != file], pd.DataFrame([line | {"change": round(change, 4)}])])
    write_csv(captions, known.sort_values("change", ascending=False))
