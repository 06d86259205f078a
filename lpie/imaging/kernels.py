"""Finds the kernels of `lpie.fast`: the one place that knows of that folder.

Every function that has a kernel is also written in plain torch, which gives the same result, slower.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

COMPILERS = {"cpu": "numba", "cuda": "triton"}
SUFFIXES = {"cpu": "_cpu", "cuda": "_gpu"}  # of modules for one device; others serve both
is_exporting = getattr(torch.compiler, "is_exporting", lambda: False)  # torch 2.6 cannot tell


def find(name: str, tensor: Tensor) -> ModuleType | None:
    """The module of `lpie.fast` that computes `name` on the tensor's device, or None: then plain torch computes it.

    None where the folder or its compiler (numba on a CPU, Triton on a GPU) is missing, and in `torch.func` and
    `torch.export`. `torch.compile` calls the kernels of `local_laplacian` between two graphs, and no others.
    """
    if is_followed():
        whole = name == "local_laplacian" and torch.compiler.is_compiling() and not is_exporting()
        return _module("local_laplacian_untraced", tensor.device.type) if whole else None
    return _module(name, tensor.device.type)


def recorded(score: Callable[..., Tensor], *photos: Tensor, owner: Any, settings: Hashable = ()) -> Tensor:
    """`score(*photos)`, on a GPU by a CUDA graph where `lpie.fast.recorded_gpu.scores`, which see, has one."""
    found = find("recorded", photos[0])
    return found.scores(score, photos, owner, settings) if found else score(*photos)


@cache
def _module(name: str, device: str) -> ModuleType | None:
    if device not in COMPILERS or find_spec(COMPILERS[device]) is None:
        return None
    for module in (f"lpie.fast.{name}", f"lpie.fast.{name}{SUFFIXES[device]}"):
        try:
            return import_module(module)
        except ModuleNotFoundError as error:
            if error.name not in ("lpie.fast", module):
                raise
    return None


def is_followed() -> bool:
    """Whether torch traces or transforms the computation, so that values cannot be read."""
    return torch.compiler.is_compiling() or is_transformed()


def is_transformed() -> bool:
    """Whether `torch.func` (grad, vmap and the others) transforms the computation."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def channels_last(features: Tensor) -> Tensor:
    """The same features (N, C, H, W) with channels last in memory, except in `torch.func`, which does not allow it."""
    return features if is_transformed() else features.contiguous(memory_format=torch.channels_last)
