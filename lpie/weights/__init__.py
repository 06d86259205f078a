"""The small networks that this project trained, as safetensors with a card each.

A card is the Markdown file of the same name; what code needs to rebuild the network (its class and settings)
stands in the safetensors metadata.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch

from lpie.records import read_tensors, write_tensors

__all__ = ["int8_channels", "open_weights", "rebuild", "shipped_names", "write_tensors"]

SHIPPED = Path(__file__).parent
SMALL = 2**16  # weights below which a tensor is worth more than the bytes it would save
SCALE = ".scale"  # ending of the name under which an eight-bit tensor's scales are stored


def shipped_names() -> list[str]:
    """Names that `open_weights` knows without a path."""
    return sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def open_weights(name: str | os.PathLike[str]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors (as float32 where stored in fewer bits) and metadata of a shipped network or a safetensors file.

    Raises FileNotFoundError, naming what is shipped, if `name` is neither.
    """
    shipped = SHIPPED / f"{os.fspath(name)}.safetensors"
    path = shipped if shipped.exists() else Path(name)
    if not path.exists():
        known = ", ".join(shipped_names())
        raise FileNotFoundError(f"No weights called {os.fspath(name)!r}: give one of {known}, or a .safetensors file.")
    tensors, metadata = read_tensors(path)
    scales = {key: tensors.pop(f"{key}{SCALE}") for key in list(tensors) if f"{key}{SCALE}" in tensors}
    for key, value in tensors.items():
        if key in scales:
            tensors[key] = value.float() * scales[key].view(-1, *[1] * (value.ndim - 1))
        elif value.dtype == torch.float16:
            tensors[key] = value.float()
    return tensors, metadata


Network = TypeVar("Network", bound=torch.nn.Module)


def rebuild(
    name: str | os.PathLike[str],
    build: Callable[[Mapping[str, torch.Tensor], Mapping[str, str]], Network],
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str],
) -> Network:
    """The network that `build` makes of a file's tensors and metadata.

    Raises ValueError that names the file where a weight is not finite or they make no network.
    """
    for key, value in tensors.items():
        if not value.isfinite().all():
            raise ValueError(f"{name}: {key} holds weights that are not finite numbers: the file is damaged.")
    try:
        return build(tensors, metadata)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: expected the tensors and metadata of one network, got others ({error}).") from error


def int8_channels(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights in eight bits with one scale for each output channel where that saves most, for `open_weights` to undo.

    Tensors of at least 2^16 weights are rounded to 1/127 of the largest in their channel. The others, the depthwise
    and early layers of a MobileNet, keep half precision: they hold a tenth of its weights, and rounding them moves a
    score by half a point, against 0.05 for the rest.
    """
    stored = {}
    for key, value in tensors.items():
        if value.ndim < 2 or value.numel() < SMALL:
            stored[key] = value.half()
            continue
        scale = value.flatten(1).abs().amax(1).clamp_min(1e-12) / 127
        stored[key] = (value / scale.view(-1, *[1] * (value.ndim - 1))).round().to(torch.int8)
        stored[f"{key}{SCALE}"] = scale.float()
    return stored
