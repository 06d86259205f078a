"""Which modules of the package another one rests on, read from their syntax trees, and the digests of their texts."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def reachable(modules: Iterable[Path]) -> set[Path]:
    """`modules` and everything of the package that they import, directly or not, at once or inside functions."""
    found: set[Path] = set()
    waiting = set(modules)
    while waiting:
        module = waiting.pop()
        found.add(module)
        waiting |= imports(module.read_text(encoding="utf-8"), module) - found
    return found


def source_digests(modules: Iterable[Path]) -> dict[str, str]:
    """Sixteen hex digits of each module's text, by its path in the package."""
    return {
        module.relative_to(PACKAGE).as_posix(): hashlib.sha256(module.read_bytes()).hexdigest()[:16]
        for module in sorted(modules)
    }


def imports(source: str, importing: Path | None = None) -> set[Path]:
    """Files of the package that a source imports; its public names may lead anywhere, so they mean all of it."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found |= _files(name) or _files(str(node.module)) if name.startswith("lpie.") else set()
        elif isinstance(node, ast.Import):
            for alias in node.names:
                found |= _files(alias.name)
    if importing is None:  # a notebook: the names of a room may lie in any of its modules
        for room in [path.parent for path in found if path.name == "__init__.py"]:
            found |= set(modules_in() if room == PACKAGE else modules_in(room.name))
    return found


@cache
def modules_in(*rooms: str) -> tuple[Path, ...]:
    """Every module of the package, or of some of its rooms, such as `operators`."""
    folders = [PACKAGE / room for room in rooms] or [PACKAGE]
    return tuple(sorted(module for folder in folders for module in folder.rglob("*.py")))


def _files(dotted: str) -> set[Path]:
    """The file of a module, or the __init__ of a package; empty if `dotted` is neither."""
    first, *rest = dotted.split(".")
    if first != "lpie":
        return set()
    place = PACKAGE.joinpath(*rest)
    candidates = (place.with_suffix(".py"), place / "__init__.py")
    return {candidate for candidate in candidates if candidate.is_file()}
