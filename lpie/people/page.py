"""One page on which a person rates photographs or chooses between them; it holds everything and loads nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

PAGE = Path(__file__).with_name("page.html")
LONGEST_SIDE = 1000  # px of a photograph in the page
QUALITY = 88  # of its JPEG
PLACE = '<script type="application/json" id="content">{}</script>'


@dataclass(frozen=True)
class Trial:
    """One question: a photograph to rate, or two to choose from, shown in this order."""

    name: str
    """Unique within the page; the table of answers begins with it."""
    images: tuple[Path, ...]
    labels: tuple[str, ...]
    """What the table of answers calls each image; never shown."""

    def __post_init__(self) -> None:
        if len(self.images) not in (1, 2) or len(self.labels) != len(self.images):
            raise ValueError(f"{self.name}: expected one image or two, each with a label, got {len(self.images)}.")


def trial_page(title: str, trials: Sequence[Trial], key: str, file: str = "answers.csv") -> tuple[str, int]:
    """The HTML of a page that asks `trials` one after the other, and how many of them it holds.

    Keys 1..9 and 0 rate, arrows choose, Backspace takes the last answer back. The browser remembers the answers under
    `key`; a button downloads them as `file`, with columns trial, photo, rating, preferred, other and milliseconds,
    and another goes on from such a file. Photographs that cannot be read are named in the log, their trials left out.
    Raises ValueError if no trial is left.
    """
    data: dict[Path, str] = {}
    for image in dict.fromkeys(image for trial in trials for image in trial.images):
        try:
            data[image] = embedded(image)
        except (ValueError, OSError) as error:
            log.warning("Left out: %s", error)
    shown = []
    for trial in trials:
        if set(trial.images) <= data.keys():
            named = zip(trial.labels, trial.images, strict=True)
            shown.append({"name": trial.name, "images": [{"name": name, "data": data[image]} for name, image in named]})
    if not shown:
        raise ValueError(f"None of the {len(trials)} questions is left: no photograph could be read.")
    content = json.dumps({"title": title, "key": key, "file": file, "trials": shown}).replace("<", "\\u003c")
    return PAGE.read_text(encoding="utf-8").replace(PLACE, PLACE.replace("{}", content)), len(shown)


def embedded(photo: Path) -> str:
    """The photograph as a data address: JPEG, at most 1000 px a side."""
    from PIL import Image

    from lpie.photos.reading import open_photo
    from lpie.photos.writing import data_address

    small = open_photo(photo).picture
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    return data_address(small, "JPEG", quality=QUALITY)
