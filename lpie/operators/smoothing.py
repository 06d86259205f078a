"""Edge-aware smoothing of a map by weighted least squares, solved by multigrid on any device.

Minimizes  sum_i w_i (t_i - v_i)^2 + sum_links c_ij (t_i - t_j)^2  over the pixels of a photo and the links between
4-neighbors: a symmetric positive definite system with five entries a row. The links of a photograph span five orders
of magnitude and form structures one pixel thin; point smoothing alone stalls on them, and fixed coarse grids miss
them. So conjugate gradients are preconditioned by a multigrid V-cycle whose interpolation follows the links (Dendy
1982, "Black box multigrid"), whose coarse operators are Galerkin products, and whose smoother is a Chebyshev
polynomial (Adams et al. 2003). All of it is products with stencils, for a batch on CPU or GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lpie.imaging.kernels import find
from lpie.vocabulary import Luminance

ITERATIONS = 18  # conjugate gradient steps; a test holds the error against a direct solve
DEGREE = 6  # of the smoothing polynomial
SMOOTHED = 0.03, 2.0  # interval of the scaled operator's spectrum that smoothing damps
CENTER = sum(SMOOTHED) / 2
COARSEST = 144  # pixels that are solved densely
EPSILON = 1e-5  # keeps the links between equal pixels finite

# The pixels that a link joins, as slices: right, down and, on coarse grids, down-right and down-left.
_ALL, _FRONT, _BACK = slice(None), slice(None, -1), slice(1, None)
_ENDS = (
    ((..., _ALL, _FRONT), (..., _ALL, _BACK)),
    ((..., _FRONT, _ALL), (..., _BACK, _ALL)),
    ((..., _FRONT, _FRONT), (..., _BACK, _BACK)),
    ((..., _FRONT, _BACK), (..., _BACK, _FRONT)),
)
_STEPS = (0, 1), (1, 0), (1, 1), (1, -1)  # row and column from the first end to the second

Links = tuple[Tensor, ...]  # conductances (N, 1, ...) in the order of _ENDS


@dataclass
class _Level:
    """One grid of the hierarchy, whose operator is (A x)_i = data_i x_i + sum_j link_ij (x_i - x_j)."""

    data: Tensor  # (N, 1, H, W)
    links: Links
    scale: Tensor  # (N, 1, H, W): scale A has its eigenvalues in [0, 2]
    shares: Tensor  # (N, 4, H, W): of the coarse pixels at, right of, below and diagonal to each pixel's 2x2 block


def gradient_links(guide: Luminance, smoothness: float) -> tuple[Tensor, Tensor]:
    """Links smoothness / (|g_i - g_j|^2 + EPSILON) of each pixel of `guide` to its right and to its lower neighbor."""
    return (smoothness / (guide.diff(dim=3).square() + EPSILON), smoothness / (guide.diff(dim=2).square() + EPSILON))


def weighted_least_squares(
    values: Luminance, weight: Luminance, links: tuple[Tensor, Tensor], *, iterations: int = ITERATIONS
) -> Luminance:
    """The map near `values` where `weight` is large, and changing little across strong links.

    `weight` is nowhere negative and somewhere positive in each photo; `links` (right, down) have shapes (N, 1, H, W-1)
    and (N, 1, H-1, W) and are positive. The number of iterations is fixed: a GPU never waits for the host.
    """
    values, weight = values.contiguous(), weight.contiguous()
    links = links[0].contiguous(), links[1].contiguous()
    kernels = find("smoothing", values) if values.dtype == torch.float32 else None
    system = kernels.System(weight, links, CENTER, chebyshev(), COARSEST) if kernels else System(weight, links)
    x = torch.zeros_like(values)  # not `values`: their flows along strong links would drown faint weights in rounding
    r, p, rz = weight * values, torch.zeros_like(values), values.new_zeros(len(values), 1, 1, 1)

    def step() -> None:  # of conjugate gradients; x, r, p and rz in place
        z = system.approximate(r)
        following = _dot(r, z)
        p.mul_(_ratio(following, rz)).add_(z)
        rz.copy_(following)
        remainder = system.residual(p, r)
        alpha = _ratio(rz, _dot(p, r - remainder))
        x.addcmul_(alpha, p)
        r.lerp_(remainder, alpha)  # r - alpha A p

    if kernels:
        kernels.repeat(step, iterations, values)
        return x
    for _ in range(iterations):
        step()
    return x


class System:
    """A x = b on the photo's grid, and what approximates it on coarser ones: the V-cycle of multigrid.

    Set up in float64: coarse operators are sums of large terms in which the data weights must survive.
    """

    def __init__(self, weight: Luminance, links: Links) -> None:
        self.weight, self.links = weight, links
        self.levels: list[_Level] = []
        data, links = weight.double(), tuple(link.double() for link in links)
        while data.shape[-2] * data.shape[-1] > COARSEST:
            shares = interpolation(data, links)
            scale = _scale(data, links)
            floats = data.float(), tuple(link.float() for link in links), scale.float(), shares.float()
            self.levels.append(_Level(*floats))
            data, links = coarse_operator(data, links, shares)
        photos, _, height, width = data.shape
        units = torch.eye(height * width, dtype=data.dtype, device=data.device).reshape(1, -1, height, width)
        units = units.expand(photos, -1, -1, -1)
        columns = torch.zeros_like(units)
        subtract_flows(data, links, units, columns)
        inverse, _ = torch.linalg.inv_ex(-columns.flatten(2))  # looking for an error would wait for the GPU
        self.inverse = inverse.float()  # of the coarsest operator, (N, pixels, pixels)

    def residual(self, x: Luminance, b: Luminance) -> Luminance:
        """b - A x."""
        r = b.clone()
        subtract_flows(self.weight, self.links, x, r)
        return r

    def approximate(self, r: Luminance, depth: int = 0) -> Luminance:
        """An approximate solution of A x = r, a symmetric positive definite function of r."""
        if depth == len(self.levels):
            return (self.inverse @ r.flatten(1)[..., None]).reshape(r.shape)
        level, r, x = self.levels[depth], r.clone(), torch.zeros_like(r)
        _smooth(level, x, r)
        correction = prolong(level.shares, self.approximate(restrict(level.shares, r), depth + 1))
        x += correction
        subtract_flows(level.data, level.links, correction, r)
        _smooth(level, x, r)
        return x


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 2, 3), keepdim=True)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """a / b, or 0 where b is 0: a photo that has converged to the last bit."""
    return torch.where(b > 0, a / b, torch.zeros_like(b))


def subtract_flows(data: Tensor, links: Links, x: Tensor, r: Tensor) -> None:
    """r -= A x, as flows along the links: a stored diagonal would swallow data weights that are 1e8 times smaller."""
    r.addcmul_(data, x, value=-1)
    for (here, there), link in zip(_ENDS, links, strict=False):
        flow = (x[there] - x[here]).mul_(link)
        r[here].add_(flow)
        r[there].sub_(flow)


def _smooth(level: _Level, x: Tensor, r: Tensor) -> None:
    """Damp the upper part of the spectrum of r in place, keeping r the residual of x."""
    p = level.scale * r / CENTER
    for momentum, gain in chebyshev():
        x += p
        subtract_flows(level.data, level.links, p, r)
        p.mul_(momentum).addcmul_(level.scale, r, value=gain)


def chebyshev() -> list[tuple[float, float]]:
    """For each step of smoothing, the factors of p and of the scaled residual in the next p."""
    half = (SMOOTHED[1] - SMOOTHED[0]) / 2
    rho, factors = half / CENTER, []
    for _ in range(DEGREE):
        rho, before = 1 / (2 * CENTER / half - rho), rho
        factors.append((rho * before, 2 * rho / half))
    return factors


def prolong(shares: Tensor, coarse: Tensor) -> Tensor:
    """Each fine pixel's share of the four coarse pixels around it."""
    height, width = shares.shape[-2:]
    fine = torch.zeros_like(shares[:, :1])
    for k, (row, column) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        moved = functional.pad(coarse, (0, column, 0, row))[..., row:, column:]
        spread = functional.interpolate(moved, scale_factor=2.0, mode="nearest")[..., :height, :width]
        fine.addcmul_(shares[:, k : k + 1], spread)
    return fine


def restrict(shares: Tensor, fine: Tensor) -> Tensor:
    """The transpose of `prolong`."""
    blocks = functional.avg_pool2d(shares * fine, 2, ceil_mode=True, divisor_override=1)
    coarse = blocks[:, :1].clone()
    height, width = coarse.shape[-2:]
    for k, (row, column) in enumerate(((0, 1), (1, 0), (1, 1)), start=1):
        coarse[..., row:, column:] += blocks[:, k : k + 1, : height - row, : width - column]
    return coarse


def _diagonal(data: Tensor, links: Links) -> Tensor:
    diagonal = data.clone()
    for ends, link in zip(_ENDS, links, strict=False):
        for end in ends:
            diagonal[end] += link
    return diagonal


def _scale(data: Tensor, links: Links) -> Tensor:
    """1 / max(a_ii, sum_j |a_ij| / 2), so that by Gershgorin's theorem no scaled eigenvalue exceeds 2."""
    diagonal = _diagonal(data, links)
    rows = _diagonal(diagonal, tuple(link.abs() for link in links))
    return 1 / torch.maximum(diagonal, rows / 2)


def interpolation(data: Tensor, links: Links) -> Tensor:
    """The share of each coarse pixel (even row and column) in the fine ones around it, (N, 4, H, W).

    A pixel between two coarse ones obeys its own equation, the stencil summed across the line that joins them; a pixel
    amid four obeys its own equation with those inserted (Dendy 1982, section 3).
    """
    around = {step: torch.zeros_like(data) for step in _STEPS}
    around |= {(-row, -column): torch.zeros_like(data) for row, column in _STEPS}
    for (here, there), (row, column), link in zip(_ENDS, _STEPS, links, strict=False):
        around[row, column][here] = link
        around[-row, -column][there] = link
    diagonal = _diagonal(data, links)
    in_row = diagonal - around[-1, 0] - around[1, 0]
    in_column = diagonal - around[0, -1] - around[0, 1]
    left, right = ((around[-1, side] + around[0, side] + around[1, side]) / in_row for side in (-1, 1))
    above, below = ((around[side, -1] + around[side, 0] + around[side, 1]) / in_column for side in (-1, 1))

    shares = data.new_zeros(data.shape[0], 4, *data.shape[-2:])
    shares[:, 0, ::2, ::2] = 1
    shares[:, 0, ::2, 1::2], shares[:, 1, ::2, 1::2] = left[:, 0, ::2, 1::2], right[:, 0, ::2, 1::2]
    shares[:, 0, 1::2, ::2], shares[:, 2, 1::2, ::2] = above[:, 0, 1::2, ::2], below[:, 0, 1::2, ::2]
    for k, (row, column) in enumerate(((-1, -1), (-1, 1), (1, -1), (1, 1))):
        by_row = around[row, 0] * (left if column < 0 else right).roll(-row, 2)  # no link meets what comes around
        by_column = around[0, column] * (above if row < 0 else below).roll(-column, 3)
        share = (around[row, column] + by_row + by_column) / diagonal
        shares[:, k, 1::2, 1::2] = share[:, 0, 1::2, 1::2]
    return shares


def coarse_operator(data: Tensor, links: Links, shares: Tensor) -> tuple[Tensor, Links]:
    """Data weights and links of the Galerkin product P^T A P, read off its products with nine combs.

    Teeth of a comb are three pixels apart, so their 3x3 stencils do not overlap and each entry shows alone.
    """

    def product(coarse: Tensor) -> Tensor:
        fine = prolong(shares, coarse)
        negative = torch.zeros_like(fine)
        subtract_flows(data, links, fine, negative)
        return -restrict(shares, negative)

    coarse_data = product(torch.ones_like(data[..., ::2, ::2]))
    coarse_links = tuple(torch.zeros_like(coarse_data[here]) for here, _ in _ENDS)
    for tooth in range(9):
        comb = torch.zeros_like(coarse_data)
        comb[..., tooth // 3 :: 3, tooth % 3 :: 3] = 1
        entries = product(comb)
        for (here, there), link in zip(_ENDS, coarse_links, strict=True):
            link.addcmul_(entries[here], comb[there], value=-1)
    return coarse_data, coarse_links
