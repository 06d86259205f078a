"""What tables and figures call things, for readers who do not know the code.

Operators, families, fidelities and critics are called what the rows of their tables say; a name without a row is
shown as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lpie.critic import CRITICS
from lpie.losses import FIDELITIES
from lpie.networks import FAMILIES
from lpie.operators import OPERATORS

OTHERS = {
    "trivial": "trivial edit",
    "universal": "universal attack",
    "perturbation": "CNN attack",
    "input": "input",
    "target": "operator's target",
}
"""What stands in the column `network` without being one."""

JUDGES = ("technical", "niqe")
"""Judges in the order of tables; their numbers stand beneath pictures."""

TRANSFORMATIONS = {"jpeg90": "JPEG 90", "half": "half size and back", "shift": "shift by 1 px", "blur": "mild blur"}


def operator_label(name: object) -> str:
    """Such as `tone mapping`."""
    return _label(OPERATORS, name)


def network_label(name: object) -> str:
    """Such as `bilateral grid`, or what a reference or a rival is called."""
    return OTHERS.get(str(name)) or _label(FAMILIES, name)


def fidelity_label(name: object) -> str:
    """Such as `MS-SSIM`."""
    return _label(FIDELITIES, name)


def objective_label(fidelity: str, critic: str = "none", gamma: float = 0.0) -> str:
    """The loss, such as `L2` or `L2 + 0.01 NIMA (compact)`."""
    return fidelity_label(fidelity) + (f" + {gamma:g} {_label(CRITICS, critic)}" if gamma else "")


def _label(table: Mapping[str, Any], name: object) -> str:
    return table[str(name)].label if str(name) in table else str(name)
