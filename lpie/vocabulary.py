"""The words every other module uses: each tensor's shape, encoding and range, said once.

All tensors are torch tensors; N is the batch, H and W the height and width in pixels.
"""

from __future__ import annotations

from typing import TypeAlias

from jaxtyping import Float
from torch import Tensor

Photo: TypeAlias = Float[Tensor, "n 3 h w"]
"""Display-referred sRGB in [0, 1], channels R, G, B."""

Luminance: TypeAlias = Float[Tensor, "n 1 h w"]
"""One channel in [0, 1]: Rec. 601 luma of the sRGB values unless a function says otherwise."""

Transmission: TypeAlias = Float[Tensor, "n 1 h w"]
"""Share of the scene's light that reaches the camera, in (0, 1]."""

Airlight: TypeAlias = Float[Tensor, "n 3"]
"""Color of the haze, one RGB triple in [0, 1] for each photo."""

ScoreDistribution: TypeAlias = Float[Tensor, "n 10"]
"""Probabilities of the ratings 1..10, each row summing to 1."""

PerPhoto: TypeAlias = Float[Tensor, " n"]
"""One number for each photo of the batch."""

HIGHEST_SCORE = 10.0  # of the ratings 1..10
