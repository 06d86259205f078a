"""Learned perceptual image enhancement: a reproducible study, and the operators, critics and losses it rests on."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names for type checkers and editors; a test holds both lists equal
    from lpie.critic.loss import NIMALoss as NIMALoss
    from lpie.critic.nima import NIMA as NIMA
    from lpie.judges.unexplained import unexplained_change as unexplained_change
    from lpie.losses.modules import MSSSIMLoss as MSSSIMLoss
    from lpie.losses.modules import SSIMLoss as SSIMLoss
    from lpie.losses.objective import PerceptualObjective as PerceptualObjective
    from lpie.losses.similarity import ms_ssim as ms_ssim
    from lpie.losses.similarity import ssim as ssim
    from lpie.networks.bilateral_grid import BilateralGrid as BilateralGrid
    from lpie.networks.context_aggregation import ContextAggregationNetwork as ContextAggregationNetwork
    from lpie.networks.operator_parameters import OperatorParameters as OperatorParameters
    from lpie.operators.local_laplacian import local_laplacian as local_laplacian
    from lpie.operators.nonlocal_dehazing import dehaze as dehaze
    from lpie.photos.enhancement import enhance as enhance
    from lpie.photos.photographs import read_photo as read_photo
    from lpie.photos.photographs import write_photo as write_photo

    __version__: str

_EXPORTS = {
    "read_photo": "lpie.photos.photographs",
    "write_photo": "lpie.photos.photographs",
    "local_laplacian": "lpie.operators.local_laplacian",
    "dehaze": "lpie.operators.nonlocal_dehazing",
    "NIMA": "lpie.critic.nima",
    "NIMALoss": "lpie.critic.loss",
    "ssim": "lpie.losses.similarity",
    "ms_ssim": "lpie.losses.similarity",
    "SSIMLoss": "lpie.losses.modules",
    "MSSSIMLoss": "lpie.losses.modules",
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
