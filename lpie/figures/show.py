"""A picture in a notebook, with its alternative text."""

from __future__ import annotations

import base64
import html
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.display import HTML

KINDS = {".png": "png", ".webp": "webp", ".jpg": "jpeg", ".jpeg": "jpeg"}


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
