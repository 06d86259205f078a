"""Blind votes between renditions of the same photographs, and what they say: the judge *people*.

write_voting_page(folder, Path("vote.html"))     # folder/<rendition>/<photo>: same names in every rendition
votes = read_votes([Path("anna.csv"), Path("ben.csv")])
preferences(votes)                               # how often each rendition is preferred, with intervals
write_votes(votes, Path("results/study"))        # the study's evidence and report take them in
"""

from __future__ import annotations

import logging
import random
import tempfile
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lpie.evidence.statistics import CONFIDENCE
from lpie.people.page import Trial, trial_page
from lpie.people.rating import photographs
from lpie.photos.reading import open_photo
from lpie.records import write_csv, write_whole

log = logging.getLogger(__name__)

CHECK = "check"
"""Name of a rendition that nobody can prefer: the first one reduced to blocks. Whoever does was not looking."""

CHECKS = 0.1  # attention checks for each vote, two at least
PASSED = 0.8  # of the checks that a voter must answer right
RESAMPLES = 1000
PRIOR = 0.25  # votes of each kind added between every two renditions, so that none is endlessly better
STEPS = 60  # of the fit

COLUMNS = ["voter", "photo", "first", "second", "outcome", "ms"]


def write_voting_page(folder: Path, out: Path, seed: int = 0) -> int:
    """Write the page on which the renditions in `folder` are compared two by two; how many votes it asks for.

    `folder` holds a folder for each rendition, such as operator, l2 and critic, with the same photographs. Sides, order
    and places of the attention checks are random; the same `seed` gives the same page. Raises ValueError for fewer
    than two renditions and FileNotFoundError where a photograph is missing in one of them.
    """
    renditions = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if len(renditions) < 2:
        raise ValueError(f"{folder}: expected a folder for each of two or more renditions, got {len(renditions)}.")
    names = [path.relative_to(folder / renditions[0]) for path in photographs(folder / renditions[0])]
    missing = [folder / of / name for of in renditions for name in names if not (folder / of / name).is_file()]
    if missing:
        raise FileNotFoundError(f"Every rendition needs the same photographs: {missing[0]} is missing.")
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as blocks:
        shown = [(name, *pair) for name in names for pair in combinations(renditions, 2)]
        checked = draw.sample(names, min(len(names), max(2, round(CHECKS * len(shown)))))
        shown += [(name, renditions[0], CHECK) for name in checked]
        draw.shuffle(shown)
        trials = []
        for name, *pair in shown:
            draw.shuffle(pair)
            original = folder / renditions[0] / name
            paths = [_blocks(original, Path(blocks)) if of == CHECK else folder / of / name for of in pair]
            trials.append(Trial("|".join((*pair, name.as_posix())), tuple(paths), tuple(pair)))
        key = f"lpie vote {folder.resolve().name} {seed}"
        page, count = trial_page("Which of the two do you prefer?", trials, key, "votes.csv")
    write_whole(out, page)
    return count


def read_votes(files: Sequence[Path]) -> pd.DataFrame:
    """Every vote of every file: voter (the file's name), photo, first, second, outcome, ms.

    `outcome` is 1 where the first rendition was preferred, 0 the second, 0.5 neither. Voters who failed attention
    checks are named in the log and left out. Raises ValueError for a file that a voting page did not write, and if
    no voter is left.
    """
    tables = [_votes_of(Path(file)) for file in files]
    kept = [table for table in tables if table is not None]
    if not kept:
        raise ValueError("No voter is left: every file failed the attention checks or held no vote.")
    return pd.concat(kept, ignore_index=True)


def write_votes(votes: pd.DataFrame, study: Path, baseline: str | None = None) -> None:
    """Give a study's folder the judge *people*: every vote in votes.csv, `preferences` in people.csv.

    The study's evidence reads the first, its report shows the second.
    """
    write_csv(study / "votes.csv", votes)
    write_csv(study / "people.csv", preferences(votes, baseline).round(3))


def preferences(votes: pd.DataFrame, baseline: str | None = None) -> pd.DataFrame:
    """One row per rendition: how likely it is to be preferred to `baseline`, with the interval, and its votes.

    `baseline` is the first rendition by name if left out. Columns rendition, baseline, preferred, low, high, votes,
    voters, photographs. Intervals resample voters and photographs, so that they speak about others of both.

    Source: Bradley and Terry 1952, fitted as Hunter, MM algorithms for generalized Bradley-Terry models, 2004,
    equation 30; a tie counts as half a vote for each.
    """
    names = sorted({*votes["first"], *votes["second"]})
    base = names.index(baseline) if baseline else 0
    chances = _chances(votes, names, base, np.ones((1, len(votes))))[0]
    voters, photos = (pd.factorize(votes[column]) for column in ("voter", "photo"))
    draw = np.random.default_rng(0)
    weight = np.ones((RESAMPLES, len(votes)))
    for codes, known in (voters, photos):
        if len(known) > 1:
            weight *= draw.multinomial(len(known), np.full(len(known), 1 / len(known)), RESAMPLES)[:, codes]
    sides = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    low, high = np.quantile(_chances(votes, names, base, weight), sides, axis=0)
    rows = {"rendition": names, "baseline": names[base], "preferred": chances, "low": low, "high": high}
    counts = [int(((votes["first"] == name) | (votes["second"] == name)).sum()) for name in names]
    table = pd.DataFrame(rows | {"votes": counts, "voters": len(voters[1]), "photographs": len(photos[1])})
    return table[table["rendition"] != names[base]].reset_index(drop=True)


def agreement(votes: pd.DataFrame) -> float:
    """How often two voters say the same of the same two renditions: 0.5 is chance, NaN with one voter."""
    said = votes.pivot_table(index=["photo", "first", "second"], columns="voter", values="outcome")
    pairs = [1 - (said[a] - said[b]).abs() for a, b in combinations(said, 2)]
    return float(pd.concat(pairs).mean()) if pairs else float("nan")


def by_photograph(votes: pd.DataFrame) -> pd.DataFrame:
    """One row per photograph and two renditions: the share of votes for the first, and how many there are."""
    grouped = votes.groupby(["photo", "first", "second"])["outcome"].agg(["mean", "count"])
    return grouped.rename(columns={"mean": "preferred", "count": "votes"}).reset_index()


def _votes_of(file: Path) -> pd.DataFrame | None:
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    if not {"trial", "preferred", "ms"} <= set(table):
        raise ValueError(
            f"{file}: expected the file that a voting page downloads, got columns {', '.join(table.columns)}."
        )
    rows, checks = [], []
    for _, line in table.iterrows():
        one, two, photo = (*line["trial"].split("|", 2), "", "")[:3]
        if line["preferred"] not in ("", one, two) or not photo:
            raise ValueError(f"{file}: {line['trial']!r} does not say which two renditions were shown.")
        if CHECK in (one, two):
            checks.append(line["preferred"] not in ("", CHECK))
            continue
        first, second = sorted((one, two))
        outcome = 0.5 if not line["preferred"] else float(line["preferred"] == first)
        rows.append((file.stem, photo, first, second, outcome, float(line["ms"] or 0)))
    if not rows or (checks and np.mean(checks) < PASSED):
        log.warning("%s is left out: %d of %d attention checks answered right", file.name, sum(checks), len(checks))
        return None
    return pd.DataFrame(rows, columns=COLUMNS)


def _chances(votes: pd.DataFrame, names: list[str], base: int, weight: np.ndarray) -> np.ndarray:
    """The chance that each rendition is preferred to the base, for each row of weights of the votes."""
    first, second = (votes[column].map(names.index).to_numpy() for column in ("first", "second"))
    outcome, count = votes["outcome"].to_numpy(), len(names)
    wins = np.zeros((len(weight), count, count))
    for i, j in combinations(range(count), 2):
        these = (first == i) & (second == j)
        wins[:, i, j] = weight[:, these] @ outcome[these] + PRIOR
        wins[:, j, i] = weight[:, these] @ (1 - outcome[these]) + PRIOR
    together, strength = wins + wins.transpose(0, 2, 1), np.ones((len(weight), count))
    for _ in range(STEPS):
        strength = wins.sum(2) / (together / (strength[:, :, None] + strength[:, None, :])).sum(2)
        strength /= strength.sum(1, keepdims=True)
    return strength / (strength + strength[:, base, None])


def _blocks(photo: Path, folder: Path) -> Path:
    """The photograph reduced to large blocks, as a file in `folder`; itself where the page will say what is wrong."""
    path = folder / f"{photo.stem}-{len(list(folder.iterdir()))}.png"
    try:
        picture = open_photo(photo).picture
    except ValueError:
        return photo
    small = picture.resize((max(1, picture.width // 40), max(1, picture.height // 40)))
    small.resize(picture.size, Image.Resampling.NEAREST).save(path)
    return path
