"""The color of the haze, found where haze-lines meet (Berman, Treibitz, Avidan, ICCP 2017), and whether there is haze.

Every color I of a hazy photo lies on a line from the scene's color J to the airlight A. So each color votes, in the
planes RG, GB and RB, for all candidates A it could come from, through the line that joins them; where the votes of a
candidate gather on few lines, haze-lines meet.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from lpie.imaging.color import luma
from lpie.imaging.guided_filter import largest_nearby
from lpie.imaging.resampling import scaled_size
from lpie.vocabulary import Airlight, Luminance, PerPhoto, Photo

CELLS = 50  # of each axis: candidates are 0.02 apart
LINES = 40  # through each candidate of a plane
NEARNESS = 4.0  # a color at the candidate counts 1 + NEARNESS times, falling off as exp(-distance)
REACHED = 0.05  # share of the pixels that reach the airlight in each channel
PLANES = ((0, 1), (1, 2), (0, 2))
CLEAR, HAZY = 0.26, 0.365  # mean of the darkest luma nearby: no haze up to the first, haze from the second
NEARBY = 35  # px, in a copy of SEEN pixels
SEEN = 20_000


def estimate_airlight(photo: Photo) -> Airlight:
    """The color where the photo's haze-lines meet, in its own encoding, one per photo of the batch.

    Candidates are brighter than the colors that vote for them, and the winner is capped at the value that REACHED of
    the pixels exceed: a photo without haze has no lines that meet, and its candidates would run to white.

    Source: Berman et al. 2017, section 4 (vote, weight 1 + 4 exp(-distance), product of the three planes).
    Differs: (1) colors are counted in square cells of each plane instead of 1000 clusters in RGB, which makes the
    vote a convolution; (2) a color votes through the nearest of LINES lines and a line's votes count squared, once
    for each pair of colors it joins, instead of within a threshold; (3) the cap.
    """
    with torch.no_grad():
        votes = airlight_votes(color_counts(photo))
        red_green, green_blue, red_blue = votes.unbind(dim=1)
        joint = red_green[:, :, :, None] * green_blue[:, None] * red_blue[:, :, None, :]
        winner = joint.flatten(1).argmax(dim=1)
        side = CELLS + 1
        found = torch.stack([winner // side**2, winner // side % side, winner % side], dim=1).to(photo) / CELLS
        return torch.minimum(found, reached_color(photo))  # Differs: the cap


def reached_color(photo: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c"]:
    """The value of each channel that REACHED of the pixels exceed."""
    values = photo.flatten(2)
    count = values.shape[2] + 1 - max(1, math.ceil((1 - REACHED) * values.shape[2]))
    return values.topk(count, dim=2, sorted=False).values.amin(dim=2)  # kthvalue is slow on a GPU


def color_counts(photo: Photo) -> Float[Tensor, "n 3 cells cells"]:
    """Share of the photo's pixels in each cell of the planes RG, GB and RB."""
    cell = (photo * CELLS).long().clamp_(0, CELLS - 1).flatten(2)
    plane = torch.stack([cell[:, a] * CELLS + cell[:, b] for a, b in PLANES], dim=1)
    counts = torch.zeros(photo.shape[0], 3, CELLS**2, dtype=torch.long, device=photo.device)
    counts.scatter_add_(2, plane, torch.ones_like(plane))
    return (counts.float() / plane.shape[2]).reshape(-1, 3, CELLS, CELLS)


def airlight_votes(counts: Float[Tensor, "n 3 cells cells"]) -> Float[Tensor, "n 3 nodes nodes"]:
    """Votes for each candidate (the nodes of the cells' grid) in each plane, the most being 1.

    votes(A) = sum over lines of (sum over colors I < A on the line of count(I) (1 + NEARNESS exp(-|A - I|)))^2.
    """
    nodes = CELLS + 1
    planes = functional.pad(counts.reshape(-1, 1, CELLS, CELLS), (nodes, 0, nodes, 0))
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # candidates differ in the fourth digit
        on_line = functional.conv2d(planes, _line_kernels(counts.device).to(counts))
    votes = on_line.square().sum(dim=1).reshape(-1, 3, nodes, nodes)
    return votes / votes.amax(dim=(2, 3), keepdim=True)


@cache
def _line_kernels(device: torch.device) -> Float[Tensor, "lines 1 nodes nodes"]:
    """For each line, the weight of a color by its displacement below the candidate."""
    below = (torch.arange(CELLS + 1) + 0.5) / CELLS  # from a node to the centers of the cells below it
    first, second = torch.meshgrid(below, below, indexing="ij")
    line = (torch.atan2(second, first) / (math.pi / 2) * LINES).long().clamp_(max=LINES - 1)
    weight = 1 + NEARNESS * torch.exp(-torch.hypot(first, second))
    kernels = functional.one_hot(line, LINES).permute(2, 0, 1) * weight
    return kernels.flip(1, 2)[:, None].to(device)


def haze_presence(photo: Photo) -> PerPhoto:
    """0 where a photo shows no haze, 1 where it does, between them where it is in doubt.

    Haze leaves nothing dark: presence rises from CLEAR to HAZY with the mean of the darkest luma around each pixel. It
    is taken at one size and without color, so that neither the size of a file nor a gray copy changes what is found.
    Of 130 photographs called clear (BSDS test, Kodak, SOTS truths) 63 % have presence 0 and 12 % presence 1, plain
    surfaces and mist; of 93 hazy ones 73 % have presence 1 and 3 % presence 0. Not part of Berman et al.
    """
    scale = math.sqrt(SEEN / photo[0, 0].numel())
    size = scaled_size(photo.shape[2], photo.shape[3], scale)
    gray = functional.interpolate(luma(photo), size=size, mode="bilinear", antialias=scale < 1, align_corners=False)
    shown = (gray / reached_color(gray).clamp_min(0.02)[:, :, None, None]).clamp(max=1)
    darkest = dark_channel(shown, NEARBY).mean(dim=(1, 2, 3))
    return ((darkest - CLEAR) / (HAZY - CLEAR)).clamp(0, 1)


def dark_channel(photo: Float[Tensor, "n c h w"], patch: int = 15) -> Luminance:
    """The least value of any channel in the square of `patch` (odd) pixels around each pixel, cut at the border.

    Source: He et al. 2011, equation 5.
    """
    return -largest_nearby(-photo.amin(dim=1, keepdim=True), patch // 2)
