"""Rows of a table found by name: operators, networks, fidelities, critics and judges are plain dicts of them."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

Row = TypeVar("Row")


def find(table: Mapping[str, Row], name: str, what: str) -> Row:
    """The row called `name`; `what` says what the table holds, such as "operator".

    Raises ValueError that gives the nearest name and all of them.
    """
    if name in table:
        return table[name]
    near = get_close_matches(str(name), table, n=1, cutoff=0.5)
    meant = f", did you mean {near[0]!r}?" if near else "."
    raise ValueError(f"Unknown {what} {name!r}{meant} Choose one of {', '.join(table)}.")
