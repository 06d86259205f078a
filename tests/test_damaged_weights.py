"""Files of networks that are damaged or make no network: one error that names the file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lpie import networks
from lpie.critic.nima import NIMA
from lpie.networks.context_aggregation import ContextAggregationNetwork
from lpie.records import write_tensors
from lpie.weights import open_weights

SHIPPED = {"tone-can24-plain": "can24", "tone-grid-plain": "grid", "tone-parameters-plain": "parameters"}


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_with_a_weight_that_is_not_finite_is_refused(name: str, value: float, tmp_path: Path) -> None:
    tensors, metadata = open_weights(name)
    key = min(tensors)
    tensors[key].view(-1)[0] = value
    write_tensors(tmp_path / "damaged.safetensors", tensors, metadata)
    with pytest.raises(ValueError, match=rf"damaged\.safetensors: {key} holds weights that are not finite"):
        networks.from_pretrained(tmp_path / "damaged.safetensors")


def test_a_critic_with_a_weight_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    critic = NIMA(input_size=32)
    with torch.no_grad():
        critic.network.fc.bias[3] = float("nan")
    critic.save(tmp_path / "critic.safetensors")
    with pytest.raises(ValueError, match=r"critic\.safetensors: fc\.bias holds weights that are not finite"):
        NIMA.from_pretrained(tmp_path / "critic.safetensors")


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("opened", [NIMA.from_pretrained, networks.from_pretrained])
def test_a_name_that_leads_to_no_file_is_told_from_an_unknown_one_and_from_a_folder(opened, tmp_path: Path) -> None:
    for name in ("nope.safetensors", tmp_path / "nope"):
        with pytest.raises(FileNotFoundError, match=r"nope.*: there is no such file; check the name"):
            opened(name)
    with pytest.raises(ValueError, match=r"expected a \.safetensors file, got a folder"):
        opened(tmp_path)
    with pytest.raises(TypeError, match=r"Expected a .*s name or a \.safetensors file, got int"):
        opened(3)
    with pytest.raises(FileNotFoundError, match=r"Unknown .* 'nope'"):
        opened("nope")


@pytest.mark.usefixtures("unchecked_shapes")
def test_an_unknown_convention_is_no_fault_of_the_file() -> None:
    with pytest.raises(ValueError, match=r"^Unknown convention 'foo'\. Choose one of antialiased, published"):
        NIMA.from_pretrained("compact", convention="foo")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [{"bins": ""}, {"bins": "10000000000"}, {"thumbnail": "999999999"}, {"thumbnail": None}, {"bins": "4"}],
)
def test_metadata_that_makes_no_network_is_refused_by_the_files_name(
    change: dict[str, str | None], tmp_path: Path
) -> None:
    tensors, metadata = open_weights("tone-grid-plain")
    changed = {key: value for key, value in {**metadata, **change}.items() if value is not None}
    write_tensors(tmp_path / "odd.safetensors", tensors, changed)
    with pytest.raises(ValueError, match=r"odd\.safetensors: expected the tensors and metadata of one network"):
        networks.from_pretrained(tmp_path / "odd.safetensors")


def test_sizes_that_no_photo_has_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    critic = NIMA(input_size=32)
    write_tensors(
        tmp_path / "vast.safetensors", critic.network.state_dict(), {**critic.metadata(), "input_size": "1000000"}
    )
    with pytest.raises(ValueError, match=r"vast\.safetensors.*at most 4096, got 1000000"):
        NIMA.from_pretrained(tmp_path / "vast.safetensors")
    with pytest.raises(ValueError, match="1 to 1024 px"):
        ContextAggregationNetwork(8, (1, 10**9))
