"""Readers of rating datasets: photographs and how people rated them, as distributions over the ratings 1..10.

Each reads the files as they are distributed. Photographs that are missing or cannot be opened are left out and
counted; a table that does not have the expected layout is an error.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image

log = logging.getLogger(__name__)

RATINGS = np.arange(1.0, 11.0)
Split = Literal["train", "test"]


@dataclass(frozen=True)
class RatedPhotographs:
    """Photographs with the distribution of their ratings; what could not be opened stands in `skipped`."""

    paths: tuple[Path, ...]
    distributions: Float[np.ndarray, "n 10"]
    splits: tuple[Split, ...]
    groups: tuple[str, ...]  # photographs of one scene, which must not be parted by a split
    skipped: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, chosen: Iterable[int] | NDArray[np.int64]) -> RatedPhotographs:
        """Those at the given positions."""
        chosen = [int(index) for index in chosen]
        picked = (tuple(column[index] for index in chosen) for column in (self.paths, self.splits, self.groups))
        paths, splits, groups = picked
        return RatedPhotographs(paths, self.distributions[chosen], splits, groups)  # type: ignore[arg-type]

    def of(self, split: Split) -> RatedPhotographs:
        """Those of one split."""
        return self.take(index for index, own in enumerate(self.splits) if own == split)


def read_ava(folder: str | os.PathLike[str], images: str | os.PathLike[str] | None = None) -> RatedPhotographs:
    """AVA: `AVA.txt`, the photographs `images/<id>.jpg`, and the published split in `aesthetics_image_lists`.

    A line of `AVA.txt` holds index, image id, ten counts of the ratings 1..10, two semantic tags and the challenge.
    What `generic_test.jpgl` lists is `test`, everything else `train`.
    Source: Murray, Marchesotti, Perronnin, AVA: A Large-Scale Database for Aesthetic Visual Analysis, CVPR 2012.
    """
    folder = Path(folder)
    table = _table(folder / "AVA.txt", columns=15)
    ids = table[:, 1].astype(int)
    held_out = _image_list(folder / "aesthetics_image_lists" / "generic_test.jpgl")
    photographs = Path(images) if images else folder / "images"
    return _collect(
        [photographs / f"{image}.jpg" for image in ids],
        _shares(table[:, 2:12]),
        ["test" if image in held_out else "train" for image in ids],
        [str(image) for image in ids],
    )


def read_oasis(folder: str | os.PathLike[str]) -> RatedPhotographs:
    """OASIS: `ratings.csv` with columns `file` and the counts `c1`..`c7` of beauty ratings, and `images`.

    A vote for k of 1..7 stands at 1 + 1.5 (k - 1) on the scale of 1..10 and is shared between the two ratings beside
    it, which keeps the mean exactly. There is no published split: all are `train`; photographs of one theme (`Acorns
    1`, `Acorns 2`) are one group, for cross-validation.
    Source: Kurdi, Lozano, Banaji, Introducing the Open Affective Standardized Image Set, Behavior Research Methods
    2017; Brielmann & Pelli, Intense Beauty Requires Intense Pleasure, Frontiers in Psychology 2019, for the ratings.
    """
    folder = Path(folder)
    table = pd.read_csv(folder / "ratings.csv")
    columns = [f"c{k}" for k in range(1, 8)]
    absent = {"file", *columns} - set(table.columns)
    if absent:
        raise ValueError(f"{folder / 'ratings.csv'}: expected columns file, c1..c7, but {sorted(absent)} are missing.")
    names = table["file"].astype(str).tolist()
    return _collect(
        [folder / "images" / name for name in names],
        _shares(table[columns].to_numpy(float) @ seven_to_ten()),
        ["train"] * len(names),
        [Path(name).stem.rstrip("0123456789_ ") for name in names],
    )


def seven_to_ten() -> Float[np.ndarray, "7 10"]:
    """Row k: how a vote for k of 1..7 is shared among the ratings 1..10; the mean m becomes 1 + 1.5 (m - 1)."""
    positions = 1 + 1.5 * np.arange(7)
    return np.clip(1 - np.abs(positions[:, None] - RATINGS), 0, None)


# Shared by the readers ---------------------------------------------------------------------------------------------


def _table(path: Path, columns: int) -> NDArray[np.float64]:
    """Whitespace-separated numbers; raises ValueError that names the line that does not fit."""
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        try:
            rows.append([float(field) for field in fields])
        except ValueError:
            rows.append([])
        if len(rows[-1]) != columns:
            raise ValueError(f"{path}, line {number}: expected {columns} numbers, got {line[:80]!r}.")
    return np.array(rows)


def _image_list(path: Path) -> set[int]:
    """Image ids, one a line, with or without the file's ending."""
    return {int(Path(line.strip()).stem) for line in path.read_text().splitlines() if line.strip()}


def _shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows divided by their sums; rows without a vote become NaN and are left out by `_collect`."""
    with np.errstate(invalid="ignore"):
        return counts / counts.sum(1, keepdims=True)


def _collect(
    paths: Sequence[Path], distributions: NDArray[np.float64], splits: Sequence[Split], groups: Sequence[str]
) -> RatedPhotographs:
    """What is there and can be opened, with a count of what is not."""
    with ThreadPoolExecutor() as threads:
        readable = list(threads.map(_opens, paths, chunksize=256))
    kept = [index for index in range(len(paths)) if readable[index] and np.isfinite(distributions[index]).all()]
    skipped = tuple(path for path, opens in zip(paths, readable, strict=True) if not opens)
    missing = sum(not path.exists() for path in skipped)
    log.info(
        "%d of %d rated photographs; %d missing, %d broken, %d without a vote%s",
        len(kept),
        len(paths),
        missing,
        len(skipped) - missing,
        int(np.isnan(distributions).any(1).sum()),
        f", such as {skipped[0].name}" if skipped else "",
    )
    whole = RatedPhotographs(tuple(paths), distributions.astype(np.float32), tuple(splits), tuple(groups))
    rated = whole.take(kept)
    return RatedPhotographs(rated.paths, rated.distributions, rated.splits, rated.groups, skipped)


def _opens(path: Path) -> bool:
    """Whether the file's header is that of an image; only decoding would tell whether the rest is there."""
    try:
        with Image.open(path) as photo:
            return min(photo.size) > 0
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False


READERS: dict[str, Callable[[str | os.PathLike[str]], RatedPhotographs]] = {"ava": read_ava, "oasis": read_oasis}
