"""What tables and figures call things, for readers who do not know the names in the code."""

from __future__ import annotations

OPERATORS = {"tone": "tone mapping", "dehaze": "dehazing"}

NETWORKS = {
    "can24": "CAN24",
    "can32": "CAN32",
    "grid": "bilateral grid",
    "parameters": "operator parameters",
    "trivial": "trivial edit",
    "universal": "universal attack",
    "perturbation": "CNN attack",
    "input": "input",
    "target": "operator's target",
}

CRITICS = ("compact", "ava", "robust")
"""Judges that train networks in some study, in the order of tables; the others took no part in training."""

FIDELITIES = {"l1": "L1", "l2": "L2", "ssim": "SSIM", "ms_ssim": "MS-SSIM", "mix": "mix"}

TRANSFORMATIONS = {"jpeg90": "JPEG 90", "half": "half size and back", "shift": "shift by 1 px", "blur": "mild blur"}


def objective_label(fidelity: str, critic: str = "none", gamma: float = 0.0) -> str:
    """The loss, such as `L2` or `L2 + 0.01 NIMA (compact)`."""
    return FIDELITIES.get(fidelity, fidelity) + (f" + {gamma:g} NIMA ({critic})" if gamma else "")
