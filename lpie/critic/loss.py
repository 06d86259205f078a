"""A critic's opinion as a loss module."""

from __future__ import annotations

import os

from jaxtyping import Float
from torch import Tensor

from lpie.critic.nima import NIMA
from lpie.imaging.loss_inputs import PhotoLoss, Reduction
from lpie.vocabulary import HIGHEST_SCORE, PerPhoto, Photo


class NIMALoss(PhotoLoss):
    """How far each photo's mean score falls short of 10, in [0, 9]: `10 - sum_k k p_k`.

    `critic`: a NIMA (it is frozen in place), or what `NIMA.from_pretrained` takes. `reduction`: "mean" or "sum" over
    the photos of a batch, or "none". `data_range`: the largest value of a photo.

    Source: Talebi and Milanfar, "Learned perceptual image enhancement", 2018.
    Differs: alone it is no objective; `lpie.PerceptualObjective` adds it to a distance and shows the critic the output
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
        """The loss, float32 (float64 for float64): a scalar, or (N,) with reduction "none".

        `enhanced`: a network's raw output, any size, at most one data_range outside [0, data_range], where it keeps its
        gradient. Raises ValueError for other ranges (on a GPU checked in the first call alone) or devices,
        TypeError for integers.
        """
        photo = self.in_unit_range(enhanced, "enhanced")
        return self.reduce(HIGHEST_SCORE - self.critic.mean_score(photo, checked=True))
