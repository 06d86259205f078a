"""What training minimizes, as modules: the objective of fidelity and a critic's opinion, and each part of it alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ClassVar, Literal, SupportsFloat, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lpie.critic.nima import NIMA
from lpie.imaging.checks import TOLERANCE, check_range, check_shape
from lpie.losses import FIDELITIES, FidelityName
from lpie.losses.fidelity import Scalar
from lpie.losses.similarity import unchecked_ms_ssim, unchecked_ssim
from lpie.names import find
from lpie.vocabulary import HIGHEST_SCORE, PerPhoto, Photo

Reduction = Literal["mean", "sum", "none"]
RAW = 1.0  # how far a network's raw output may lie outside [0, 1]; more looks like another range of values


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


class _PhotoLoss(nn.Module):
    """A loss of photos in [0, data_range]: the mean or the sum over the photos of a batch, or each photo's own.

    Raises ValueError for an unknown `reduction`, or a `data_range` that is no number above 0.
    """

    __call__: Callable[..., Tensor]  # for type checkers

    def __init__(self, reduction: Reduction = "mean", data_range: int | float = 1.0) -> None:
        super().__init__()
        find(dict.fromkeys(get_args(Reduction)), reduction, "reduction")
        if not 0 < data_range < float("inf"):
            raise ValueError(f"data_range, a photo's largest value such as 1 or 255, is above 0: got {data_range}.")
        self.reduction: Reduction = reduction
        self.data_range = data_range
        self._looked: set[str] = set()

    def _in_unit_range(self, photo: Photo, name: str, margin: float) -> Photo:
        check_shape(photo, name)
        scaled = photo if self.data_range == 1 else photo / self.data_range
        called = f"{name} (with data_range={self.data_range:g})"
        check_range(scaled, called, margin=margin, wait=name not in self._looked)
        self._looked.add(name)
        return scaled

    def _reduce(self, losses: PerPhoto) -> Float[Tensor, ""] | PerPhoto:
        return losses if self.reduction == "none" else getattr(losses, self.reduction)()

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}, data_range={self.data_range:g}"


class SSIMLoss(_PhotoLoss):
    """1 - SSIM of each photo, in [0, 2]; needs 11 x 11 px.

    `reduction`: "mean" or "sum" over the photos of a batch, or "none". `data_range`: the largest value of a photo.

    Source: see `lpie.ssim`.
    """

    similarity: ClassVar[Any] = staticmethod(unchecked_ssim)

    def forward(self, enhanced: Photo, target: Photo) -> Float[Tensor, ""] | PerPhoto:
        """The loss, float32 (float64 for float64): a scalar, or (N,) with reduction "none".

        `enhanced`: a network's raw output, at most one data_range outside [0, data_range], where it keeps its gradient.
        `target`: within [0, data_range] up to 0.1 %. Raises ValueError for other ranges (on a GPU checked in the first
        call alone) and where shapes, sizes or devices do not fit; TypeError for integers.
        """
        photos = self._in_unit_range(enhanced, "enhanced", RAW), self._in_unit_range(target, "target", TOLERANCE)
        return self._reduce(1 - self.similarity(*photos))


class MSSSIMLoss(SSIMLoss):
    """1 - MS-SSIM of each photo, in [0, 1); needs 161 x 161 px. Settings as for `SSIMLoss`.

    Source: see `lpie.ms_ssim`.
    """

    similarity = staticmethod(unchecked_ms_ssim)


class NIMALoss(_PhotoLoss):
    """How far each photo's mean score falls short of 10, in [0, 9]: `10 - sum_k k p_k`.

    `critic`: a NIMA (it is frozen in place), or what `NIMA.from_pretrained` takes. `reduction` and `data_range` as for
    `SSIMLoss`.

    Source: Talebi and Milanfar, "Learned perceptual image enhancement", 2018.
    Differs: alone it is no objective; `PerceptualObjective` adds it to a distance and shows the critic the output
    clipped to [0, 1], where this module shows it the raw output.
    """

    def __init__(
        self,
        critic: NIMA | str | os.PathLike[str] = "compact",
        reduction: Reduction = "mean",
        data_range: int | float = 1.0,
    ) -> None:
        super().__init__(reduction, data_range)
        self.critic = (critic if isinstance(critic, NIMA) else NIMA.from_pretrained(critic)).freeze()

    def forward(self, enhanced: Photo) -> Float[Tensor, ""] | PerPhoto:
        """The loss, a scalar or (N,); `enhanced` of any size, otherwise as for `SSIMLoss`."""
        photo = self._in_unit_range(enhanced, "enhanced", RAW)
        return self._reduce(HIGHEST_SCORE - self.critic.mean_score(photo, checked=True))
