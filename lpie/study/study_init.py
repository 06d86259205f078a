"""Writes a commented study.toml for a folder of photographs, or for photographs and retouches of them."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lpie.losses import FIDELITIES
from lpie.photos.decoding import KINDS
from lpie.records import write_whole
from lpie.study.settings import Photographs
from lpie.study.sources import Source, photographs_in, small_photo

log = logging.getLogger(__name__)

LARGEST_SIDE = 256  # px, at which networks train on two cores

BEFORE = ("input", "source", "before", "raw", "original")
"""How folders of untouched photographs begin to be called: by FiveK's users (input), PPR10K (source) and others."""


def init_study(folder: Path, retouches: Path | None = None) -> Path:
    """Writes study.toml into `folder`, or beside it where `retouches` is a folder of its own; returns its path.

    Files that cannot be read are not counted; the log names them.

    Without `retouches`, two folders in `folder` of which one is called as in BEFORE are taken for pairs. Raises
    FileExistsError where there is a study file, FileNotFoundError where there is no photograph, and ValueError where
    it cannot be told which folder holds the retouches, or pairs do not match.
    """
    place = folder.parent if retouches else folder
    path = place / "study.toml"
    if path.exists():
        raise FileExistsError(f"{path} exists already: `lpie study check {path}` says what it would train.")
    before, after = (folder, retouches) if retouches else _pairs_in(folder)
    rows = Photographs(folder=str(folder), split="train")
    if after:
        rows = Photographs(input=str(before), target=str(after), split="train")
    sizes = _sizes(photographs_in(rows))
    said = [f'{key} = "{_relative(at, place)}"' for key, at in (("input", before), ("target", after)) if at and after]
    group = "group = '^\\d+_'  # photographs of one person together\n" if before.name == "source" and after else ""
    text = Path(__file__).with_name("study_template.toml").read_text(encoding="utf-8").format(
        name=place.resolve().name,
        side=_training_side(sizes),
        count=f"{len(sizes)} pairs" if after else f"{len(sizes)} photographs",
        rows="\n".join(said or [f'folder = "{_relative(folder, place)}"']),
        operator="pairs" if after else "tone",
        fidelities=", ".join(FIDELITIES),
        group=group,
    )  # fmt: skip
    write_whole(path, text)
    return path


def _pairs_in(folder: Path) -> tuple[Path, Path | None]:
    """The folders of inputs and of retouches in `folder`; the first of several people's retouches, by name."""
    if not folder.is_dir():
        raise FileNotFoundError(f"The folder of photographs {folder} does not exist.")
    holding = sorted(
        one for one in folder.iterdir() if one.is_dir() and any(path.suffix.lower() in KINDS for path in one.iterdir())
    )
    before = [one for one in holding if one.name.lower().startswith(BEFORE)]
    after = [one for one in holding if one not in before]
    if len(before) == 1 and after:
        return before[0], after[0]
    if len(holding) == 2:
        names = " or ".join(one.name for one in holding)
        raise ValueError(
            f"{folder} has two folders, {names}: name the untouched photographs first, then the retouches, as in "
            f"`lpie study init {holding[0]} {holding[1]}`."
        )
    return folder, None


def _sizes(sources: list[Source]) -> list[tuple[float, float]]:
    """The two sides in px of each photograph that can be read."""
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(_size, sources))
    for fault in (one for one in found if isinstance(one, str)):
        log.warning("not counted: %s", fault)
    if sizes := [one for one in found if not isinstance(one, str)]:
        return sizes
    raise ValueError(f"None of the {len(sources)} photographs can be read.")


def _size(source: Source) -> tuple[float, float] | str:
    try:
        first, *_ = [small_photo(path, LARGEST_SIDE) for path in (source.path, source.other) if path]
    except ValueError as error:
        return str(error)
    return len(first.pixels) / first.scale, first.pixels.shape[1] / first.scale


def _training_side(sizes: list[tuple[float, float]]) -> int:
    """A multiple of 16 px, 256 at most, at which nine of ten photographs cover a frame of 3:2."""
    sides = sorted(min(min(size), max(size) / 1.5) for size in sizes)
    usual = 0.95 * sides[len(sides) // 10]  # pairs lose a little when aligned
    return max(16, min(LARGEST_SIDE, int(usual) // 16 * 16))


def _relative(place: Path, to: Path) -> str:
    return Path(os.path.relpath(place, to)).as_posix()
