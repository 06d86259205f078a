"""Structural similarity as loss modules, for training loops that collect their losses as modules."""

from __future__ import annotations

from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from lpie.imaging.checks import TOLERANCE
from lpie.imaging.loss_inputs import PhotoLoss
from lpie.losses.similarity import unchecked_ms_ssim, unchecked_ssim
from lpie.vocabulary import PerPhoto, Photo


class _SimilarityLoss(PhotoLoss):
    similarity: ClassVar[Any]  # (a, b) -> (N,)

    def forward(self, enhanced: Photo, target: Photo) -> Float[Tensor, ""] | PerPhoto:
        """The loss, float32 (float64 for float64): a scalar, or (N,) with reduction "none".

        `enhanced`: a network's raw output; it may leave [0, data_range] a little, and its gradient lives there too.
        `target`: within [0, data_range]. Raises ValueError for other ranges (on a GPU checked in the first call alone)
        and where shapes, sizes or devices do not fit; TypeError for integers.
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
