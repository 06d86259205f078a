"""Strong photographic variations of whole batches, and the two ways in which a critic and its teacher see them.

Photographs lie edge-padded in square frames of uint8, so that a batch of different sizes is one tensor. Every
variation takes one strength per photo and is a few large tensor operations: nothing here looks at a single photo or
waits for the GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from lpie.vocabulary import PerPhoto, Photo

GAMMA = 2.2  # stands for the sRGB curve between display values and light

# ITU-T T.81 annex K: luminance and chrominance quantization tables
_LUMINANCE_TABLE = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
_CHROMINANCE_TABLE = """17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99"""
_TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_TO_RGB = np.linalg.inv(_TO_YCBCR).tolist()


@dataclass
class Album:
    """Photographs in square frames: uint8 (N, 3, side, side), edges repeated beyond each photo's height and width."""

    frames: UInt8[Tensor, "n 3 side side"]
    heights: Int[Tensor, " n"]
    widths: Int[Tensor, " n"]

    @classmethod
    def of(cls, photos: list[np.ndarray], side: int, device: str) -> Album:
        """From uint8 arrays (H, W, 3) no larger than `side`, which must be a multiple of 16."""
        frames = np.stack([np.pad(p, ((0, side - len(p)), (0, side - p.shape[1]), (0, 0)), "edge") for p in photos])
        sizes = torch.tensor([photo.shape[:2] for photo in photos], device=device)
        return cls(torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous().to(device), sizes[:, 0], sizes[:, 1])

    def __len__(self) -> int:
        return len(self.frames)

    def take(self, chosen: Int[Tensor, " b"]) -> tuple[Photo, Int[Tensor, " b"], Int[Tensor, " b"]]:
        """The frames as photos in [0, 1], with their heights and widths."""
        return self.frames[chosen].float() / 255, self.heights[chosen], self.widths[chosen]


# Random strengths -------------------------------------------------------------------------------------------------


def uniform(low: float, high: float, like: Tensor) -> PerPhoto:
    """One number for each photo of `like`."""
    return torch.empty(len(like), device=like.device).uniform_(low, high)


def sometimes(share: float, strength: PerPhoto, neutral: float) -> PerPhoto:
    """`strength` for a random `share` of the photos, `neutral` for the others."""
    return torch.where(torch.rand_like(strength) < share, strength, neutral)


def vary(photo: Photo) -> Photo:
    """Exposure, white balance, haze, contrast, saturation, blur or sharpening, noise and JPEG, each for some photos."""
    share = 0.35
    stops = sometimes(share, uniform(-2.5, 1.5, photo), 0.0)
    balance = torch.exp2(
        sometimes(share, uniform(0.0, 1.0, photo), 0.0)[:, None] * torch.randn_like(photo[:, :, 0, 0]) / 3
    )
    varied = expose(photo, stops, balance)
    varied = haze(varied, sometimes(0.15, uniform(0.2, 2.5, photo), 0.0), uniform(0.5, 1.0, photo))
    varied = contrast(varied, torch.exp2(sometimes(share, uniform(-1.3, 1.0, photo), 0.0)))
    varied = curve(varied, torch.exp2(sometimes(0.3, uniform(-0.8, 0.8, photo), 0.0)))
    varied = saturate(varied, sometimes(share, uniform(0.0, 2.5, photo), 1.0))
    # no mild blur: a critic could not tell it from half size and back, which it should not notice
    varied = unsharp(varied, torch.exp2(uniform(0.8, 2.6, photo)), sometimes(0.2, -uniform(0.3, 1.0, photo), 0.0))
    varied = unsharp(varied, torch.exp2(uniform(-1.0, 2.6, photo)), sometimes(0.2, uniform(0.0, 2.0, photo), 0.0))
    varied = add_noise(varied, sometimes(0.25, uniform(0.0, 0.12, photo), 0.0))
    varied = jpeg(varied, sometimes(0.3, uniform(8.0, 95.0, photo), 100.0))
    return round_to_bytes(varied)


# Variations: photo and one strength per photo -> photo ------------------------------------------------------------


def expose(photo: Photo, stops: PerPhoto, balance: Float[Tensor, "n 3"]) -> Photo:
    """Light multiplied by 2^stops and by `balance` in each channel."""
    gain = (torch.exp2(stops)[:, None] * balance) ** (1 / GAMMA)
    return (photo * gain[:, :, None, None]).clamp(0, 1)


def haze(photo: Photo, density: PerPhoto, airlight: PerPhoto) -> Photo:
    """Gray haze that thickens toward the top of the frame, where landscapes are far away; density 0 is none."""
    depth = torch.linspace(1, 0, photo.shape[2], device=photo.device)[:, None]
    transmission = torch.exp(-density[:, None, None, None] * depth)
    light = photo.clamp_min(1e-6) ** GAMMA * transmission + _per_photo(airlight) ** GAMMA * (1 - transmission)
    return torch.where(_per_photo(density) > 0, light ** (1 / GAMMA), photo)


def contrast(photo: Photo, factor: PerPhoto) -> Photo:
    """Distances to the photo's mean multiplied by `factor`."""
    mean = photo.mean((1, 2, 3), keepdim=True)
    return (mean + _per_photo(factor) * (photo - mean)).clamp(0, 1)


def curve(photo: Photo, power: PerPhoto) -> Photo:
    """Display values raised to `power`."""
    return photo.clamp_min(1e-6) ** _per_photo(power)


def saturate(photo: Photo, factor: PerPhoto) -> Photo:
    """Differences to the Rec. 601 luma multiplied by `factor`."""
    luma = torch.einsum("c,nchw->nhw", photo.new_tensor(_TO_YCBCR[0]), photo)[:, None]
    return (luma + _per_photo(factor) * (photo - luma)).clamp(0, 1)


def unsharp(photo: Photo, sigma: PerPhoto, amount: PerPhoto) -> Photo:
    """`amount` times what a Gaussian of `sigma` px removes is added: -1 blurs, above 0 sharpens."""
    rows, columns = (_gaussian_weights(length, sigma) for length in photo.shape[2:])
    blurred = rows @ (photo @ columns.mT)
    return (photo + _per_photo(amount) * (photo - blurred)).clamp(0, 1)


def _gaussian_weights(length: int, sigma: PerPhoto) -> Float[Tensor, "n 1 length length"]:
    positions = torch.arange(length, device=sigma.device, dtype=torch.float32)
    distances = (positions[:, None] - positions).square()
    weights = torch.exp(-distances / (2 * sigma.clamp_min(0.1).square())[:, None, None, None])
    return weights / weights.sum(-1, keepdim=True)


def add_noise(photo: Photo, deviation: PerPhoto) -> Photo:
    """Gaussian noise, independent for each value."""
    return (photo + _per_photo(deviation) * torch.randn_like(photo)).clamp(0, 1)


def round_to_bytes(photo: Photo) -> Photo:
    """What eight bits a channel keep."""
    return (photo.clamp(0, 1) * 255).round() / 255


def jpeg(photo: Photo, quality: PerPhoto) -> Photo:
    """What baseline JPEG with 4:2:0 chroma keeps; quality 1..99 as in libjpeg, 100 leaves the photo as it is.

    Height and width must be multiples of 16. Coding is lossless and left out; so are roundings between the steps.
    """
    to_ycbcr = photo.new_tensor(_TO_YCBCR)
    ycbcr = torch.einsum("kc,nchw->nkhw", to_ycbcr, photo * 255)
    luma, chroma = ycbcr[:, :1] - 128, torch.nn.functional.avg_pool2d(ycbcr[:, 1:], 2)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality) / 100
    luma = _quantize_blocks(luma, scale, _LUMINANCE_TABLE) + 128
    chroma = _quantize_blocks(chroma, scale, _CHROMINANCE_TABLE)
    chroma = torch.nn.functional.interpolate(chroma, scale_factor=2, mode="bilinear")
    decoded = torch.einsum("kc,nchw->nkhw", photo.new_tensor(_TO_RGB), torch.cat([luma, chroma], 1)) / 255
    return torch.where(_per_photo(quality) < 100, decoded.clamp(0, 1), photo)


def _quantize_blocks(channels: Float[Tensor, "n c h w"], scale: PerPhoto, table: str) -> Float[Tensor, "n c h w"]:
    n, c, height, width = channels.shape
    basis = _cosine_basis(channels.device)
    steps = torch.tensor([float(step) for step in table.split()], device=channels.device).view(1, 1, 1, 8, 1, 8)
    steps = (steps * scale.view(n, 1, 1, 1, 1, 1) + 0.5).floor().clamp(1, 255)
    blocks = channels.reshape(n, c, height // 8, 8, width // 8, 8)
    spectrum = torch.einsum("ui,vj,ncyixj->ncyuxv", basis, basis, blocks)
    spectrum = (spectrum / steps).round() * steps
    return torch.einsum("ui,vj,ncyuxv->ncyixj", basis, basis, spectrum).reshape(channels.shape)


def _cosine_basis(device: torch.device) -> Float[Tensor, "8 8"]:
    """Rows of the orthonormal discrete cosine transform."""
    index = torch.arange(8, device=device, dtype=torch.float32)
    basis = torch.cos(torch.pi / 8 * (index + 0.5) * index[:, None]) / 2
    return torch.cat([basis[:1] / 2**0.5, basis[1:]])


def _per_photo(strength: PerPhoto) -> Float[Tensor, "n 1 1 1"]:
    return strength.view(-1, 1, 1, 1)


# Crops, and what teacher and student see of them -------------------------------------------------------------------


@dataclass
class Crops:
    """One rectangle of each frame, in px; a mirrored one is read from right to left."""

    top: PerPhoto
    left: PerPhoto
    height: PerPhoto
    width: PerPhoto
    mirrored: PerPhoto

    @classmethod
    def random(cls, heights: Int[Tensor, " n"], widths: Int[Tensor, " n"], whole: float, smallest: int = 96) -> Crops:
        """Rectangles of any scale and aspect; a share `whole` of them is the whole photo."""
        all_of_it = torch.rand(len(heights), device=heights.device) < whole
        height_and_width = []
        for lengths in (heights, widths):
            length = lengths.float()
            side = length * (smallest / length).clamp_max(1) ** torch.rand_like(length)
            height_and_width.append(torch.where(all_of_it, length, side.round()))
        height, width = height_and_width
        top = (torch.rand_like(height) * (heights - height)).round()
        left = (torch.rand_like(width) * (widths - width)).round()
        return cls(top, left, height, width, mirrored=(torch.rand_like(top) < 0.5).float())

    def jittered(self, distance: float) -> Crops:
        """The same rectangles, each shifted by up to `distance` px."""
        top, left = (start + uniform(-distance, distance, start) for start in (self.top, self.left))
        return replace(self, top=top, left=left)


def antialiased_view(frame: Photo, crops: Crops, size: int) -> Float[Tensor, "n 3 size size"]:
    """Each crop resampled to a square with a triangle filter, as antialiased bilinear resampling does."""
    rows = _triangle_weights(frame.shape[2], crops.top, crops.height, size)
    columns = _triangle_weights(frame.shape[3], crops.left, crops.width, size)
    columns = torch.where(crops.mirrored.view(-1, 1, 1, 1) > 0, columns.flip(2), columns)
    return rows @ (frame @ columns.mT)


def _triangle_weights(length: int, start: PerPhoto, extent: PerPhoto, size: int) -> Float[Tensor, "n 1 size length"]:
    scale = (extent / size)[:, None, None]
    centers = start[:, None, None] + (torch.arange(size, device=start.device)[:, None] + 0.5) * scale - 0.5
    inputs = torch.arange(length, device=start.device, dtype=torch.float32)
    weights = (1 - (centers - inputs).abs() / scale.clamp(min=1)).clamp(min=0)
    inside = (inputs > start[:, None, None] - 0.75) & (inputs < (start + extent)[:, None, None] - 0.25)
    weights = weights * inside + 1e-12 * inside
    return (weights / weights.sum(-1, keepdim=True))[:, None]


def collage(views: tuple[Tensor, ...], mixed: float, pasted: float) -> tuple[Tensor, ...]:
    """Some photos faded into the next of the batch, some with a rectangle of it, alike in each of the `views`.

    Source: mixup, Zhang et al., ICLR 2018, and CutMix, Yun et al., ICCV 2019, as used for function matching by Beyer
    et al., Knowledge Distillation: A Good Teacher Is Patient and Consistent, CVPR 2022, section 3.
    """
    one = views[0]
    fading = sometimes(mixed, uniform(0.0, 0.5, one), 0.0)
    pasting = sometimes(pasted, torch.ones_like(fading), 0.0)
    edges = [torch.rand(len(one), 2, device=one.device).sort(1).values for _ in range(2)]
    combined = []
    for view in views:
        inside = [
            (grid >= edge[:, :1]) & (grid <= edge[:, 1:])
            for edge, length in zip(edges, view.shape[2:], strict=True)
            for grid in [((torch.arange(length, device=view.device) + 0.5) / length)[None]]
        ]
        rectangle = (inside[0][:, None, :, None] & inside[1][:, None, None, :]).float() * _per_photo(pasting)
        share = torch.maximum(_per_photo(fading), rectangle)
        combined.append(view + share * (view.roll(1, 0) - view))
    return tuple(combined)
