"""Learned perceptual image enhancement: a reproducible study, and the operators, critics and losses it rests on."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_EXPORTS = {
    "read_photo": "lpie.photos.photographs",
    "write_photo": "lpie.photos.photographs",
    "local_laplacian": "lpie.operators.local_laplacian",
    "dehaze": "lpie.operators.nonlocal_dehazing",
    "NIMA": "lpie.critic.nima",
    "ssim": "lpie.losses.similarity",
    "ms_ssim": "lpie.losses.similarity",
    "PerceptualObjective": "lpie.losses.objective",
    "ContextAggregationNetwork": "lpie.networks.context_aggregation",
    "BilateralGrid": "lpie.networks.bilateral_grid",
    "OperatorParameters": "lpie.networks.operator_parameters",
    "enhance": "lpie.photos.enhancement",
    "unexplained_change": "lpie.judges.unexplained",
}

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import lpie` does not wait for torch (PEP 562)."""
    if name == "__version__":
        value: Any = import_module("importlib.metadata").version("lpie")
    elif name in _EXPORTS:
        value = getattr(import_module(_EXPORTS[name]), name)
    else:
        raise AttributeError(f"module 'lpie' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
