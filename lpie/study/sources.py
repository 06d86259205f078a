"""The photographs of a study, found and dealt out to its splits before anything is read or computed.

A registry set, a folder of photographs or two folders of pairs become a list of `Source`s, each with a name of its own.
Nothing here needs torch, so that `lpie study check` answers at once.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

from lpie.names import ProblemsError
from lpie.photos.decoding import KINDS
from lpie.photos.reading import PhotoFile, open_photo
from lpie.registry import fetch_all, is_public, names_in, registered
from lpie.study.settings import SPLITS, STUDIED, Lists, Photographs, Profile, Shares, Split

DEMO = ("astronaut", "chelsea", "coffee", "rocket", "motorcycle", "china", "flower")
SAME = 4  # bits of 64 in which the perceptual hashes of one photograph at two sizes differ at most
SEPARATORS = re.compile(r"[ _.-]")


@dataclass(frozen=True)
class Source:
    """A photograph before anything is done to it."""

    name: str
    split: Split
    path: Path | None  # None: one of DEMO, called `name`
    other: Path | None = None  # the same scene as a person finished it, or without haze
    hazy: bool = False  # it is hazy as it is
    registered: bool = False  # its bytes are those of the registry
    public: bool = False  # anyone may pass it on


def find_sources(profile: Profile, operator: str, splits: Sequence[Split] = STUDIED) -> list[Source]:
    """Every photograph of `profile` for `operator` in one of `splits`.

    Raises FileNotFoundError and ValueError that name the folder or photograph: nothing there, pairs that do not match,
    one name twice, a list with a name that is not there, a split without any.
    """
    sources = [
        source
        for rows in profile.photographs
        if not rows.operators or operator in rows.operators
        for source in photographs_in(rows, splits)
    ]
    if operator == "pairs" and (lonely := [source.name for source in sources if source.other is None]):
        raise ValueError(f"Operator pairs needs photographs with an input and a target, {lonely[0]} has no target.")
    twice = {source.name for source in sources}
    for source in sources:
        if source.name not in twice:
            raise ValueError(f"Two photographs are called {source.name}: give their folders different names.")
        twice.discard(source.name)
    for split in splits:
        if not any(source.split == split for source in sources):
            raise ValueError(f"No photograph of {operator} is in the split {split}, of {len(sources)} in all.")
    return sources


def photographs_in(rows: Photographs, splits: Sequence[Split] = SPLITS) -> list[Source]:
    """The photographs of one place that are in `splits`; of a registry's set no others are downloaded.

    Errors as `find_sources`.
    """
    if rows.set == "demo":
        chosen = {name: split for name, split in _splits(DEMO, rows).items() if split in splits}
        return [Source(*one, None, hazy=rows.hazy, registered=True, public=True) for one in chosen.items()]
    first = rows.set or rows.folder or rows.input
    inputs, registered = _files(first, bool(rows.set))
    files = _named(inputs)
    dealt = _splits(sorted(files)[rows.start : rows.stop], rows)
    kept = {name: split for name, split in dealt.items() if split in splits}
    paths: Sequence[Path] = _here([files[name] for name in kept], registered)
    others: Sequence[Path | None] = [None] * len(kept)
    if rows.target:
        targets, also_registered = _files(rows.target)
        pairs = match_pairs(files, _named(targets))
        others = _here([pairs[name] for name in kept], also_registered)
    folder = Path(first).parent if "*" in first else Path(first)
    prefix, public = f"{rows.name or folder.name}-", registered and is_public(first)
    return [
        Source(re.sub(r"[^\w.() +-]", "_", prefix + name), split, path, other, rows.hazy, registered, public)
        for (name, split), path, other in zip(kept.items(), paths, others, strict=True)
    ]


def _files(place: str, registry: bool = False) -> tuple[list[Path], bool]:
    """The photographs in a folder and its subfolders, that match a pattern, or in a set of the registry; and which.

    Those of the registry by their names there.
    """
    expanded = os.path.expandvars(os.path.expanduser(place))
    if missing := re.findall(r"\$\w+", expanded):
        raise FileNotFoundError(f"{place} needs {missing[0]}, which is not set: set it to a folder of photographs.")
    folder, pattern = (Path(expanded).parent, Path(expanded).name) if "*" in expanded else (Path(expanded), "**/*")
    registry = registry or (not folder.is_dir() and any(Path(name).is_relative_to(folder) for name in registered()))
    if registry:
        paths = [path for path in map(Path, names_in(folder.as_posix())) if pattern == "**/*" or path.match(pattern)]
    elif folder.is_dir():
        paths = [path for path in folder.glob(pattern) if not path.name.startswith(".")]
    else:
        raise FileNotFoundError(f"The folder of photographs {expanded} does not exist.")
    paths = sorted(path for path in paths if path.suffix.lower() in KINDS)
    if not paths:
        raise FileNotFoundError(f"{expanded} holds no photograph ({', '.join(KINDS)}).")
    return paths, registry


def _here(paths: Sequence[Path], registry: bool) -> Sequence[Path]:
    """Where the files lie; those of the registry, named as there, are downloaded if they lie nowhere."""
    return fetch_all([path.as_posix() for path in paths]) if registry else paths


def _named(paths: Sequence[Path]) -> dict[str, Path]:
    """Each photograph by its path below the folder that holds them all, without suffix."""
    top = Path(os.path.commonpath([path.parent for path in paths]))
    named: dict[str, Path] = {}
    for path in paths:
        name = "-".join(path.relative_to(top).with_suffix("").parts)
        if name in named:
            raise ValueError(f"{path} and {named[name]} have one name: keep one of them.")
        named[name] = path
    return named


def match_pairs(inputs: Mapping[str, Path], targets: Mapping[str, Path]) -> dict[str, Path]:
    """The target of each input: of the same name, else of the longest with which one of both begins.

    So `a0001` belongs to `a0001_retouched`, `27_hazy` (of a pattern) to `27_GT`. ValueError names inputs without one.
    """
    if all("*" not in name for name in (*inputs, *targets)) and not inputs.keys() & targets.keys():
        inputs_by, targets_by = (_without_common_end(names) for names in (inputs, targets))
    else:
        inputs_by, targets_by = dict(zip(inputs, inputs, strict=True)), dict(zip(targets, targets, strict=True))
    found, lonely = {}, []
    for name, stem in inputs_by.items():
        near = [other for other, end in targets_by.items() if _goes_on(stem, end) or _goes_on(end, stem)]
        if near:
            found[name] = targets[max(near, key=lambda other: (targets_by[other] == stem, len(targets_by[other])))]
        else:
            lonely.append(name)
    if lonely:
        which = ", ".join(lonely[:3]) + (f" and {len(lonely) - 3} more" if len(lonely) > 3 else "")
        raise ValueError(f"{len(lonely)} of {len(inputs)} inputs have no target of their name: {which}.")
    return found


def _goes_on(longer: str, shorter: str) -> bool:
    return longer == shorter or bool(longer.startswith(shorter) and SEPARATORS.match(longer[len(shorter) :]))


def _without_common_end(names: Iterable[str]) -> dict[str, str]:
    """Each name without the word that all of them end in, such as `_hazy`."""
    listed = list(names)
    ends = {SEPARATORS.split(name)[-1] for name in listed}
    cut = len(ends.pop()) + 1 if len(ends) == 1 and len(listed) > 1 else 0
    return {name: name[: len(name) - cut] for name in listed}


def _splits(names: Sequence[str], rows: Photographs) -> dict[str, Split]:
    if isinstance(rows.split, str):
        return dict.fromkeys(names, rows.split)
    if isinstance(rows.split, Lists):
        listed = {name: split for split in SPLITS for name in getattr(rows.split, split)}
        if unknown := [name for name in listed if name not in names]:
            raise ValueError(f"No photograph {unknown[0]!r} in {rows.set or rows.folder or rows.input}, as listed.")
        if len(listed) < sum(len(some) for some in asdict(rows.split).values()):
            raise ValueError(f"A photograph of {rows.set or rows.folder or rows.input} is listed in two splits.")
        return listed
    return deal(names, rows.split, rows.group)


def deal(names: Sequence[str], shares: Shares, group: str = "") -> dict[str, Split]:
    """Names in the order of the SHA-256 of their group: the first to train, the next to choose, and so on."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found = re.search(group, name) if group else None
        groups[found[0] if found else name].append(name)
    wanted = {split: share for split in SPLITS if (share := getattr(shares, split))}
    if len(groups) < len(wanted):
        raise ValueError(f"{len(groups)} photograph(s) cannot be dealt out to {len(wanted)} splits: more are needed.")
    sizes = {split: max(1, round(share * len(groups))) for split, share in wanted.items()}
    largest = max(sizes, key=lambda split: sizes[split])
    sizes[largest] += len(groups) - sum(sizes.values())
    ranked = iter(sorted(groups, key=lambda key: hashlib.sha256(key.encode()).hexdigest()))
    return {name: split for split, size in sizes.items() for _ in range(size) for name in groups[next(ranked)]}


def find_overlaps(sources: Sequence[Source]) -> list[tuple[Source, Source]]:
    """Pairs in different splits that show one photograph, also resized; ProblemsError names what cannot be read."""
    files = [source for source in sources if source.path]
    with ThreadPoolExecutor() as pool:
        hashes = list(pool.map(lambda source: _perceptual_hash(source.path), files))
    if faults := [fault for _, fault in hashes if fault]:
        raise ProblemsError(faults)
    return [
        (one, other)
        for (one, (first, _)), (other, (second, _)) in combinations(zip(files, hashes, strict=True), 2)
        if one.split != other.split and (first ^ second).bit_count() <= SAME
    ]


def refuse_overlaps(sources: Sequence[Source]) -> None:
    """Raises ProblemsError that name each own photograph which is in two splits; those of the registry are known."""
    overlaps = find_overlaps([source for source in sources if not source.registered])
    if overlaps:
        raise ProblemsError(
            f"{one.name} ({one.split}) and {other.name} ({other.split}) show the same photograph: keep one of them."
            for one, other in overlaps
        )


def _perceptual_hash(path: Path | None) -> tuple[int, str]:
    """64 bits, and what is wrong where a file cannot be read."""
    import imagehash

    try:
        return int(str(imagehash.phash(small_photo(path, 256).picture)), 16), ""
    except (OSError, ValueError) as error:
        return 0, str(error)


def small_photo(path: Path | None, side: int) -> PhotoFile:
    """A photo, of a larger JPEG no more than keeps `side` px; raises ValueError as `open_photo`, with what to do."""
    try:
        return open_photo(str(path), side=side)
    except ValueError as error:
        raise ValueError(f"{error} Remove it, or put a whole one in its place.") from error
