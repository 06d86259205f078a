"""Photographs named on a command line: files as they are, folders throughout; nothing is left out without a word."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lpie.names import printable
from lpie.photos.decoding import KINDS


@dataclass(frozen=True)
class Skipped:
    """What was not done, a file or a folder, and why."""

    photo: str
    reason: str

    def __str__(self) -> str:
        return printable(self.reason if self.photo in self.reason else f"{self.photo}: {self.reason}")


def photos_in(
    sources: Iterable[str | os.PathLike[str]], results: str | os.PathLike[str] | None = None
) -> Iterator[tuple[Path, Path] | Skipped]:
    """Each photo, and the name relative to its folder that a result takes; for a folder those in it and below it.

    A file named by itself is always given. In folders, names that begin with a dot and the folder `results` are left
    out; folders that cannot be read, or are links, and folders without photos are told.
    """
    for given in sources:
        source = os.fspath(given)
        if not os.path.isdir(source):
            yield Path(source), Path(os.path.basename(source))
            continue
        none = True
        for found in _walked(source, os.path.realpath(results) if results else None):
            none = False
            yield found if isinstance(found, Skipped) else (found, found.relative_to(source))
        if none:
            yield Skipped(source, f"there are no photos in this folder (names ending in {', '.join(KINDS)}).")


def _walked(source: str, results: str | None) -> Iterator[Path | Skipped]:
    unreadable: list[OSError] = []
    for folder, subfolders, names in os.walk(source, onerror=unreadable.append):
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and path.suffix.lower() in KINDS and os.path.isfile(path):
                yield path
        for name in sorted(subfolders):
            if os.path.islink(path := Path(folder, name)):
                yield Skipped(str(path), "a link to a folder is not followed; name it to have its photos done.")
        kept = (name for name in subfolders if results is None or os.path.realpath(Path(folder, name)) != results)
        subfolders[:] = sorted(kept)
    yield from (Skipped(str(error.filename), f"cannot be read ({error.strerror}).") for error in unreadable)
