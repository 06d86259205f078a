"""How the local Laplacian filter changes a difference of two values: the one definition that all its forms use."""

from __future__ import annotations

import torch
from torch import Tensor

Settings = tuple[Tensor, Tensor, Tensor, Tensor]
"""alpha, beta, sigma_r and noise of the local Laplacian filter, each (N, 1, 1, 1)."""

Value = float | Tensor

NOISE = 0.01  # differences up to this are noise, from twice this signal (Paris et al. 2011, detail manipulation)
SMALLEST = 1e-6  # relative to sigma_r: keeps powers and their gradients finite at a difference of 0


def remap_gain(distance: Tensor, alpha: Value, beta: Value, sigma_r: Value, noise: Value = NOISE) -> Tensor:
    """Factor by which a difference from the center grows, by its size `distance` >= 0; all arguments broadcast.

    Within `sigma_r` of the center a difference grows by the power `alpha` (below 1 enhances detail, above 1 smooths
    it); beyond, it grows by the gradient `beta` (below 1 compresses edges, above 1 expands them). With alpha < 1
    differences below `noise` are left alone; with alpha = beta = 1 all are. The gain is smooth in the distance where
    the remapped value r(i) = g + gain(|i - g|) (i - g) has a corner at its center g, and serves color differences,
    whose direction is kept (the vector form of both equations).

    Source: Paris, Hasinoff, Kautz, "Local Laplacian filters", 2011, equations 1 and 2, with f_d(x) = x^alpha,
    f_e(x) = beta x and, for noise, a smooth step between 1 % and 2 % of the range.
    """
    alpha, beta, sigma_r, noise = (
        torch.as_tensor(number, dtype=distance.dtype, device=distance.device)
        for number in (alpha, beta, sigma_r, noise)
    )
    relative = (distance / sigma_r).clamp_min(SMALLEST)
    detail = relative ** (alpha - 1)
    certainty = ((distance - noise) / noise.clamp_min(SMALLEST)).clamp(0, 1)  # that the difference is no noise
    certainty = (certainty * (2 - certainty)) ** 2
    detail = torch.where(alpha < 1, 1 + certainty * (detail - 1), detail)
    return torch.where(distance <= sigma_r, detail, beta + (1 - beta) / relative)
