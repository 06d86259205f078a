"""Scores photographs and folders of them: the work behind `lpie score`.

status = score([Path("holiday")], critic="compact")
"""

from __future__ import annotations

import json as json_format
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from lpie.critic.nima import NIMA, mean_score, score_deviation
from lpie.photos.photographs import read_photo
from lpie.photos.reference_scores import ReferenceScores

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".jp2", ".avif", ".ppm", ".pgm")
"""Names that count as photographs in a folder; a file named by itself is always read."""

BATCH = 16  # squares rated at a time
READERS = min(
    4, os.cpu_count() or 1
)  # photos decoded at a time: what bounds the memory, with one 12-MP photo each 150 MB


@dataclass(frozen=True)
class PhotoScore:
    """What a critic says of one photograph; `percentile` is None where the critic has no reference scores."""

    photo: str
    mean: float
    deviation: float
    distribution: tuple[float, ...]
    percentile: float | None


@dataclass(frozen=True)
class Skipped:
    """A file that could not be read as a photograph, and why."""

    photo: str
    reason: str


def score(paths: Sequence[Path], critic: str = "compact", json: bool = False) -> int:
    """Print one line for every photograph of `paths`, files or folders; returns the exit status.

    A line holds mean, deviation, the share of reference photographs that score lower, and the ten probabilities; with
    `json` it is a JSON object with the fields of `PhotoScore` and the critic's name. A file that is no photograph is
    named on the error stream and skipped.

    Status: 0 if every photograph was scored, 1 if some file was skipped or there was none, 2 without the critic.
    """
    try:
        network = NIMA.from_pretrained(critic)
    except (OSError, ValueError) as error:
        print(f"lpie score: {error}", file=sys.stderr)
        return 2
    references = ReferenceScores.of(critic, network)
    scored = skipped = 0
    for result in score_photos(photo_files(paths), network, references):
        if isinstance(result, Skipped):
            skipped += 1
            print(f"skipped {result.photo}: {result.reason}", file=sys.stderr, flush=True)
            continue
        scored += 1
        if scored == 1 and not json:
            print("mean  deviation  above  ratings 1..10 in %              photo")
        print(_json_line(result, critic) if json else _line(result), flush=True)
    if scored and not json and references:
        print(f"above: share of {references.count} reference photographs with a lower mean. {references.median_note}")
    elif scored and not json:
        print(f"above: not known, since {critic} has no reference scores.")
    if not scored and not skipped:
        print(f"lpie score: there are no photos in {', '.join(map(str, paths))}", file=sys.stderr)
    elif skipped:
        print(f"lpie score: {scored} scored, {skipped} skipped", file=sys.stderr)
    return 0 if scored and not skipped else 1


def photo_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Files as given; for a folder the photographs in it and below it, by name, read entry by entry."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for folder, subfolders, names in os.walk(path):
            subfolders.sort()
            shown = (name for name in sorted(names) if not name.startswith("."))
            yield from (Path(folder, name) for name in shown if name.lower().endswith(SUFFIXES))


@torch.inference_mode()
def score_photos(
    files: Iterable[Path], critic: NIMA, references: ReferenceScores | None = None
) -> Iterator[PhotoScore | Skipped]:
    """The score of each file, in order. Holds `READERS` photos and `BATCH` squares at a time, however many files."""
    with ThreadPoolExecutor(READERS) as readers:
        remaining = iter(files)
        reading: deque[tuple[Path, Future[Tensor]]] = deque()

        def read_on(count: int) -> None:
            reading.extend((file, readers.submit(_read_square, file, critic)) for file in islice(remaining, count))

        read_on(READERS + BATCH)
        batch: list[tuple[Path, Tensor | Skipped]] = []
        while reading:
            file, square = reading.popleft()
            try:
                batch.append((file, square.result()))
            except (OSError, ValueError, MemoryError) as error:
                batch.append((file, Skipped(os.fspath(file), _without(file, error))))
            read_on(1)
            if len(batch) == BATCH or not reading or not reading[0][1].done():
                yield from _rated(batch, critic, references)
                batch = []


def _read_square(file: Path, critic: NIMA) -> Tensor:
    """A photo reduced to the critic's square: small, so that no more than the readers' own photos are in memory."""
    with torch.inference_mode():
        return critic.square(read_photo(file))


def _rated(
    batch: list[tuple[Path, Tensor | Skipped]], critic: NIMA, references: ReferenceScores | None
) -> Iterator[PhotoScore | Skipped]:
    squares = [square for _, square in batch if isinstance(square, Tensor)]
    distributions = iter(critic.rate(torch.cat(squares)) if squares else ())
    for file, square in batch:
        if isinstance(square, Skipped):
            yield square
            continue
        distribution = next(distributions)[None]
        mean = mean_score(distribution).item()
        yield PhotoScore(
            os.fspath(file),
            mean,
            score_deviation(distribution).item(),
            tuple(distribution[0].tolist()),
            references.percentile(mean) if references else None,
        )


def _without(file: Path, error: Exception) -> str:
    """The error's words without the file's name, which stands before them."""
    return str(error).removeprefix(f"{os.fspath(file)}: ") or type(error).__name__


def _line(result: PhotoScore) -> str:
    above = "    -" if result.percentile is None else f"{result.percentile:4.0f}%"
    ratings = " ".join(f"{100 * probability:2.0f}" for probability in result.distribution)
    return f"{result.mean:4.2f}  {result.deviation:9.2f}  {above}  {ratings}  {result.photo}"


def _json_line(result: PhotoScore, critic: str) -> str:
    rounded = {
        "photo": result.photo,
        "critic": critic,
        "mean": round(result.mean, 4),
        "deviation": round(result.deviation, 4),
        "percentile": None if result.percentile is None else round(result.percentile, 1),
        "distribution": [round(probability, 6) for probability in result.distribution],
    }
    return json_format.dumps(rounded, ensure_ascii=False)
