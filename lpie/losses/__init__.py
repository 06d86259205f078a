"""Losses: the paper's objective, SSIM and MS-SSIM, and the distances to a target, a row each in `FIDELITIES`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lpie.names import late

if TYPE_CHECKING:
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


FIDELITIES: dict[str, Fidelity] = {
    row.name: row
    for row in (
        Fidelity("l1", "L1", late("lpie.losses.fidelity:l1")),
        Fidelity("l2", "L2", late("lpie.losses.fidelity:l2")),
        Fidelity("ssim", "SSIM", late("lpie.losses.fidelity:ssim_loss")),
        Fidelity("ms_ssim", "MS-SSIM", late("lpie.losses.fidelity:ms_ssim_loss")),
        Fidelity("mix", "mix", late("lpie.losses.fidelity:mix_loss")),
        Fidelity("lpips", "LPIPS", late("lpie.losses.fidelity:lpips_loss")),
    )
}
