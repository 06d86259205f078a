"""NIMA, which rates photographs, and the critics: the NIMAs whose opinion trains networks, a row each in `CRITICS`.

Judges, which look at results and never train, are in `lpie.judges`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lpie.names import late

if TYPE_CHECKING:
    CriticName = Literal["compact", "ava", "robust"]  # for type checkers; at run time the table decides
else:
    CriticName = str

__all__ = ["CRITICS", "Critic", "CriticName"]


@dataclass(frozen=True)
class Critic:
    """One network that trains others."""

    name: str
    label: str
    """What readers of tables and figures call it."""
    load: Callable[[], Any]
    """-> NIMA, frozen, on the CPU."""


CRITICS: dict[str, Critic] = {
    name: Critic(name, f"NIMA ({name})", late("lpie.critic.nima:NIMA.from_pretrained", name))
    for name in ("compact", "ava", "robust")
}
