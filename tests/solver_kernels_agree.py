"""Runs the solver's GPU kernels, under Triton's interpreter or on a GPU, and compares them with the plain forms.

Not collected by pytest: `test_nonlocal_dehazing.py` starts it with TRITON_INTERPRET=1, which has to be set before
Triton is imported. Raises AssertionError where the forms differ.
"""

from __future__ import annotations

import sys

import torch

from lpie.fast import smoothing_gpu as kernels
from lpie.operators import smoothing as plain


def kernels_agree(device: str, photos: int, height: int, width: int) -> None:
    """Every kernel on the finest grid and on the next, whose stencils have nine entries."""
    weight = torch.rand(photos, 1, height, width, dtype=torch.float64) + 0.1
    links: plain.Links = plain.gradient_links(torch.rand_like(weight), 0.1)
    data = weight
    for _ in range(2):
        shares = plain._interpolation(data, links)
        scale = plain._scale(data, links)
        level = plain._Level(
            *(each.float() for each in (data,)), tuple(k.float() for k in links), scale.float(), shares
        )
        p, x, r = (torch.randn(data.shape) for _ in range(3))
        moved = [each.to(device, copy=True) for each in (p, x, r)]
        on_device = tuple(link.to(device) for link in level.links)
        found = kernels.smooth_step(level.data.to(device), on_device, level.scale.to(device), *moved, 0.3, 0.7)
        expected = plain._smooth_step(level, p, x, r, 0.3, 0.7)
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(moved[1].cpu(), x)
        torch.testing.assert_close(moved[2].cpu(), r, rtol=1e-4, atol=1e-2)

        doubles = torch.randn(data.shape, dtype=torch.float64)
        residual, exact = torch.zeros_like(doubles, device=device), torch.zeros_like(doubles)
        kernels.subtract_product(
            data.to(device), tuple(link.to(device) for link in links), doubles.to(device), residual
        )
        plain._subtract_flows(data, links, doubles, exact)
        torch.testing.assert_close(residual.cpu(), exact)

        coarse = torch.randn(photos, 1, (data.shape[2] + 1) // 2, (data.shape[3] + 1) // 2, dtype=torch.float64)
        torch.testing.assert_close(
            kernels.prolong(shares.to(device), coarse.to(device)).cpu(), plain._prolong(shares, coarse)
        )
        torch.testing.assert_close(
            kernels.restrict(shares.to(device), doubles.to(device)).cpu(), plain._restrict(shares, doubles)
        )
        data, links = plain._coarse_operator(data, links, shares)


def solvers_agree(device: str) -> None:
    """The whole solver, its products done by the kernels wherever they apply."""
    values, weight = torch.rand(2, 2, 1, 25, 30)
    weight += 0.01
    links = plain.gradient_links(torch.rand_like(values), 0.1)
    expected = plain.weighted_least_squares(values, weight, links, iterations=2)
    plain._has_kernels = lambda _: True
    right, down = links
    moved = values.to(device), weight.to(device), (right.to(device), down.to(device))
    found = plain.weighted_least_squares(*moved, iterations=2)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-4)


if __name__ == "__main__":
    for size in ((2, 9, 14), (1, 24, 31), (1, 1, 6), (1, 5, 1)):
        kernels_agree(sys.argv[1] if len(sys.argv) > 1 else "cpu", *size)
    solvers_agree(sys.argv[1] if len(sys.argv) > 1 else "cpu")
