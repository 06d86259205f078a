"""Before and after of one photo: side by side in one picture, or a page with a slider that needs no other file."""

from __future__ import annotations

import base64
import html
import io
import os
from dataclasses import replace
from importlib.resources import files

import numpy as np

from lpie.photos.reading import PhotoFile
from lpie.photos.writing import encode_photo
from lpie.records import atomic_path

PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Before and after: {name}</title>
<link rel="icon" href="data:,">
<style>
{style}
body {{ margin: 0; padding: .6rem; font: 1rem/1.4 system-ui, sans-serif; }}
h1 {{ font-size: 1.1rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }}
img-comparison-slider {{ --divider-width: 2px; }}
img-comparison-slider img {{ display: block; max-width: calc(100vw - 1.4rem); max-height: 86vh; }}
</style>
<main>
<h1>{name}: before (left) and after (right)</h1>
<img-comparison-slider tabindex="0" role="slider"
 aria-label="how much of the photo before shows"
 aria-valuemin="0" aria-valuemax="100" aria-valuenow="50">
<img slot="first" src="{before}" alt="{name} before">
<img slot="second" src="{after}" alt="{name} after">
<svg slot="handle" viewBox="-10 -10 20 20" width="44" aria-hidden="true"><circle r="9" fill="#000a" stroke="#fff"/>\
<path d="M-2.5-3-5.5 0-2.5 3M2.5-3 5.5 0 2.5 3" stroke="#fff" stroke-width="1.4" fill="none"/></svg>
</img-comparison-slider>
<p>Drag the handle, or use the arrow keys.</p>
</main>
<script>{script}
const slider = document.querySelector("img-comparison-slider");
slider.addEventListener("slide", () => slider.setAttribute("aria-valuenow", String(Math.round(slider.value))));</script>
</html>
"""


def is_page(path: str) -> bool:
    """Whether a file of this name is a page rather than a picture."""
    return path.lower().endswith((".html", ".htm"))


def side_by_side(before: PhotoFile, after: PhotoFile) -> PhotoFile:
    """Both photos, of one size, in one."""
    return replace(after, pixels=np.concatenate([before.pixels, after.pixels], axis=1))


def save_page(before: PhotoFile, after: PhotoFile, path: str, name: str) -> None:
    """Write both photos, of one size, to `path` as a page with a slider; `name` is what it calls the photo."""
    vendor = files("lpie") / "figures" / "vendor"
    page = PAGE.format(
        name=html.escape(os.path.basename(name)),
        style=(vendor / "img-comparison-slider.css").read_text(encoding="utf-8"),
        script=(vendor / "img-comparison-slider.js").read_text(encoding="utf-8"),
        before=_address(before),
        after=_address(after),
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _address(photo: PhotoFile) -> str:
    stored = io.BytesIO()
    encode_photo(photo, stream=stored, kind="JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(stored.getvalue()).decode()
