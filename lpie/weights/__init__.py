"""The small networks that this project trained, as safetensors with a card each.

A card is the Markdown file of the same name; what code needs to rebuild the network (its class and settings)
stands in the safetensors metadata.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal, TypeVar

import torch

from lpie.names import unknown
from lpie.records import read_tensors, write_tensors

__all__ = ["open_weights", "rebuild", "shipped_names", "write_tensors"]

SHIPPED = Path(__file__).parent

Kind = Literal["critic", "judge", "network"]
KINDS: dict[str, Kind] = {"nima": "critic", "niqe": "judge"}  # of what the metadata call the network; else "network"
CALLED: dict[Kind, str] = {"critic": "a critic", "judge": "a judge", "network": "an enhancing network"}


def shipped_names(kind: Kind | None = None) -> list[str]:
    """Names that `open_weights` knows without a path, of all kinds or of one."""
    names = sorted(path.stem for path in SHIPPED.glob("*.safetensors"))
    return [name for name in names if kind is None or KINDS.get(open_weights(name)[1]["network"], "network") == kind]


def open_weights(
    name: str | os.PathLike[str], kind: Kind | None = None, others: Iterable[str] = ()
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors (as float32 where stored as float16) and metadata of a shipped network or a safetensors file.

    Raises FileNotFoundError if `name` is neither, ValueError if it is a folder or of another `kind`; for a name that is
    not known they say what may be chosen, `others` too.
    """
    if not isinstance(name, str | os.PathLike):
        raise TypeError(f"Expected a {kind or 'network'}'s name or a .safetensors file, got {type(name).__name__}.")
    shipped = SHIPPED / f"{os.fspath(name)}.safetensors"
    path = shipped if shipped.exists() else Path(name)
    if path.is_dir():
        raise ValueError(f"{path}: expected a .safetensors file, got a folder; name one file in it.")
    if not path.exists() and (path.suffix or path.name != os.fspath(name)):
        raise FileNotFoundError(f"{path}: there is no such file; check the name.")
    if not path.exists():
        known = [*others, *shipped_names(kind)]
        raise FileNotFoundError(f"{unknown(known, os.fspath(name), kind or 'weights')}, or give a .safetensors file.")
    tensors, metadata = read_tensors(path)
    if kind and "network" in metadata and kind != (found := KINDS.get(metadata["network"], "network")):
        choice = ", ".join([*others, *shipped_names(kind)])
        raise ValueError(f"{name} is {CALLED[found]}, not {CALLED[kind]}. Choose one of {choice}.")
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
