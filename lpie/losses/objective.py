"""What training minimizes: fidelity to the operator's target, and the objective that adds a critic's opinion."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lpie.imaging.checks import check_range
from lpie.losses import FIDELITIES, FidelityName
from lpie.losses.fidelity import Scalar
from lpie.names import find
from lpie.vocabulary import Photo

HIGHEST_SCORE = 10.0  # of the ratings 1..10 that NIMA predicts


class PerceptualObjective(nn.Module):
    """The objective of learned perceptual image enhancement: `D(F(x), y) + gamma (10 - mean score of F(x))`.

    `fidelity`: the distance D to the operator's target: l1, l2, ssim, ms_ssim, mix or lpips. `critic`: a frozen NIMA,
    or None. `gamma`: what one point of mean score is worth in units of D, at least 0; above 0 it needs a critic.

    Source: Talebi and Milanfar, "Learned perceptual image enhancement", 2018; the exact form is as later work cites
    it, since the paper's body could not be obtained.
    Differs: the critic sees the output clipped to [0, 1], as a display would show it, so that nothing is gained by
    values that no photo can hold.
    """

    def __init__(self, fidelity: FidelityName, critic: nn.Module | None = None, gamma: int | float = 0.0) -> None:
        super().__init__()
        self._distance = find(FIDELITIES, fidelity, "fidelity").loss
        if not 0 <= gamma < float("inf"):
            raise ValueError(f"gamma weighs a penalty and must be a number of at least 0, got {gamma}.")
        if gamma > 0 and critic is None:
            raise ValueError(f"gamma = {gamma} weighs a critic's score, but there is no critic: give one, or gamma 0.")
        self.fidelity = fidelity
        self.critic: Any = critic
        self.gamma = gamma
        self._range_checked = False

    def forward(self, enhanced: Photo, target: Photo) -> Scalar:
        """The objective of a batch: a scalar, float32 (float64 for float64 photos)."""
        return self.parts(enhanced, target)["loss"]

    def parts(self, enhanced: Photo, target: Photo) -> dict[str, Tensor]:
        """The `loss` and, detached for logging, its `fidelity` and the critic's mean `score` (NaN without one)."""
        if not self._range_checked:  # once, since on a GPU it waits for the device
            check_range(target, "target", wait=True)
            self._range_checked = True
        fidelity = self._distance(enhanced, target)
        if self.critic is None:
            return {"loss": fidelity, "fidelity": fidelity.detach(), "score": torch.full_like(fidelity, float("nan"))}
        # Differs: clipped, see the class.
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.gamma > 0):
            score = self.critic.mean_score(enhanced.float().clamp(0, 1)).float().mean()
        loss = fidelity + self.gamma * (HIGHEST_SCORE - score) if self.gamma else fidelity
        return {"loss": loss, "fidelity": fidelity.detach(), "score": score.detach()}
