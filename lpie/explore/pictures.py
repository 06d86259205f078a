"""What the playground draws from photos: PNG, histogram, maps laid over a picture."""

from __future__ import annotations

import io

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image

from lpie.critic import CRITICS
from lpie.imaging.color import luma
from lpie.imaging.resampling import resize
from lpie.judges.unexplained import unexplained_map
from lpie.names import find
from lpie.photos.photographs import to_pixels
from lpie.vocabulary import Luminance, Photo

BINS, HEIGHT = 64, 90  # of the histogram; its height in px
CLIPPED = 0.5 / 255  # nearer than this to black or white, a value is stored as black or white
BRIGHTEST = 0.995  # quantile of a gradient's size that is drawn brightest


def png(photo: Photo) -> bytes:
    """One photo as an 8-bit PNG."""
    stored = io.BytesIO()
    Image.fromarray(to_pixels(photo.clamp(0, 1), 8)).save(stored, "PNG", compress_level=1)
    return stored.getvalue()


def histogram(photo: Photo) -> str:
    """The photo's red, green and blue values as an SVG, with the share of pixels clipped at either end."""
    values = photo[0].detach().flatten(1)
    lines = []
    for color, channel in zip(("#d62728", "#2ca02c", "#1f77b4"), values, strict=True):
        counts = torch.histc(channel, BINS, 0, 1).sqrt()
        heights = HEIGHT * (1 - counts / counts.max().clamp_min(1))
        points = " ".join(f"{4 * place},{height:.0f}" for place, height in enumerate(heights.tolist()))
        lines.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5"/>')
    black, white = ((values <= CLIPPED).any(0), (values >= 1 - CLIPPED).any(0))
    text = f"clipped: {100 * black.float().mean():.1f} % black, {100 * white.float().mean():.1f} % white"
    return (
        f'<svg viewBox="0 0 {4 * BINS} {HEIGHT}" width="{4 * BINS}" height="{HEIGHT}" role="img" '
        f'aria-label="histogram of red, green and blue; {text}">{"".join(lines)}</svg><div>{text}</div>'
    )


def window(photo: Photo, across: float, down: float, side: int) -> Photo:
    """A square of at most `side` px, its center at a share of the way across and down, kept inside the photo."""
    height, width = photo.shape[-2:]
    top = round(down * max(0, height - side))
    left = round(across * max(0, width - side))
    return photo[..., top : top + side, left : left + side]


def gradient_map(photo: Photo, critic: str) -> Luminance:
    """Size of the gradient of a critic's mean score by each pixel, from 0 to 1 for the largest, (1, 1, H, W).

    Raises ValueError for an unknown critic, and what loading it raises.
    """
    nima = find(CRITICS, critic, "critic").load()
    seen = photo.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(nima.mean_score(seen).sum(), seen)
    size = gradient.square().sum(1, keepdim=True).sqrt()
    return (size / size.flatten().quantile(BRIGHTEST).clamp_min(1e-12)).clamp(0, 1)


def unexplained(before: Photo, after: Photo, *, hazy: bool = False) -> Luminance:
    """Where a change is seen that neither tone nor local contrast nor haze explains, in [0, 1], of the photo's size."""
    return resize(unexplained_map(before, after, hazy=hazy), *before.shape[-2:]).clamp(0, 1)


def overlaid(photo: Photo, values: Luminance) -> Photo:
    """The photo in gray with a map in [0, 1] over it, from dark to bright."""
    colors = torch.from_numpy(colormaps["inferno"](values[0, 0].numpy())[..., :3].astype(np.float32))
    gray = 0.6 * luma(photo)
    return gray + values * (colors.permute(2, 0, 1)[None] - gray)
