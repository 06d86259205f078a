"""Haze-lines: pixels of one scene color under different haze lie on one ray from the airlight (Berman et al. 2016).

The farthest pixel of a ray is taken to be free of haze; the distance of the others, as a share of its own, is their
transmission. A ray is trusted the more, the more pixels it has and the wider they spread along it.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from lpie.imaging.kernels import find, is_followed
from lpie.vocabulary import Airlight, Photo, Transmission

LINES = 1000
MINIMUM = 0.1  # least transmission
FULL_LINE = 50  # pixels from which a line counts in full
TINY = 1e-6  # distance from the airlight below which a pixel has no direction
CHUNK = 1 << 16  # pixels compared with all directions at a time


@cache
def fibonacci_sphere(count: int, device: torch.device | str = "cpu") -> Float[Tensor, "count 3"]:
    """`count` unit vectors spread evenly over the sphere, one turned by the golden angle against the next.

    Source: Gonzalez, "Measurement of areas on a sphere using Fibonacci and latitude-longitude lattices", 2010.
    Differs: Berman et al. subdivide an icosahedron, which comes as a file of 1000 points.
    """
    index = torch.arange(count, dtype=torch.float64) + 0.5
    height = 1 - 2 * index / count
    turn = math.pi * (1 + math.sqrt(5)) * index
    radius = (1 - height.square()).sqrt()
    return torch.stack([radius * turn.cos(), radius * turn.sin(), height], dim=1).to(device)


def nearest_directions(offsets: Float[Tensor, "m 3"]) -> Int[Tensor, " m"]:
    """Index of the haze-line nearest in angle to each offset from the airlight."""
    if offsets.device.type == "cpu" and not is_followed():
        unit = offsets / offsets.norm(dim=1, keepdim=True).clamp_min(TINY)
        return torch.from_numpy(_tree().query(unit.numpy(), workers=torch.get_num_threads())[1])
    directions = fibonacci_sphere(LINES, offsets.device).to(offsets)
    if kernels := find("haze_lines", offsets):
        return kernels.nearest_directions(offsets, directions)
    return torch.cat([(chunk @ directions.T).argmax(dim=1) for chunk in offsets.split(CHUNK)])


@cache
def _tree() -> cKDTree:
    return cKDTree(fibonacci_sphere(LINES).numpy())


def transmission_along_lines(photo: Photo, airlight: Airlight) -> tuple[Transmission, Float[Tensor, "n 1 h w"]]:
    """Transmission in [MINIMUM, 1] by each pixel's haze-line, and how far to trust it, in (0, 1].

    Source: Berman et al. 2016, equations 4-5 and 10-14; weights from section 4.2, with the constants that the authors
    use: min(1, n / 50) min(1, 3 max(0.001, s / max s - 0.1)) for a line of n pixels, s the standard
    deviation of their radii.
    """
    photos, _, height, width = photo.shape
    offsets = (photo - airlight[:, :, None, None]).permute(0, 2, 3, 1).reshape(-1, 3)
    radius = offsets.norm(dim=1)
    first = torch.arange(photos, device=photo.device).repeat_interleave(height * width) * LINES
    line = nearest_directions(offsets) + first
    farthest, standard_deviation, count = line_statistics(radius, line, photos * LINES)

    widest = standard_deviation.reshape(photos, LINES).amax(dim=1).clamp_min(TINY).repeat_interleave(LINES)
    trust = (count / FULL_LINE).clamp_max(1) * (3 * (standard_deviation / widest - 0.1).clamp_min(0.001)).clamp_max(1)
    ratio = (radius / farthest[line].clamp_min(TINY)).reshape(photos, 1, height, width)
    bound = 1 - (photo / airlight.clamp_min(TINY)[:, :, None, None]).amin(dim=1, keepdim=True)
    transmission = torch.maximum(ratio, bound).clamp(MINIMUM, 1)
    return transmission, trust[line].to(photo).reshape(photos, 1, height, width)


def line_statistics(
    radius: Float[Tensor, " m"], line: Int[Tensor, " m"], lines: int
) -> tuple[Float[Tensor, " lines"], Float[Tensor, " lines"], Float[Tensor, " lines"]]:
    """The largest radius of each line, the standard deviation of its radii, and the number of its pixels."""
    if kernels := find("haze_lines", radius):
        return kernels.line_statistics(radius, line, lines)
    exact = radius.double()  # sums of squares over a whole photo
    farthest = radius.new_zeros(lines).scatter_reduce(0, line, radius, "amax")
    empty = exact.new_zeros(lines)
    count = empty.scatter_add(0, line, torch.ones_like(exact))
    mean = empty.scatter_add(0, line, exact) / count.clamp_min(1)
    square = empty.scatter_add(0, line, (exact - mean[line]).square())
    standard_deviation = (square / (count - 1).clamp_min(1)).sqrt()
    return farthest, standard_deviation.to(radius), count.to(radius)
