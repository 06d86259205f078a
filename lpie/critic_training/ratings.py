"""Readers of rating datasets: photographs and how people rated them, as distributions over the ratings 1..10.

Each reads the files as they are distributed. Photographs that are missing are left out and counted, those that cannot
be decoded where they are read; a table of another layout is an error.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import NDArray

log = logging.getLogger(__name__)

RATINGS = np.arange(1.0, 11.0)
TEST_THEME = 5  # every fifth theme of OASIS is kept for testing
Split = Literal["train", "test"]


@dataclass(frozen=True)
class RatedPhotographs:
    """Photographs with the distribution of their ratings."""

    paths: tuple[Path, ...]
    distributions: Float[np.ndarray, "n 10"]
    splits: tuple[Split, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, chosen: Iterable[int] | NDArray[np.int64]) -> RatedPhotographs:
        """Those at the given positions."""
        chosen = [int(index) for index in chosen]
        paths, splits = tuple(self.paths[index] for index in chosen), tuple(self.splits[index] for index in chosen)
        return RatedPhotographs(paths, self.distributions[chosen], splits)

    def of(self, split: Split) -> RatedPhotographs:
        """Those of one split."""
        return self.take(index for index, own in enumerate(self.splits) if own == split)


def read_ava(folder: str | os.PathLike[str]) -> RatedPhotographs:
    """AVA: `AVA.txt`, the photographs `images/<id>.jpg`, and the published split in `aesthetics_image_lists`.

    A line of `AVA.txt` holds index, image id, ten counts of the ratings 1..10, two semantic tags and the challenge.
    What `generic_test.jpgl` lists is `test`, everything else `train`.
    Source: Murray, Marchesotti, Perronnin, AVA: A Large-Scale Database for Aesthetic Visual Analysis, CVPR 2012.
    """
    folder = Path(folder)
    try:
        table = np.loadtxt(folder / "AVA.txt", ndmin=2)
    except ValueError as error:
        raise ValueError(f"{folder / 'AVA.txt'}: expected 15 numbers in each line ({error}).") from error
    if table.shape[1] != 15:
        raise ValueError(f"{folder / 'AVA.txt'}: expected 15 numbers in each line, got {table.shape[1]}.")
    ids = table[:, 1].astype(int)
    listed = (folder / "aesthetics_image_lists" / "generic_test.jpgl").read_text().split()
    held_out = {int(Path(name).stem) for name in listed}  # with or without the file's ending
    paths = [folder / "images" / f"{image}.jpg" for image in ids]
    return _collect(paths, table[:, 2:12], ["test" if image in held_out else "train" for image in ids])


def read_oasis(folder: str | os.PathLike[str]) -> RatedPhotographs:
    """OASIS: `ratings.csv` with columns `file` and the counts `c1`..`c7` of beauty ratings, and `images`.

    A vote for k of 1..7 stands at 1 + 1.5 (k - 1) on the scale of 1..10 and is shared between the two ratings beside
    it, which keeps the mean exactly. There is no published split: every fifth theme (`Acorns 1` and `Acorns 2` are one)
    is `test`, the others are `train`.
    Source: Kurdi, Lozano, Banaji, Introducing the Open Affective Standardized Image Set, Behavior Research Methods
    2017; Brielmann & Pelli, Intense Beauty Requires Intense Pleasure, Frontiers in Psychology 2019, for the ratings.
    """
    folder = Path(folder)
    table = pd.read_csv(folder / "ratings.csv")
    columns = [f"c{k}" for k in range(1, 8)]
    absent = {"file", *columns} - set(table.columns)
    if absent:
        raise ValueError(f"{folder / 'ratings.csv'}: expected columns file, c1..c7, but {sorted(absent)} are missing.")
    names = table["file"].astype(str)
    themes = pd.factorize(names.map(lambda name: Path(name).stem.rstrip("0123456789_ ")))[0]
    splits: list[Split] = ["test" if theme % TEST_THEME == TEST_THEME - 1 else "train" for theme in themes]
    return _collect(
        [folder / "images" / name for name in names], table[columns].to_numpy(float) @ seven_to_ten(), splits
    )


def seven_to_ten() -> Float[np.ndarray, "7 10"]:
    """Row k: how a vote for k of 1..7 is shared among the ratings 1..10; the mean m becomes 1 + 1.5 (m - 1)."""
    positions = 1 + 1.5 * np.arange(7)
    return np.clip(1 - np.abs(positions[:, None] - RATINGS), 0, None)


def _collect(paths: Sequence[Path], counts: NDArray[np.float64], splits: Sequence[Split]) -> RatedPhotographs:
    """Photographs that are there and have votes, with a count of the others in the log."""
    there = np.array([path.is_file() for path in paths], bool)
    votes = counts.sum(1)
    whole = RatedPhotographs(tuple(paths), (counts / np.maximum(votes, 1)[:, None]).astype(np.float32), tuple(splits))
    rated = whole.take(np.flatnonzero(there & (votes > 0)))
    missing = [path.name for path in paths if not path.is_file()]
    such = f", such as {missing[0]}" if missing else ""
    counted = len(rated), len(paths), len(missing), int((votes == 0).sum()), such
    log.info("%d of %d rated photographs; %d missing, %d without a vote%s", *counted)
    return rated


READERS: dict[str, Callable[[str | os.PathLike[str]], RatedPhotographs]] = {"ava": read_ava, "oasis": read_oasis}
