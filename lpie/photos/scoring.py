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
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lpie.critic.nima import NIMA, mean_score, nearest_weights, score_standard_deviation
from lpie.imaging.resampling import resize
from lpie.names import printable, said
from lpie.photos.decoding import MOST_MEGAPIXELS
from lpie.photos.enhancement import windows_of
from lpie.photos.folders import Skipped, photos_in
from lpie.photos.photographs import from_pixels
from lpie.photos.reading import PhotoFile, open_photo
from lpie.photos.reference_scores import ReferenceScores
from lpie.photos.signature import conflict
from lpie.photos.tiles import BAND_PIXELS

BATCH = 16  # squares rated at a time
READERS = min(3, os.cpu_count() or 1)  # photos decoded at a time, of which only pixels as stored are in memory


@dataclass(frozen=True)
class PhotoScore:
    """What a critic says of one photograph; `percentile` is None where the critic has no reference scores."""

    photo: str
    mean: float
    standard_deviation: float
    distribution: tuple[float, ...]
    percentile: float | None
    warning: str | None = None  # why this critic is no judge of the photo


class Read(NamedTuple):
    """What is kept of a photo until it is rated."""

    square: Tensor
    warning: str | None


def score(
    paths: Sequence[Path], critic: str = "compact", json: bool = False, max_megapixels: float = MOST_MEGAPIXELS
) -> int:
    """Print one line for every photograph of `paths`, files, folders or - for standard input; returns the exit status.

    A line holds mean, standard deviation, the share of reference photographs that score lower, and the ten
    probabilities; with `json` it is a JSON object with the fields of `PhotoScore` and the critic's name. What could
    not be read is named on the error stream, and so are photographs that this critic cannot judge.

    Status: 0 if all were scored, 1 if something was skipped or there was none. Raises as `NIMA.from_pretrained`.
    """
    network = NIMA.from_pretrained(critic)
    references = ReferenceScores.of(critic, network)
    scored = skipped = 0
    files = (found if isinstance(found, Skipped) else found[0] for found in photos_in(paths))
    for result in score_photos(files, network, references, critic, max_megapixels):
        if isinstance(result, Skipped):
            skipped += 1
            print(f"skipped {result}", file=sys.stderr, flush=True)
            continue
        scored += 1
        if result.warning:
            print(f"warning: {printable(result.photo)}: {result.warning}", file=sys.stderr, flush=True)
        if scored == 1 and not json:
            print("mean  standard deviation  above  ratings 1..10 in %              photo")
        print(_json_line(result, critic) if json else _line(result), flush=True)
    if scored and not json and references:
        print(f"above: share of {references.count} reference photographs with a lower mean. {references.median_note}")
    elif scored and not json:
        print(f"above: not known, since {critic} has no reference scores.")
    if skipped:
        print(f"lpie score: {scored} scored, {skipped} skipped", file=sys.stderr)
    return 0 if scored and not skipped else 1


@torch.inference_mode()
def score_photos(
    files: Iterable[Path | Skipped],
    critic: NIMA,
    references: ReferenceScores | None = None,
    name: str = "",
    max_megapixels: float = MOST_MEGAPIXELS,
) -> Iterator[PhotoScore | Skipped]:
    """The score of each file, in order. Holds `READERS` photos and `BATCH` squares at a time, however many files.

    `name`: of the critic, against which a photo may speak, see `lpie.photos.signature`.
    """
    with ThreadPoolExecutor(READERS) as readers:
        remaining = iter(files)
        reading: deque[tuple[Path, Future[Read | Skipped]]] = deque()

        def read_on(count: int) -> None:
            for file in islice(remaining, count):
                path = Path(file.photo) if isinstance(file, Skipped) else file
                reading.append((path, readers.submit(_read, file, critic, name, max_megapixels)))

        read_on(READERS + BATCH)
        batch: list[tuple[Path, Read | Skipped]] = []
        while reading:
            file, read = reading.popleft()
            batch.append((file, read.result()))
            read_on(1)
            if len(batch) == BATCH or not reading or not reading[0][1].done():
                yield from _rated(batch, critic, references)
                batch = []


def _read(file: Path | Skipped, critic: NIMA, name: str, max_megapixels: float) -> Read | Skipped:
    """A photo reduced to the critic's square, so that no more than the readers' own photos are in memory."""
    if isinstance(file, Skipped):
        return file
    try:
        photo = open_photo(sys.stdin.buffer.read() if str(file) == "-" else file, max_megapixels)
        with torch.inference_mode():
            return Read(square_of(photo, critic), conflict(photo.exif, name))
    except (OSError, ValueError, MemoryError, RuntimeError) as error:
        return Skipped(os.fspath(file), said(error).removeprefix(f"{os.fspath(file)}: "))


def square_of(photo: PhotoFile, critic: NIMA) -> Tensor:
    """The critic's square of a photo as files hold it, made narrow band by band, so that the whole is never floats."""
    height, width = photo.pixels.shape[:2]
    if height * width <= BAND_PIXELS:
        return critic.square(from_pixels(photo.pixels))
    if critic.convention == "published":
        columns = nearest_weights(width, critic.input_size, torch.device("cpu")).argmax(dim=1).numpy()
        return critic.square(from_pixels(np.ascontiguousarray(photo.pixels[:, columns])))
    large = windows_of(photo)
    across = min(width, critic.input_size)
    narrow = torch.empty(1, 3, height, across)  # made once: small bands between large ones would scatter the memory
    for top, bottom in large.bands():
        narrow[:, :, top:bottom] = resize(large.read(top, bottom, 0, width), bottom - top, across)
    return critic.square(narrow)


def _rated(
    batch: list[tuple[Path, Read | Skipped]], critic: NIMA, references: ReferenceScores | None
) -> Iterator[PhotoScore | Skipped]:
    squares = [read.square for _, read in batch if isinstance(read, Read)]
    distributions = iter(critic.rate(torch.cat(squares)) if squares else ())
    for file, read in batch:
        if isinstance(read, Skipped):
            yield read
            continue
        distribution = next(distributions)[None]
        mean = mean_score(distribution).item()
        yield PhotoScore(
            os.fspath(file),
            mean,
            score_standard_deviation(distribution).item(),
            tuple(distribution[0].tolist()),
            references.percentile(mean) if references else None,
            read.warning,
        )


def _line(result: PhotoScore) -> str:
    above = "    -" if result.percentile is None else f"{result.percentile:4.0f}%"
    ratings = " ".join(f"{100 * probability:2.0f}" for probability in result.distribution)
    return f"{result.mean:4.2f}  {result.standard_deviation:18.2f}  {above}  {ratings}  {printable(result.photo)}"


def _json_line(result: PhotoScore, critic: str) -> str:
    rounded = {
        "photo": result.photo,
        "critic": critic,
        "mean": round(result.mean, 4),
        "standard_deviation": round(result.standard_deviation, 4),
        "percentile": None if result.percentile is None else round(result.percentile, 1),
        "distribution": [round(probability, 6) for probability in result.distribution],
    }
    return json_format.dumps(rounded | ({"warning": result.warning} if result.warning else {}))
