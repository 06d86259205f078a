"""Structural similarity as loss modules, for training loops that collect their losses as modules."""

from __future__ import annotations

from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from lpie.imaging.checks import check_range
from lpie.imaging.loss_inputs import Reduction, check_settings, raw_output, reduce_losses
from lpie.losses.similarity import unchecked_ms_ssim, unchecked_ssim
from lpie.vocabulary import PerPhoto, Photo


class _SimilarityLoss(nn.Module):
    similarity: ClassVar[Any]  # (a, b) -> (N,)

    def __init__(self, reduction: Reduction = "mean", data_range: int | float = 1.0) -> None:
        super().__init__()
        check_settings(reduction, data_range)
        self.reduction: Reduction = reduction
        self.data_range = data_range
        self._looked = False

    def forward(self, enhanced: Photo, target: Photo) -> Float[Tensor, ""] | PerPhoto:
        """The loss, float32 (float64 for float64): a scalar, or (N,) with reduction "none".

        `enhanced`: a network's raw output; it may leave [0, data_range] a little, and its gradient lives there too.
        `target`: within [0, data_range]. Raises ValueError for other ranges (on a GPU they are looked at in the first
        call alone, since that waits for it) and where shapes, sizes or devices do not fit; TypeError for integers.
        """
        first, self._looked = not self._looked, True
        a = raw_output(enhanced, self.data_range, "enhanced", wait=first)
        b = raw_output(target, self.data_range, "target", wait=first)
        check_range(b, f"target (with data_range={self.data_range:g})", wait=first)
        return reduce_losses(1 - type(self).similarity(a, b), self.reduction)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}, data_range={self.data_range:g}"


class SSIMLoss(_SimilarityLoss):
    """1 - SSIM of each photo, in [0, 2]; needs 11 x 11 px.

    `reduction`: "mean" or "sum" over the photos of a batch, or "none". `data_range`: the largest value of a photo.

    Source: see `lpie.ssim`.
    """

    similarity = staticmethod(unchecked_ssim)


class MSSSIMLoss(_SimilarityLoss):
    """1 - MS-SSIM of each photo, in [0, 1); needs 161 x 161 px. Settings as of `SSIMLoss`.

    Source: see `lpie.ms_ssim`.
    """

    similarity = staticmethod(unchecked_ms_ssim)
