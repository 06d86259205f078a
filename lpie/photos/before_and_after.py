"""Before and after of one photo: side by side in one picture, or a page with a slider that needs no other file."""

from __future__ import annotations

import base64
import html
import io
import os
from dataclasses import replace
from importlib.resources import files
from string import Template

import numpy as np

from lpie.photos.reading import PhotoFile
from lpie.photos.writing import encode_photo
from lpie.records import write_whole


def is_page(path: str) -> bool:
    """Whether a file of this name is a page rather than a picture."""
    return path.lower().endswith((".html", ".htm"))


def side_by_side(before: PhotoFile, after: PhotoFile) -> PhotoFile:
    """Both photos, of one size, in one."""
    return replace(after, pixels=np.concatenate([before.pixels, after.pixels], axis=1))


def save_page(before: PhotoFile, after: PhotoFile, path: str, name: str) -> None:
    """Write both photos, of one size, to `path` as a page with a slider; `name` is what it calls the photo."""
    package = files("lpie")
    template = Template((package / "photos" / "before_and_after.html").read_text(encoding="utf-8"))
    vendor = package / "figures" / "vendor"
    page = template.substitute(
        name=html.escape(os.path.basename(name)),
        style=(vendor / "img-comparison-slider.css").read_text(encoding="utf-8"),
        script=(vendor / "img-comparison-slider.js").read_text(encoding="utf-8"),
        before=_address(before),
        after=_address(after),
    )
    write_whole(path, page)


def _address(photo: PhotoFile) -> str:
    stored = io.BytesIO()
    encode_photo(photo, stream=stored, kind="JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(stored.getvalue()).decode()
