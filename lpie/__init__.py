"""Learned perceptual image enhancement: a reproducible study, and the operators, critics and losses it rests on."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lpie.names import exports

if TYPE_CHECKING:  # the same names for type checkers and editors; a test holds both lists equal
    from lpie.critic.nima import NIMA as NIMA
    from lpie.judges.unexplained import unexplained_change as unexplained_change
    from lpie.losses.objective import MSSSIMLoss as MSSSIMLoss
    from lpie.losses.objective import NIMALoss as NIMALoss
    from lpie.losses.objective import PerceptualObjective as PerceptualObjective
    from lpie.losses.objective import SSIMLoss as SSIMLoss
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
    "photos.photographs": "read_photo write_photo",
    "photos.enhancement": "enhance",
    "operators.local_laplacian": "local_laplacian",
    "operators.nonlocal_dehazing": "dehaze",
    "critic.nima": "NIMA",
    "losses.similarity": "ssim ms_ssim",
    "losses.objective": "SSIMLoss MSSSIMLoss NIMALoss PerceptualObjective",
    "networks.context_aggregation": "ContextAggregationNetwork",
    "networks.bilateral_grid": "BilateralGrid",
    "networks.operator_parameters": "OperatorParameters",
    "judges.unexplained": "unexplained_change",
}
__all__ = ["__version__", *" ".join(_EXPORTS.values()).split()]
_find = exports(__name__, **_EXPORTS)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import lpie` does not wait for torch (PEP 562)."""
    return import_module("importlib.metadata").version("lpie") if name == "__version__" else _find(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
