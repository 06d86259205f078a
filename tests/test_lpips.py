"""LPIPS: the values of torchmetrics with torchvision's AlexNet, its gradient, and what happens without its file."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.image.lpips import _LPIPS

from lpie import registry
from lpie.judges import JUDGES, available_references, load_nearness
from lpie.losses import FIDELITIES
from lpie.losses import lpips as room
from lpie.losses.lpips import WEIGHTS, alexnet_on, lpips
from lpie.study.experiments import load_judges
from lpie.study.study_file import find_profile
from lpie.weights.alexnet import SHAPES, read_alexnet


@pytest.fixture
def real_weights() -> None:
    """Skips where the file is not here; nothing is downloaded."""
    if registry.find(WEIGHTS) is None:
        pytest.skip(f"{WEIGHTS} is not here: `lpie data fetch lpips` downloads it")


@pytest.fixture
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No LPIE_DATA, an empty cache, no network."""
    monkeypatch.delenv("LPIE_DATA", raising=False)
    monkeypatch.setenv("LPIE_CACHE", str(tmp_path))
    monkeypatch.setattr(registry, "ADDRESS", "http://127.0.0.1:1/{repository}/{commit}/{path}")
    registry.sources.cache_clear()
    alexnet_on.cache_clear()
    yield
    registry.sources.cache_clear()


def pictures() -> tuple[Tensor, Tensor]:
    """A ramp of colors with waves on it, and darkened; and the ramp twice."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 96), indexing="ij")
    ramp = torch.stack([x, y, x * y])[None]
    waves = (ramp + 0.2 * torch.sin(40 * x) * torch.sin(30 * y)).clamp(0, 1)
    return torch.cat([waves, ramp.square()]), ramp.expand(2, -1, -1, -1)


@pytest.mark.usefixtures("real_weights")
def test_lpips_is_that_of_torchmetrics_with_the_alexnet_of_torchvision() -> None:
    printed = torch.tensor([0.44617966, 0.07330453])  # by torchmetrics 1.9 with torchvision's alexnet-owt-7be5be79.pth
    torch.testing.assert_close(lpips(*pictures()), printed, rtol=0, atol=1e-6)


def test_lpips_is_that_of_torchmetrics_with_any_weights(random_alexnet: list[tuple[Tensor, ...]]) -> None:
    theirs = _LPIPS(pretrained=False, pnet_rand=True)
    convolutions = [module for module in theirs.net.modules() if isinstance(module, torch.nn.Conv2d)]
    for convolution, linear, (weight, bias, head) in zip(convolutions, theirs.lins, random_alexnet, strict=True):
        convolution.weight.data, convolution.bias.data = weight, bias
        linear.model[-1].weight.data = head.view(1, -1, 1, 1)
    photo, reference = torch.rand(2, 3, 3, 67, 81)
    expected = theirs(photo, reference, normalize=True).flatten()
    torch.testing.assert_close(lpips(photo, reference), expected)


@pytest.mark.usefixtures("random_alexnet")
def test_lpips_is_zero_for_equal_photos_and_one_value_for_each_photo() -> None:
    photo = torch.rand(3, 3, 31, 70)
    assert lpips(photo, photo).tolist() == [0, 0, 0]
    other = photo.clone()
    other[1] = 1 - other[1]
    distances = lpips(other, photo)
    assert distances[[0, 2]].tolist() == [0, 0]
    assert distances[1] > 0
    with pytest.raises(ValueError, match="at least 31 px"):
        lpips(photo[..., :30], photo[..., :30])


def test_as_a_fidelity_it_has_a_gradient_even_after_it_measured(
    random_alexnet: list[tuple[Tensor, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "alexnet_on", alexnet_on)
    monkeypatch.setattr(room, "fetch", lambda name: Path(name))
    monkeypatch.setattr(room, "read_alexnet", lambda path: random_alexnet)
    alexnet_on.cache_clear()
    photo, reference = torch.rand(2, 2, 3, 40, 48)
    with torch.inference_mode():
        measured = lpips(photo, reference)
    photo.requires_grad_()
    loss = FIDELITIES["lpips"].loss(photo, reference)
    loss.backward()
    alexnet_on.cache_clear()
    torch.testing.assert_close(loss.detach(), measured.mean())
    assert (photo.grad.abs().sum(1) > 0).float().mean() > 0.9
    assert FIDELITIES["lpips"].loss(photo.detach() - 0.1 * photo.grad / photo.grad.abs().max(), reference) < loss


@pytest.mark.usefixtures("real_weights")
def test_the_file_holds_five_convolutions_and_heads_that_are_not_negative() -> None:
    layers = read_alexnet(registry.fetch(WEIGHTS))
    assert [tuple(weight.shape) for weight, _, _ in layers] == [(out, into, side, side) for out, into, side in SHAPES]
    assert all(head.min() >= 0 for _, _, head in layers)


def test_nothing_in_the_file_is_run(tmp_path: Path) -> None:
    harmful = b"\x80\x03cos\nmkdir\nX" + len(str(tmp_path / "made")).to_bytes(4, "little")
    path = tmp_path / "alexnet.ckpt"
    path.write_bytes(harmful + str(tmp_path / "made").encode() + b"\x85R.")
    with pytest.raises(ValueError, match="zip"):
        read_alexnet(path)
    assert not (tmp_path / "made").exists()


def test_the_judge_names_the_file_that_lpips_reads() -> None:
    assert JUDGES["lpips"].file == WEIGHTS
    assert WEIGHTS in registry.registered()


@pytest.mark.usefixtures("no_weights")
def test_without_its_file_lpips_is_not_available_and_says_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    assert "lpips" not in available_references()
    with caplog.at_level(logging.WARNING):
        load_judges(find_profile("study"), "cpu")
    assert "without LPIPS: lpips/alexnet.ckpt could not be downloaded" in caplog.text
    with pytest.raises(ConnectionError, match="set LPIE_DATA to a folder that has it"):
        load_nearness("lpips")(*pictures())
