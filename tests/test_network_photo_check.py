"""One clear error where a photo's precision is not the network's."""

from __future__ import annotations

import pytest
import torch

from lpie.imaging.checks import check_precision
from lpie.networks.bilateral_grid import BilateralGrid
from lpie.networks.context_aggregation import ContextAggregationNetwork
from lpie.networks.operator_parameters import OperatorParameters

FAMILIES = [BilateralGrid, OperatorParameters, ContextAggregationNetwork]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_another_precision_is_refused_with_what_to_do(family, dtype):
    with pytest.raises(TypeError, match=rf"Expected a float32 photo.*got {dtype}.*photo\.to\(torch\.float32\)"):
        family()(torch.rand(1, 3, 8, 8).to(dtype))


@pytest.mark.parametrize("family", FAMILIES)
def test_bytes_are_refused_with_what_to_do(family):
    with pytest.raises(TypeError, match="from_uint8"):
        check_precision(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_autocast_takes_every_precision_but_float64(dtype):
    photo = torch.rand(1, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        check_precision(photo.to(dtype), torch.float32)
        with pytest.raises(TypeError, match=r"got torch\.float64"):
            check_precision(photo.double(), torch.float32)


def test_a_network_of_double_precision_takes_double_photos():
    check_precision(torch.rand(1, 3, 8, 8, dtype=torch.float64), torch.float64)
