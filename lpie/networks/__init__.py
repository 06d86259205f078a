"""The networks that learn the operators, from the most to the least free, a row each in `FAMILIES`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from lpie.names import find

if TYPE_CHECKING:
    from torch import nn

    NetworkName = Literal["can24", "can32", "grid", "parameters"]  # for type checkers; at run time the table decides
else:
    NetworkName = str

__all__ = ["FAMILIES", "Family", "NetworkName", "build", "from_pretrained"]


@dataclass(frozen=True)
class Family:
    """One kind of network.

    A network takes a photo and returns the enhanced one; `uses_estimate` says whether it also takes what the operator's
    `estimate` found, and `metadata()` gives what `open` needs beside its tensors, under `network` the family's name.
    """

    name: str
    label: str
    """What readers of tables and figures call it."""
    build: Callable[..., Any]
    """(operator's name, **settings of the network) -> untrained network."""
    open: Callable[..., Any]
    """(tensors, metadata) -> trained network; raises ValueError where they do not belong together."""
    options: tuple[str, ...] = ()
    """Settings of `build` that may be turned on."""


def _network(module: str, name: str) -> Any:
    """The class of a network, whose module is imported when one is first wanted."""
    return getattr(import_module(f"lpie.networks.{module}"), name)


_can = partial(_network, "context_aggregation", "ContextAggregationNetwork")
_grid = partial(_network, "bilateral_grid", "BilateralGrid")
_parameters = partial(_network, "operator_parameters", "OperatorParameters")

FAMILIES: dict[str, Family] = {
    row.name: row
    for row in (
        Family(
            "can24", "CAN24", lambda _, **more: _can()(24, **more), lambda *of: _can().from_tensors(*of), ("mirrored",)
        ),
        Family(
            "can32", "CAN32", lambda _, **more: _can()(32, **more), lambda *of: _can().from_tensors(*of), ("mirrored",)
        ),
        Family(
            "grid",
            "bilateral grid",
            lambda _, **more: _grid()(**more),
            lambda *of: _grid().from_tensors(*of),
            options=("luminance_led",),
        ),
        Family(
            "parameters",
            "operator parameters",
            lambda operator, **more: _parameters()(operator, **more),
            lambda *of: _parameters().from_tensors(*of),
        ),
    )
}


def build(network: NetworkName, operator: str, **settings: Any) -> nn.Module:
    """An untrained network of the family `network`, as every study starts with, for `operator`.

    `settings`: further arguments of the network, such as the bins of a grid. Raises ValueError for other names.
    """
    return find(FAMILIES, network, "network").build(operator, **settings)


def from_pretrained(name: str | os.PathLike[str]) -> nn.Module:
    """A trained network of whichever family its weights say, in eval mode: a shipped name or a safetensors file.

    Raises FileNotFoundError if there is no such file, ValueError if it holds no network of this package.
    """
    from lpie.weights import open_weights, rebuild

    tensors, metadata = open_weights(name)
    family = metadata.get("network", "")
    if "beta" in tensors or (family.startswith("can") and family not in FAMILIES):
        family = "can32"  # the authors' own networks, and context aggregation networks of other widths
    if family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise ValueError(f"{name}: expected an enhancing network (network = one of {known}), got {family!r}.")
    return rebuild(name, FAMILIES[family].open, tensors, metadata)
