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

__all__ = ["open_weights", "rebuild", "shipped_names", "write_tensors"]

SHIPPED = Path(__file__).parent


def shipped_names() -> list[str]:
    """Names that `open_weights` knows without a path."""
    return sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def open_weights(name: str | os.PathLike[str]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors (as float32 where stored as float16) and metadata of a shipped network or a safetensors file.

    Raises FileNotFoundError, naming what is shipped, if `name` is neither.
    """
    shipped = SHIPPED / f"{os.fspath(name)}.safetensors"
    path = shipped if shipped.exists() else Path(name)
    if not path.exists():
        known = ", ".join(shipped_names())
        raise FileNotFoundError(f"No weights called {os.fspath(name)!r}: give one of {known}, or a .safetensors file.")
    tensors, metadata = read_tensors(path)
    floats = {key: value.float() if value.dtype == torch.float16 else value for key, value in tensors.items()}
    return floats, metadata


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
