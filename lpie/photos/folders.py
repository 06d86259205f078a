"""Photographs named on a command line, files and whole folders, and where results go; what is left out is named."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lpie.names import printable
from lpie.photos.before_and_after import is_page
from lpie.photos.decoding import KINDS
from lpie.photos.writing import WRITTEN, kind_of


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
    out; folders that cannot be read, or are links, and folders without photos are reported.
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
            if not name.startswith(".") and path.suffix.lower() in KINDS:
                yield path if os.path.isfile(path) else Skipped(str(path), "is no file, or a link that leads to none.")
        for name in sorted(subfolders):
            if os.path.islink(path := Path(folder, name)):
                yield Skipped(str(path), "a link to a folder is not followed; name it to have its photos done.")
        kept = (name for name in subfolders if results is None or os.path.realpath(Path(folder, name)) != results)
        subfolders[:] = sorted(kept)
    yield from (Skipped(str(error.filename), f"cannot be read ({error.strerror}).") for error in unreadable)


def pairs(sources: Sequence[str], out: str) -> Iterable[tuple[str, str] | Skipped]:
    """Each photo and where it goes; raises ValueError or FileNotFoundError where that is not clear."""
    if out == "-" or "-" in sources:
        if len(sources) != 1 or os.path.isdir(sources[0]):
            raise ValueError("Standard input and output carry one photo: give one source, not a folder.")
        if out != "-":
            kind_of(out)
        return [(sources[0], out)]
    if not out:
        raise ValueError("The name of the result is empty: name a file or a folder.")
    into_folder = os.path.isdir(out) or out.endswith(os.sep)
    if not into_folder and len(sources) == 1 and not os.path.isdir(sources[0]):
        if is_page(out):
            return [(sources[0], out)]
        kind_of(out)
        return _targets([(Path(sources[0]), Path(""))], Path(out))
    if not into_folder and (os.path.exists(out) or is_page(out) or Path(out).suffix.lower() in KINDS):
        raise ValueError(f"{out}: expected a folder for {', '.join(sources[:3])}, got one file's name; name a folder.")
    return _targets(photos_in(sources, out), Path(out))


def _targets(found: Iterable[tuple[Path, Path] | Skipped], out: Path) -> Iterator[tuple[str, str] | Skipped]:
    taken: dict[Path, Path] = {}
    for one in found:
        if isinstance(one, Skipped):
            yield one
            continue
        path, name = one
        target = out / name
        if KINDS.get(target.suffix.lower()) not in WRITTEN:
            target = target.with_suffix(".png")
        if os.path.realpath(target) == os.path.realpath(path):
            raise ValueError(f"{path}: would be overwritten; name another file or folder for the result.")
        if target in taken:
            yield Skipped(str(path), f"{taken[target]} becomes {target} too; enhance this one by itself.")
            continue
        taken[target] = path
        yield os.fspath(path), os.fspath(target)
