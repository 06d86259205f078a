"""Losses: the paper's objective, SSIM and MS-SSIM, and the distances to a target, a row each in `FIDELITIES`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from lpie.vocabulary import Photo

    FidelityName = Literal["l1", "l2", "ssim", "ms_ssim", "mix"]  # for type checkers; at run time the table decides
else:
    FidelityName = str

__all__ = ["FIDELITIES", "Fidelity", "FidelityName"]


@dataclass(frozen=True)
class Fidelity:
    """One distance of a network's output to the operator's target."""

    name: str
    label: str
    """What readers of tables and figures call it."""
    loss: Callable[..., Any]
    """(enhanced, target) -> scalar, the mean over the batch; 0 where both are equal."""
    smallest_side: int = 1
    """Pixels that each side of a photo needs."""


def _l1(enhanced: Photo, target: Photo) -> Tensor:
    from lpie.losses.fidelity import l1

    return l1(enhanced, target)


def _l2(enhanced: Photo, target: Photo) -> Tensor:
    from lpie.losses.fidelity import l2

    return l2(enhanced, target)


def _ssim(enhanced: Photo, target: Photo) -> Tensor:
    from lpie.losses.fidelity import ssim_loss

    return ssim_loss(enhanced, target)


def _ms_ssim(enhanced: Photo, target: Photo) -> Tensor:
    from lpie.losses.fidelity import ms_ssim_loss

    return ms_ssim_loss(enhanced, target)


def _mix(enhanced: Photo, target: Photo) -> Tensor:
    from lpie.losses.fidelity import mix_loss

    return mix_loss(enhanced, target)


FIDELITIES: dict[str, Fidelity] = {
    row.name: row
    for row in (
        Fidelity("l1", "L1", _l1),
        Fidelity("l2", "L2", _l2),
        Fidelity("ssim", "SSIM", _ssim, smallest_side=11),
        Fidelity("ms_ssim", "MS-SSIM", _ms_ssim, smallest_side=161),
        Fidelity("mix", "mix", _mix, smallest_side=161),
    )
}
