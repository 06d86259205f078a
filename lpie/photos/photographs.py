"""Photographs as tensors: read, written, and those that come inside installed packages."""

from __future__ import annotations

import os
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lpie.imaging.checks import check_photo
from lpie.imaging.resampling import reduced
from lpie.photos.decoding import MOST_MEGAPIXELS
from lpie.photos.reading import PhotoFile, PhotoSource, Pixels, open_photo
from lpie.photos.writing import DEEP_KINDS, kind_of, save_photo
from lpie.vocabulary import Photo

MOTORCYCLE_OFFSET = 31.086  # px


def read_photo(source: PhotoSource, max_megapixels: float = MOST_MEGAPIXELS) -> Photo:
    """The photograph in a file (or its bytes, or an open binary file), upright, as sRGB in [0, 1], (1, 3, H, W).

    Gray, transparent (composited over white), palette, CMYK, 16-bit, rotated and wide-gamut photographs all work,
    see `lpie.photos.reading.open_photo`. Raises FileNotFoundError or ValueError, naming the file; TypeError for
    anything but a source.
    """
    return from_pixels(open_photo(source, max_megapixels).pixels)


def write_photo(photo: Photo, path: str | os.PathLike[str], bits: Literal[8, 16] | None = None) -> None:
    """Write one photo as JPEG or WebP (8 bits) or PNG or TIFF (16 bits, or 8 if asked), whole or not at all.

    Raises TypeError if it is no tensor, ValueError if it is not one photo of numbers in [0, 1] or the name asks for an
    unknown format or depth; OSError, with any old file untouched, if the disk is full or the folder cannot be written.
    """
    deep = kind_of(path) in DEEP_KINDS
    if bits not in (None, 8, 16):
        raise ValueError(f"Expected bits=8, bits=16 or None for what the format holds, got {bits!r}.")
    if bits == 16 and not deep:
        raise ValueError(f"{os.fspath(path)}: this format holds 8 bits, but 16 were asked for; write .png or .tiff.")
    check_photo(photo, wait=True)
    if photo.shape[0] != 1:
        raise ValueError(f"Expected one photo (1, 3, H, W), got a batch {tuple(photo.shape)}; write each alone.")
    save_photo(PhotoFile(to_pixels(photo, bits or (16 if deep else 8))), path)


def from_pixels(pixels: Pixels) -> Float[Tensor, "1 3 h w"]:
    """Stored pixels (H, W, 3), uint8 or uint16, as a photo."""
    scaled = torch.from_numpy(pixels.astype(np.float32)).div_(np.iinfo(pixels.dtype).max)
    return scaled.permute(2, 0, 1).unsqueeze(0).contiguous()


def to_pixels(photo: Photo, bits: int) -> Pixels:
    """One photo as stored pixels (H, W, 3), uint8 or uint16, rounded. Raises ValueError as `check_photo`."""
    check_photo(photo, wait=True)
    most, dtype = (255, np.uint8) if bits == 8 else (65535, np.uint16)
    scaled = photo[0].detach().float().clamp(0, 1).mul(most).round_()
    return scaled.permute(1, 2, 0).contiguous().cpu().numpy().astype(dtype)


def demo_photographs(shortest_side: int = 0) -> dict[str, Photo]:
    """The photographs inside scikit-image and scikit-learn, by name, each (1, 3, H, W), `reduced` to a size."""
    import skimage.data
    from sklearn.datasets import load_sample_image

    pixels = {name: getattr(skimage.data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")}
    pixels["motorcycle"] = skimage.data.stereo_motorcycle()[0]
    pixels |= {name: load_sample_image(f"{name}.jpg") for name in ("china", "flower")}
    return {name: reduced(from_pixels(stored), shortest_side) for name, stored in pixels.items()}


def demo_depth() -> Float[Tensor, "1 1 h w"]:
    """Depth of the motorcycle scene relative to its farthest point, in (0, 1], from its measured disparity.

    depth = 1 / (disparity + offset), with the rig's offset between its two principal points. What was not measured,
    being hidden from one camera, lies behind: it takes the farther of the nearest measurements left and right.

    Source: Scharstein et al., GCPR 2014 (Middlebury stereo), calibration of the scene: Z = baseline f / (d + doffs).
    """
    import pandas as pd
    import skimage.data

    disparity = pd.DataFrame(skimage.data.stereo_motorcycle()[2].astype(np.float64))
    disparity = disparity.where(np.isfinite(disparity))
    for axis in (1, 0):  # by rows, then by columns for rows without any
        disparity = disparity.ffill(axis=axis).combine(disparity.bfill(axis=axis), np.fmin)
    depth = 1 / (disparity.to_numpy() + MOTORCYCLE_OFFSET)
    return torch.from_numpy(depth / depth.max()).float()[None, None]
