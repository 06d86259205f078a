"""A person's own ratings and choices of the photographs in a folder, on a page or in JupyterLab."""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lpie.people.page import Trial, embedded, trial_page

if TYPE_CHECKING:
    from ipywidgets import Widget

log = logging.getLogger(__name__)

CHOICES_A_PHOTO = 1.5  # pairs to choose from, for each photograph


def write_rating_page(folder: Path, out: Path, choices: bool = False, seed: int = 0) -> int:
    """Write the page on which the photographs in and below `folder` are rated, or chosen from in pairs; how many.

    The order is random; the same `seed` gives the same page, so that the browser finds earlier answers again.
    Raises FileNotFoundError without photographs.
    """
    from lpie.records import write_whole

    photos = photographs(folder)
    draw = random.Random(seed)
    draw.shuffle(photos)
    trials = [Trial(label(folder, photo), (photo,), (label(folder, photo),)) for photo in photos]
    if choices:
        pairs: dict[frozenset[Path], tuple[Path, Path]] = {}
        while len(pairs) < min(CHOICES_A_PHOTO * len(photos), len(photos) * (len(photos) - 1) // 2):
            pair = draw.sample(photos, 2)
            pairs.setdefault(frozenset(pair), (pair[0], pair[1]))
        names = {pair: (label(folder, pair[0]), label(folder, pair[1])) for pair in pairs.values()}
        trials = [Trial(" | ".join(names[pair]), pair, names[pair]) for pair in pairs.values()]
    kind = "choices" if choices else "ratings"
    question = "Which of the two do you prefer?" if choices else "How much do you like this photograph?"
    page, shown = trial_page(question, trials, f"lpie {kind} {folder.resolve().name} {seed}", f"{kind}.csv")
    write_whole(out, page)
    return shown


def rate_photographs(folder: Path, file: Path) -> Widget:
    """The same in JupyterLab: one photograph after the other, buttons 1 to 10 or a digit typed, kept in `file`.

    `file` is a CSV table with the columns photo and rating, written after each answer; photographs that it rates
    already are not asked again. Raises FileNotFoundError without photographs, ImportError without ipywidgets.
    """
    import ipywidgets as widgets
    import pandas as pd

    from lpie.records import write_csv

    rated = dict(pd.read_csv(file, dtype={"photo": str})[["photo", "rating"]].to_numpy()) if file.exists() else {}
    waiting = [photo for photo in photographs(folder) if label(folder, photo) not in rated]
    picture = widgets.HTML()
    said = widgets.Label()
    typed = widgets.Text(placeholder="or type 1 to 9, 0 for 10", continuous_update=True)
    buttons = [widgets.Button(description=str(rating), layout={"width": "3rem"}) for rating in range(1, 11)]

    def draw() -> None:
        said.value = f"{len(rated)} rated, {len(waiting)} to go"
        shown = '<img alt="the photograph to rate" style="max-height: 60vh" src="{}">'
        picture.value = shown.format(embedded(waiting[0])) if waiting else "Done."

    def rate(rating: int) -> None:
        if waiting:
            rated[label(folder, waiting.pop(0))] = rating
            write_csv(file, pd.DataFrame(rated.items(), columns=["photo", "rating"]))
        draw()

    def read(change: Any) -> None:
        if change["new"][-1:].isdigit():
            rate(int(change["new"][-1]) or 10)
        typed.value = ""

    for rating, button in enumerate(buttons, 1):
        button.on_click(lambda _, rating=rating: rate(rating))
    typed.observe(read, "value")
    draw()
    return widgets.VBox([picture, widgets.HBox(buttons), typed, said])


def photographs(folder: Path) -> list[Path]:
    """The photographs in and below `folder`, by name; raises FileNotFoundError if there is none."""
    from lpie.photos.folders import Skipped, photos_in

    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder of photographs.")
    found = list(photos_in([folder]))
    for skipped in found:
        if isinstance(skipped, Skipped):
            log.warning("Left out: %s", skipped)
    photos = [photo[0] for photo in found if not isinstance(photo, Skipped)]
    if not photos:
        raise FileNotFoundError(f"{folder}: there are no photographs in this folder.")
    return photos


def label(folder: Path, photo: Path) -> str:
    """The name of a photograph in tables: its path below `folder`, never one that a spreadsheet takes for a formula."""
    name = photo.relative_to(folder).as_posix()
    return f"./{name}" if name[0] in "=+-@" else name
