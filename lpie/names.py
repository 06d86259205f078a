"""Names: rows of tables found by them, and names of files shown on a terminal.

Operators, networks, fidelities, critics and judges are plain dicts of rows.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from operator import attrgetter
from typing import Any, TypeVar

Row = TypeVar("Row")


def find(table: Mapping[str, Row], name: str, what: str) -> Row:
    """The row called `name`; `what` says what the table holds, such as "operator".

    Raises ValueError that gives the nearest name and all of them.
    """
    if name in table:
        return table[name]
    raise ValueError(f"{unknown(table, name, what)}.")


def unknown(names: Iterable[str], name: str, what: str) -> str:
    """What is said of a name that is none of `names`, without a full stop."""
    near = get_close_matches(str(name), names := list(names), n=1, cutoff=0.5)
    meant = f", did you mean {near[0]!r}?" if near else "."
    return f"Unknown {what} {name!r}{meant} Choose one of {', '.join(names)}"


class ProblemsError(ValueError):
    """Several things that are wrong, a line each."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = list(dict.fromkeys(lines))
        super().__init__("\n".join(self.lines))


def printable(text: str) -> str:
    """Text for a terminal: line ends, escape codes and bytes that are no characters are shown, not obeyed."""
    return "".join(
        character if character.isprintable() or unicodedata.category(character) == "Zs" else ascii(character)[1:-1]
        for character in text
    )


def said(error: BaseException) -> str:
    """What an error says; one of the system with its file's name first, and without its number."""
    if isinstance(error, OSError) and error.strerror:
        reason = error.strerror[0].lower() + error.strerror[1:]
        return f"{error.filename}: {reason}." if error.filename is not None else error.strerror
    return str(error) or type(error).__name__


def late(address: str, *given: Any) -> Callable[..., Any]:
    """The function at an address such as `lpie.critic.nima:NIMA.from_pretrained`, imported when it is called.

    `given`: its first arguments. So rows of tables name functions without waiting for torch.
    """
    return partial(_called, address, *given)


def _called(address: str, *arguments: Any, **settings: Any) -> Any:
    module, _, name = address.partition(":")
    return attrgetter(name)(import_module(module))(*arguments, **settings)


def exports(room: str, **modules: str) -> Callable[[str], Any]:
    """A `__getattr__` for the `__init__` of `room`: names found, when first used, in the modules that have them."""
    homes = {name: module for module, names in modules.items() for name in names.split()}

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name not in homes:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        value = getattr(import_module(f"{room}.{homes[name]}"), name)
        setattr(sys.modules[room], name, value)  # a module of the same name would stand there otherwise
        return value

    return __getattr__
