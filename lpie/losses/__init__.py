"""Losses: the paper's objective, SSIM and MS-SSIM, and the distances to a target, a row each in `FIDELITIES`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from lpie.vocabulary import Photo

    FidelityName = Literal["l1", "l2", "ssim", "ms_ssim", "mix", "lpips"]  # for type checkers; the table decides
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


def _loss(name: str, enhanced: Photo, target: Photo) -> Tensor:
    from lpie.losses import fidelity

    return getattr(fidelity, name)(enhanced, target)


FIDELITIES: dict[str, Fidelity] = {
    row.name: row
    for row in (
        Fidelity("l1", "L1", partial(_loss, "l1")),
        Fidelity("l2", "L2", partial(_loss, "l2")),
        Fidelity("ssim", "SSIM", partial(_loss, "ssim_loss"), smallest_side=11),
        Fidelity("ms_ssim", "MS-SSIM", partial(_loss, "ms_ssim_loss"), smallest_side=161),
        Fidelity("mix", "mix", partial(_loss, "mix_loss"), smallest_side=161),
        Fidelity("lpips", "LPIPS", partial(_loss, "lpips_loss"), smallest_side=31),
    )
}
