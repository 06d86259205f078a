"""Where plain torch gives way to a kernel: the one place that knows of `lpie.fast`.

Every function that has a kernel stands in plain torch too, and gives the same without it, slower.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

COMPILERS = {"cpu": "numba", "cuda": "triton"}
MODULES = {  # on a CPU, on a GPU
    "context_aggregation": {"cuda": "context_aggregation_gpu"},
    "local_laplacian": {"cpu": "local_laplacian", "cuda": "local_laplacian"},
    "local_laplacian_untraced": {"cpu": "local_laplacian_untraced", "cuda": "local_laplacian_untraced"},
    "similarity": {"cpu": "similarity_cpu"},
}


def find(name: str, tensor: Tensor) -> ModuleType | None:
    """The module of `lpie.fast` that computes `name` on the tensor's device; None where plain torch has to.

    That is so where the folder or its compiler (numba on a CPU, Triton on a GPU) is missing, and where torch follows
    the computation instead of doing it: in `torch.func` (grad, vmap and the others) and
    `torch.export`. `torch.compile` calls the filter of `local_laplacian` as it is, between two graphs.
    """
    if is_followed():
        whole = name == "local_laplacian" and torch.compiler.is_compiling() and not is_exporting()
        return _module("local_laplacian_untraced", tensor.device.type) if whole else None
    return _module(name, tensor.device.type)


@cache
def _module(name: str, device: str) -> ModuleType | None:
    module = MODULES[name].get(device)
    if module is None or find_spec(COMPILERS[device]) is None:
        return None
    try:
        return import_module(f"lpie.fast.{module}")
    except ModuleNotFoundError as error:
        if error.name in ("lpie.fast", f"lpie.fast.{module}"):
            return None
        raise


def is_followed() -> bool:
    """Whether torch follows a computation to transform or compile it, so that no value may be looked at."""
    return torch.compiler.is_compiling() or is_transformed()


def is_transformed() -> bool:
    """Whether `torch.func` (grad, vmap and the others) transforms the computation."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def channels_last(features: Tensor) -> Tensor:
    """The same features (N, C, H, W) with channels last in memory, except in `torch.func`, which knows no such."""
    return features if is_transformed() else features.contiguous(memory_format=torch.channels_last)


def is_exporting() -> bool:
    """Whether `torch.export` follows; torch 2.6 cannot say."""
    return hasattr(torch.compiler, "is_exporting") and torch.compiler.is_exporting()


def gradient_of_plain(
    plain: Callable[..., Tensor], inputs: Sequence[Any], wanted: Sequence[bool], output_gradient: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradient of `plain(*inputs)`, itself differentiable: what a kernel's backward returns where its gradient
    will be differentiated again, which kernels cannot do."""
    asked = [each for each, needed in zip(inputs, wanted, strict=True) if needed]
    found = iter(torch.autograd.grad(plain(*inputs), asked, output_gradient, create_graph=True, materialize_grads=True))
    return tuple(next(found) if needed else None for needed in wanted)
