"""A contact sheet: what a person looks at before believing a number.

Thirty fixed photographs, each as it came, as the operator and the networks render it, with the maps of visible and of
unexplained change of the last network; the worst first, in one HTML page that loads nothing.
"""

from __future__ import annotations

import base64
import html
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image

from lpie import registry
from lpie.imaging.pixels import to_uint8
from lpie.imaging.resampling import resize
from lpie.judges import JUDGES
from lpie.judges.full_reference import visible_difference
from lpie.judges.unexplained import unexplained_map
from lpie.photos.enhancement import enhance
from lpie.photos.photographs import demo_photographs, read_photo
from lpie.records import atomic_path
from lpie.vocabulary import Luminance, Photo

log = logging.getLogger(__name__)

SHEET: Mapping[str, tuple[str, ...]] = {
    "faces": ("kodak24/04.png", "kodak24/15.png", *(f"unsplash800/{n}.jpg" for n in ("1108", "2889", "3242"))),
    "plain skies": tuple(f"unsplash800/{n}.jpg" for n in ("0843", "1403", "2034", "2387", "2697", "3414")),
    "night": tuple(f"unsplash800/{n}.jpg" for n in ("0028", "1736", "2183", "3105", "3252")),
    "fog": tuple(f"unsplash800/{n}.jpg" for n in ("0515", "1996", "2277")),
    "foliage": tuple(f"unsplash800/{n}.jpg" for n in ("0537", "2771", "2845")),
    "text": ("kodak24/10.png", "unsplash800/1206.jpg"),
    "walls": ("kodak24/01.png", "kodak24/02.png", "kodak24/08.png"),
    "animals": ("kodak24/23.png", "unsplash800/0665.jpg", "unsplash800/3006.jpg"),
}
"""The photographs by what they show, all near 800 px. Those of unsplash800 may have trained; see the study's splits."""

SHOWN = 480  # px of the longer side in the page
PLAINLY_VISIBLE = 3.0  # JOD that the map of visible change shows as white

STYLE = """body{margin:1rem;background:#222;color:#eee;font:15px/1.4 system-ui,sans-serif}
section{display:flex;gap:.4rem;overflow-x:auto;margin-bottom:1.2rem}figure{margin:0}img{display:block}
h2{font-size:1rem;margin:.2rem 0}figcaption{font-size:.85rem}.plain{color:#fa8}"""


def write_sheet(
    out: Path, networks: Sequence[str], *, operator: str = "tone", photographs: Mapping[str, Photo] | None = None
) -> list[tuple[str, float]]:
    """Write the page for `networks`, shipped names or files, from the plain to the judged one; the worst first.

    `photographs` replace the thirty of `SHEET`. Returns each photograph's name with the unexplained change of the last
    network. Raises ValueError without a network; errors of reading photographs and weights pass through.
    """
    if not networks:
        raise ValueError("Name at least one network: a shipped name, or a safetensors file.")
    rows = []
    for name, photo in (photographs or sheet_photographs()).items():
        shown = {"input": photo, "operator": enhance(photo, operator=operator, weights="operator")}
        shown |= {Path(network).stem: enhance(photo, operator=operator, weights=network) for network in networks}
        last = list(shown.values())[-1]
        where = unexplained_map(photo, last)
        visible = visible_difference(last, shown["operator"]) / PLAINLY_VISIBLE
        shown |= {"visible change to the operator's": _gray(visible), "unexplained change": _gray(where)}
        rows.append((float(where.mean()), name, _row(name, float(where.mean()), shown)))
        log.info("%s: %.3f of the area changed without explanation", name, rows[-1][0])
    rows.sort(key=lambda row: -row[0])
    plain = sum(row[0] > JUDGES["unexplained"].plain for row in rows)
    title = f"{html.escape(Path(networks[-1]).stem)}: {plain} of {len(rows)} photographs plainly changed"
    page = f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    with atomic_path(out) as temporary:
        temporary.write_text(f"{page}<h1>{title}</h1>" + "".join(row[2] for row in rows) + "</html>", encoding="utf-8")
    return [(name, change) for change, name, _ in rows]


def sheet_photographs() -> dict[str, Photo]:
    """The thirty photographs by name, with what they show; the demo's where none of them can be found."""
    try:
        return {f"{kind}: {name}": read_photo(registry.fetch(name)) for kind, names in SHEET.items() for name in names}
    except (FileNotFoundError, ConnectionError) as error:
        log.warning("the sheet shows the demo's photographs: %s", error)
        return demo_photographs()


def _row(name: str, change: float, shown: Mapping[str, Photo]) -> str:
    figures = "".join(
        f'<figure><img alt="{html.escape(f"{name}, {label}")}" src="{_jpeg(photo)}">'
        f"<figcaption>{html.escape(label)}</figcaption></figure>"
        for label, photo in shown.items()
    )
    mark = ' class="plain"' if change > JUDGES["unexplained"].plain else ""
    return f"<h2{mark}>{html.escape(name)}: unexplained {change:.3f}</h2><section>{figures}</section>"


def _gray(where: Luminance) -> Photo:
    return where.clamp(0, 1).expand(-1, 3, -1, -1)


@torch.no_grad()
def _jpeg(photo: Photo) -> str:
    height, width = photo.shape[-2:]
    scale = min(1.0, SHOWN / max(height, width))
    small = resize(photo, round(height * scale), round(width * scale)).clamp(0, 1)
    stored = io.BytesIO()
    Image.fromarray(to_uint8(small)[0].permute(1, 2, 0).cpu().numpy()).save(stored, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(stored.getvalue()).decode()}"
