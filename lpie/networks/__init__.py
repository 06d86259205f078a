"""The networks that learn the operators, a row each in `FAMILIES`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lpie.names import find, late

if TYPE_CHECKING:
    from torch import nn

    NetworkName = Literal["can24", "can32", "grid", "parameters"]  # for type checkers; at run time the table decides
else:
    NetworkName = str

__all__ = ["FAMILIES", "Family", "NetworkName", "build", "from_pretrained"]


@dataclass(frozen=True)
class Family:
    """One kind of network.

    A network takes a photo of any size and returns the enhanced one, float32 (float64 for float64): in [0, 1] after
    `eval()`, unclipped in training, so that values outside keep their gradient. It raises TypeError for integers and
    ValueError for other shapes. `uses_estimate` says whether it also takes what the operator's `estimate` found, and
    `metadata()` gives what `open` needs beside its tensors, under `network` the family's name.
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


def _family(
    name: str, label: str, network: str, given: Callable[[str], tuple[Any, ...]] = lambda _: (), **more: Any
) -> Family:
    """The row of the class at the address `network` in this room, built with what `given` says of the operator."""
    built, opened = late(f"lpie.networks.{network}"), late(f"lpie.networks.{network}.from_tensors")
    return Family(name, label, lambda operator, **settings: built(*given(operator), **settings), opened, **more)


_CAN = "context_aggregation:ContextAggregationNetwork"

FAMILIES: dict[str, Family] = {
    row.name: row
    for row in (
        _family("can24", "CAN24", _CAN, lambda _: (24,), options=("mirrored",)),
        _family("can32", "CAN32", _CAN, lambda _: (32,), options=("mirrored",)),
        _family("grid", "bilateral grid", "bilateral_grid:BilateralGrid", options=("luminance_led",)),
        _family("parameters", "operator parameters", "operator_parameters:OperatorParameters", lambda one: (one,)),
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

    tensors, metadata = open_weights(name, "network")
    family = metadata.get("network", "")
    if "beta" in tensors or (family.startswith("can") and family not in FAMILIES):
        family = "can32"  # the authors' own networks, and context aggregation networks of other widths
    return rebuild(name, find(FAMILIES, family, f"network in {name}:").open, tensors, metadata)
