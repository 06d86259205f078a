"""LPIPS: zero for equal photos, its definition layer by layer, and what happens where AlexNet cannot be had."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torchvision.models import AlexNet_Weights, alexnet

from lpie.judges import lpips as perceptual_distance
from lpie.judges.lpips import alexnet_is_here, fetch_alexnet, lpips


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty hub cache; networks loaded from it are forgotten afterwards."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    perceptual_distance.network_on.cache_clear()
    yield tmp_path / "checkpoints"
    perceptual_distance.network_on.cache_clear()


@pytest.fixture
def features(hub: Path) -> torch.nn.Sequential:
    """AlexNet's convolutions, drawn at random, whose weights lie in the hub cache as if downloaded."""
    torch.manual_seed(0)
    network = alexnet().eval()
    hub.mkdir()
    torch.save(network.state_dict(), hub / Path(AlexNet_Weights.IMAGENET1K_V1.url).name)
    return network.features


@torch.no_grad()
def test_lpips_is_its_definition(features: torch.nn.Sequential) -> None:
    assert alexnet_is_here()
    photo, reference = torch.rand(2, 2, 3, 97, 81)
    measured = lpips(photo, reference)

    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 1, 3, 1, 1)
    a, b = (photo - mean) / deviation, (reference - mean) / deviation
    heads = perceptual_distance.network_on("cpu").lins
    expected, layer = torch.zeros(2), 0
    for module in features:
        a, b = module(a), module(b)
        if isinstance(module, torch.nn.ReLU):
            difference = (torch.nn.functional.normalize(a, dim=1) - torch.nn.functional.normalize(b, dim=1)).square()
            expected += torch.einsum("nchw,c->nhw", difference, heads[layer].model[1].weight.flatten()).mean((1, 2))
            layer += 1
    assert layer == 5
    torch.testing.assert_close(measured, expected, rtol=2e-3, atol=1e-5)  # the scaling layer rounds its constants


@pytest.mark.usefixtures("features")
def test_lpips_is_zero_for_equal_photos_and_one_value_for_each_photo() -> None:
    photo = torch.rand(3, 3, 64, 70)
    assert lpips(photo, photo).tolist() == [0, 0, 0]
    other = photo.clone()
    other[1] = 1 - other[1]
    distances = lpips(other, photo)
    assert distances[[0, 2]].tolist() == [0, 0]
    assert distances[1] > 0


def test_without_alexnet_the_log_says_why_and_lpips_says_what_to_do(
    hub: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(AlexNet_Weights, "get_state_dict", offline)
    assert not fetch_alexnet()
    assert "without LPIPS" in caplog.text
    assert "no network" in caplog.text
    with pytest.raises(FileNotFoundError, match="fetch_alexnet"):
        lpips(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))
