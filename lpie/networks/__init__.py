"""What learns the operators, from the most to the least free."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from lpie.study.settings import NetworkName, OperatorName


def build(network: NetworkName, operator: OperatorName) -> nn.Module:
    """An untrained network, as every study starts with: `can24`, `can32`, `grid` or `parameters`, for `operator`.

    Raises ValueError for other names.
    """
    from lpie.networks.bilateral_grid import BilateralGrid
    from lpie.networks.context_aggregation import ContextAggregationNetwork
    from lpie.networks.operator_parameters import OperatorParameters

    if network in ("can24", "can32"):
        return ContextAggregationNetwork(width=int(network.removeprefix("can")))
    if network == "grid":
        return BilateralGrid()
    if network == "parameters":
        return OperatorParameters(operator)
    raise ValueError(f"Unknown network {network!r}: choose can24, can32, grid or parameters.")


def from_pretrained(name: str | os.PathLike[str]) -> nn.Module:
    """A trained network of whichever kind its weights say, in eval mode: a shipped name or a safetensors file.

    Raises FileNotFoundError if there is no such file, ValueError if it holds no network of this package.
    """
    from lpie.networks.bilateral_grid import BilateralGrid
    from lpie.networks.context_aggregation import ContextAggregationNetwork
    from lpie.networks.operator_parameters import OperatorParameters
    from lpie.weights import open_weights

    tensors, metadata = open_weights(name)
    kind = "can" if "beta" in tensors else metadata.get("network", "")
    if kind.startswith("can"):
        return ContextAggregationNetwork.from_pretrained(name)
    if kind == "grid":
        return BilateralGrid.from_pretrained(name)
    if kind == "parameters":
        return OperatorParameters.from_pretrained(name)
    raise ValueError(
        f"{name}: expected an enhancing network (network = can24, can32, grid or parameters), got {kind!r}."
    )
