"""What training minimizes, as modules: the objective of fidelity and a critic's opinion, and SSIM and MS-SSIM alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ClassVar, SupportsFloat

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lpie.critic.nima import NIMA
from lpie.imaging.checks import TOLERANCE, check_range
from lpie.imaging.loss_inputs import PhotoLoss
from lpie.losses import FIDELITIES, FidelityName
from lpie.losses.fidelity import Scalar
from lpie.losses.similarity import unchecked_ms_ssim, unchecked_ssim
from lpie.names import find
from lpie.vocabulary import HIGHEST_SCORE, PerPhoto, Photo


class PerceptualObjective(nn.Module):
    """The objective of learned perceptual image enhancement: `D(F(x), y) + gamma (10 - mean score of F(x))`.

    `fidelity`: the distance D to the operator's target, a row of `lpie.losses.FIDELITIES`. `critic`: a NIMA (it is
    frozen in place), what `NIMA.from_pretrained` takes, another module with `mean_score`, or None. `gamma`: what
    one point of mean score is worth in units of D, at least 0; above 0 it needs a critic.

    Source: Talebi and Milanfar, "Learned perceptual image enhancement", 2018; the exact form is as later work cites
    it, since the paper's body could not be obtained.
    Differs: the critic sees the output clipped to [0, 1], as a display would show it, so that nothing is gained by
    values that no photo can hold.
    """

    __call__: Callable[..., Tensor]  # for type checkers

    def __init__(
        self,
        fidelity: FidelityName,
        critic: nn.Module | str | os.PathLike[str] | None = None,
        gamma: int | float = 0.0,
    ) -> None:
        super().__init__()
        self._distance = find(FIDELITIES, fidelity, "fidelity").loss
        if not isinstance(gamma, SupportsFloat) or not 0 <= (gamma := float(gamma)) < float("inf"):
            raise ValueError(f"gamma weighs a penalty and must be a number of at least 0, got {gamma!r}.")
        if gamma > 0 and critic is None:
            raise ValueError(f"gamma = {gamma} weighs a critic's score, but there is no critic: give one, or gamma 0.")
        critic = NIMA.from_pretrained(critic) if isinstance(critic, str | os.PathLike) else critic
        if critic is not None and not callable(getattr(critic, "mean_score", None)):
            raise TypeError(f"A critic has mean_score(photo) -> (N,), as NIMA has; got {type(critic).__name__}.")
        self.fidelity = fidelity
        self.critic: Any = critic.freeze() if isinstance(critic, NIMA) else critic
        self.gamma = gamma
        self._range_checked = False

    def forward(self, enhanced: Photo, target: Photo) -> Scalar:
        """The objective of a batch: a scalar, float32 (float64 for float64 photos)."""
        return self.parts(enhanced, target)["loss"]

    def parts(self, enhanced: Photo, target: Photo) -> dict[str, Tensor]:
        """The `loss` and, detached for logging, its `fidelity` and the critic's mean `score` (NaN without one)."""
        check_range(target, "target", wait=not self._range_checked)  # on a GPU once, since it waits for the device
        self._range_checked = True
        fidelity = self._distance(enhanced, target)
        if self.critic is None:
            return {"loss": fidelity, "fidelity": fidelity.detach(), "score": torch.full_like(fidelity, float("nan"))}
        checked = {"checked": True} if isinstance(self.critic, NIMA) else {}  # NaN of a network that diverged passes
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.gamma > 0):
            score = self.critic.mean_score(enhanced.float().clamp(0, 1), **checked).float().mean()
        loss = fidelity + self.gamma * (HIGHEST_SCORE - score) if self.gamma else fidelity
        return {"loss": loss, "fidelity": fidelity.detach(), "score": score.detach()}


class _SimilarityLoss(PhotoLoss):
    similarity: ClassVar[Any]  # (a, b) -> (N,)

    def forward(self, enhanced: Photo, target: Photo) -> Float[Tensor, ""] | PerPhoto:
        """The loss, float32 (float64 for float64): a scalar, or (N,) with reduction "none".

        `enhanced`: a network's raw output, at most one data_range outside [0, data_range], where it keeps its gradient.
        `target`: within [0, data_range] up to 0.1 %. Raises ValueError for other ranges (on a GPU checked in the first
        call alone) and where shapes, sizes or devices do not fit; TypeError for integers.
        """
        pair = self.in_unit_range(enhanced, "enhanced"), self.in_unit_range(target, "target", TOLERANCE)
        return self.reduce(1 - type(self).similarity(*pair))


class SSIMLoss(_SimilarityLoss):
    """1 - SSIM of each photo, in [0, 2]; needs 11 x 11 px.

    `reduction`: "mean" or "sum" over the photos of a batch, or "none". `data_range`: the largest value of a photo.

    Source: see `lpie.ssim`.
    """

    similarity = staticmethod(unchecked_ssim)


class MSSSIMLoss(_SimilarityLoss):
    """1 - MS-SSIM of each photo, in [0, 1); needs 161 x 161 px. Settings as for `SSIMLoss`.

    Source: see `lpie.ms_ssim`.
    """

    similarity = staticmethod(unchecked_ms_ssim)
