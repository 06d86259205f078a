"""One person's ratings and choices of photographs, as `lpie rate` writes them or as a simulated person gives them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.color import rgb2lab

from lpie.photos.photographs import demo_photographs, to_pixels, write_photo
from lpie.records import write_csv

COLUMNS = (("photo", "rating"), ("preferred", "other"))
CROP = 224  # px
MOOD = 0.7  # standard deviation, in ratings, of what the person says when asked twice


@dataclass(frozen=True)
class Opinions:
    """Photographs; `ratings` 1..10 of those at the positions `rated`; `choices` (m, 2), the preferred one first."""

    photos: tuple[Path, ...]
    rated: NDArray[np.int64]
    ratings: NDArray[np.float64]
    choices: NDArray[np.int64]

    def of(self, kept: NDArray[np.int64]) -> Opinions:
        """The opinions about the photographs at the positions `kept` alone; positions stay as they are."""
        known = np.isin(np.arange(len(self.photos)), kept)
        rated = known[self.rated]
        return Opinions(self.photos, self.rated[rated], self.ratings[rated], self.choices[known[self.choices].all(1)])

    def groups(self, fewest: int = 5) -> NDArray[np.int64]:
        """A group for each photograph; compared ones share theirs, unless that leaves fewer than `fewest` groups."""
        count = len(self.photos)
        links = coo_array((np.ones(len(self.choices)), (*self.choices.T,)), shape=(count, count))
        found, labels = connected_components(links, directed=False)
        return labels.astype(np.int64) if found >= fewest else np.arange(count)


def read_opinions(file: Path, folder: Path | None = None) -> Opinions:
    """A CSV file with columns `photo, rating` or `preferred, other`, or all four; of repeated ones the last counts.

    Photographs are named relative to `folder`, by default that of the file. Raises ValueError, with the line, for
    other columns or ratings outside 1..10, FileNotFoundError for photographs that are missing.
    """
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    if not any(set(pair) <= set(table.columns) for pair in COLUMNS):
        raise ValueError(f"{file}: expected columns photo,rating or preferred,other, got {','.join(table.columns)}.")
    ratings: dict[str, float] = {}
    choices: dict[frozenset[str], tuple[str, str]] = {}
    for line, row in enumerate(table.to_dict("records"), 2):
        if row.get("photo"):
            ratings[row["photo"]] = _rating(row.get("rating", ""), f"{file}, line {line}")
        if row.get("preferred"):
            if row.get("other", "") in ("", row["preferred"]):
                raise ValueError(f"{file}, line {line}: expected two photographs, got {row['preferred']!r} alone.")
            choices[frozenset((row["preferred"], row["other"]))] = (row["preferred"], row["other"])
    names = list(dict.fromkeys([*ratings, *(name for pair in choices.values() for name in pair)]))
    place = {name: number for number, name in enumerate(names)}
    photos = tuple((folder or file.parent) / name for name in names)
    missing = [path for path in photos if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(photos)} photographs of {file} are missing, such as {missing[0]}: "
            "name their folder with --data."
        )
    pairs = np.array([[place[one], place[other]] for one, other in choices.values()], np.int64).reshape(-1, 2)
    return Opinions(
        photos, np.array([place[n] for n in ratings], np.int64), np.array([*ratings.values()], float), pairs
    )


def _rating(text: str, where: str) -> float:
    rating = float(pd.to_numeric(text, errors="coerce"))
    if not 1 <= rating <= 10:
        raise ValueError(f"{where}: expected a rating between 1 and 10, got {text!r}.")
    return rating


def simulate_person(folder: Path, count: int = 70, seed: int = 0) -> Path:
    """Write `count` crops to `folder` with ratings 1..10 by someone who likes color; returns the table's path.

    The more colorful a crop is (mean chroma in CIELAB) the higher its rank among them, and its rating but for mood.
    """
    random = np.random.default_rng(seed)
    photos = list(demo_photographs(2 * CROP).items())
    names, chroma = [], []
    for number in range(count):
        name, photo = photos[number % len(photos)]
        top, left = (int(random.integers(0, length - CROP + 1)) for length in photo.shape[2:])
        crop = photo[..., top : top + CROP, left : left + CROP]
        names.append(f"{name}-{number:02}.jpg")
        write_photo(crop, folder / names[-1])
        chroma.append(float(np.hypot(*rgb2lab(to_pixels(crop, 8))[..., 1:].transpose(2, 0, 1)).mean()))
    rank = np.argsort(np.argsort(chroma)) / (count - 1)
    ratings = np.clip(1 + 9 * rank + random.normal(0, MOOD, count), 1, 10).round()
    write_csv(folder / "ratings.csv", pd.DataFrame({"photo": names, "rating": ratings}))
    return folder / "ratings.csv"
