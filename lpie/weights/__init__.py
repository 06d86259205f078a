"""The small networks that this project trained, as safetensors with a card each.

A card is the Markdown file of the same name; what code needs to rebuild the network (its class and settings)
stands in the safetensors metadata.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

from lpie.records import read_tensors

SHIPPED = Path(__file__).parent


def shipped_names() -> list[str]:
    """Names that `open_weights` knows without a path."""
    return sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def open_weights(name: str | os.PathLike[str]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors (as float32 where stored in half precision) and metadata of a shipped network or a safetensors file.

    Raises FileNotFoundError, naming what is shipped, if `name` is neither.
    """
    shipped = SHIPPED / f"{os.fspath(name)}.safetensors"
    path = shipped if shipped.exists() else Path(name)
    if not path.exists():
        known = ", ".join(shipped_names())
        raise FileNotFoundError(f"No weights called {os.fspath(name)!r}: give one of {known}, or a .safetensors file.")
    tensors, metadata = read_tensors(path)
    return {key: value.float() if value.dtype == torch.float16 else value for key, value in tensors.items()}, metadata
