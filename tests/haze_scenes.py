"""Scenes of haze with exact truth, shared by the tests of the haze operators."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lpie.operators.haze_lines import nearest_directions


class HazeLineScene(NamedTuple):
    photo: Tensor
    clear: Tensor
    transmission: Tensor
    airlight: Tensor


def haze_line_scene(airlight: tuple[float, float, float], seed: int = 0, size: int = 96) -> HazeLineScene:
    """Pixels of 40 colors, each on a haze-line of its own, behind haze that thickens from left to right.

    The first columns are free of haze and hold every color, so that each line has its haze-free member.
    """
    random = torch.Generator().manual_seed(seed)
    light = torch.tensor([airlight])
    candidates = torch.rand(400, 3, generator=random) * 0.9
    lines = nearest_directions(candidates - light).tolist()
    first = [index for index, line in enumerate(lines) if line not in lines[:index]][:40]
    colors = candidates[first]
    pick = torch.randint(40, (size, size), generator=random)
    pick[:, :4] = torch.arange(4 * size).reshape(size, 4) % 40
    clear = colors[pick].permute(2, 0, 1)[None]
    transmission = torch.linspace(1, 0.3, size - 4).repeat(size, 1)
    transmission = torch.cat([torch.ones(size, 4), transmission], dim=1)[None, None]
    photo = transmission * clear + (1 - transmission) * light[..., None, None]
    return HazeLineScene(photo, clear, transmission, light)


def psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * (a - b).square().mean().log10())
