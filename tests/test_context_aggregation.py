"""The context aggregation network against its authors' own, and its fast forms against the plain one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lpie import networks
from lpie.networks.context_aggregation import AdaptiveNormalization, ContextAggregationNetwork
from lpie.photos.context_aggregation_windows import Windowed, aggregated_windows
from lpie.records import write_tensors

KERNELS_AGREE = Path(__file__).parent / "gpu_kernels_agree.py"


def scrambled(width: int = 24, dilations: tuple[int, ...] | None = (1, 2, 4, 1)) -> ContextAggregationNetwork:
    """A network away from the identity, so that every part matters."""
    network = ContextAggregationNetwork(width, dilations)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def folded_network(network: ContextAggregationNetwork, photo: Tensor, tile: int) -> Windowed:
    def window(top: int, bottom: int, left: int, right: int) -> Tensor:
        return photo[..., top:bottom, left:right]

    return aggregated_windows(network, window, *photo.shape[-2:], tile)


def read(path: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize(("width", "parameters", "field"), [(32, 74_997, 513), (24, 37_219, 257)])
def test_published_sizes_and_receptive_fields(width: int, parameters: int, field: int) -> None:
    network = ContextAggregationNetwork(width)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert 2 * network.receptive_radius + 1 == field
    with torch.no_grad():
        for convolution in network.convolutions:
            convolution.weight.fill_(1e-2)  # every path open
    row = torch.rand(1, 3, 3, field + 40, requires_grad=True)
    network(row)[0, 0, 1, field // 2 + 20].backward()
    assert row.grad is not None
    reached = row.grad.abs().sum((0, 1, 2)).nonzero().flatten()
    assert reached[[0, -1]].tolist() == [20, field + 19]


@pytest.mark.parametrize("size", [(60, 47), (5, 90), (3, 2)])
def test_a_mirrored_network_sees_the_photo_go_on_mirrored_beyond_its_borders(size: tuple[int, int]) -> None:
    network = scrambled()
    photo = torch.rand(2, 3, *size)
    radius = network.receptive_radius
    surrounded = torch.from_numpy(
        np.pad(photo.numpy(), ((0, 0), (0, 0), (radius, radius), (radius, radius)), "reflect")
    )
    expected = network(surrounded)[..., radius:-radius, radius:-radius]
    network.mirrored = True
    torch.testing.assert_close(network(photo), expected)


@pytest.mark.parametrize("mirrored", [False, True])
def test_windows_of_a_photo_are_parts_of_the_whole(mirrored: bool) -> None:
    network = scrambled().eval()
    network.mirrored = mirrored
    photo = torch.rand(1, 3, 60, 47)
    with torch.no_grad():
        folded, whole = folded_network(network, photo, 16), network(photo)
        for top, left in ((0, 0), (20, 30), (40, 10)):
            window = (top, top + 20, left, left + 17)
            torch.testing.assert_close(folded(*window), whole[..., top : top + 20, left : left + 17])


def test_a_mirrored_network_comes_back_mirrored(tmp_path: Path) -> None:
    network = ContextAggregationNetwork(24, (1, 2, 1), mirrored=True)
    write_tensors(tmp_path / "network.safetensors", network.state_dict(), network.metadata())
    assert networks.from_pretrained(tmp_path / "network.safetensors").mirrored


@pytest.mark.parametrize("width", [24, 32])
def test_a_fresh_network_is_the_identity(width: int) -> None:
    photo = torch.rand(2, 3, 20, 30)
    torch.testing.assert_close(ContextAggregationNetwork(width)(photo), photo, atol=1e-6, rtol=0)


@pytest.mark.parametrize("width", [24, 32])
def test_every_weight_of_a_fresh_network_learns(width: int) -> None:
    network = ContextAggregationNetwork(width)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    photo, target = torch.rand(2, 3, 40, 40), torch.rand(2, 3, 40, 40)
    for _ in range(4):  # the last layer, then what it reads, then the normalizations before it
        optimizer.zero_grad()
        (network(photo) - target).square().mean().backward()
        optimizer.step()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        reached = parameter.grad.flatten(1).abs().amax(1) if parameter.ndim > 1 else parameter.grad.abs()
        assert (reached > 0).all(), name


def test_normalization_is_w0_x_plus_w1_batch_normalization_of_one_photo() -> None:
    normalization = AdaptiveNormalization(5)
    features = torch.randn(1, 5, 6, 7)
    with torch.no_grad():
        normalization.w0.fill_(0.7)
        normalization.w1.fill_(-0.4)
        normalization.offset.copy_(torch.randn(5))
    reference = torch.nn.BatchNorm2d(5, eps=1e-3).train()
    reference.bias.data.copy_(normalization.offset)
    torch.testing.assert_close(normalization(features), 0.7 * features - 0.4 * reference(features))


def test_a_batch_gives_what_its_photos_give_one_by_one() -> None:
    network = scrambled().eval()
    photo = torch.rand(3, 3, 17, 23)
    one_by_one = torch.cat([network(single[None]) for single in photo])
    torch.testing.assert_close(network(photo), one_by_one, atol=1e-5, rtol=0)


def test_without_a_gradient_the_result_is_the_same_and_the_photo_stays_as_it_is() -> None:
    network, photo = scrambled(), torch.rand(2, 3, 20, 23)
    before, expected = photo.clone(), network(photo)
    with torch.no_grad():
        torch.testing.assert_close(network(photo), expected)
    torch.testing.assert_close(photo, before, atol=0, rtol=0)


def test_the_output_is_clipped_only_after_training() -> None:
    network = scrambled()
    photo = torch.rand(1, 3, 16, 16)
    raw = network(photo)
    assert raw.min() < 0 or raw.max() > 1
    torch.testing.assert_close(network.eval()(photo), raw.clamp(0, 1))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3)])
def test_any_size_is_enhanced(size: tuple[int, int]) -> None:
    enhanced = scrambled(32, None).eval()(torch.rand(2, 3, *size))
    assert enhanced.shape == (2, 3, *size)
    assert enhanced.isfinite().all()


def test_the_authors_l0_network_gives_their_published_photo(data: Path) -> None:
    network = networks.from_pretrained(data / "can_oracle/weights/L0_smoothing.safetensors")
    photo, published = read(data / "fivek/1080p/000003.png"), read(data / "can_oracle/L0_smoothing_result/000003.png")
    with torch.no_grad():
        enhanced = network(photo)
    levels = (enhanced * 255).floor()  # their program drops the fraction
    assert (enhanced - published).abs().max() <= 1.01 / 255
    assert (levels == (published * 255).round()).float().mean() > 0.999


def test_weights_survive_a_file(tmp_path: Path) -> None:
    for network in (scrambled().eval(), scrambled(32, None).eval()):
        write_tensors(tmp_path / "can.safetensors", network.state_dict(), network.metadata())
        again = networks.from_pretrained(tmp_path / "can.safetensors")
        photo = torch.rand(1, 3, 12, 14)
        torch.testing.assert_close(again(photo), network(photo), atol=0, rtol=0)
        assert not again.training
    assert network.metadata()["network"] == "can32"


@pytest.mark.parametrize("tile", [16, 50, 200])
def test_folded_tiles_leave_no_seam(tile: int) -> None:
    network = scrambled(24, (1, 2, 4, 1)).eval()
    photo = torch.rand(1, 3, 75, 61)
    folded = folded_network(network, photo, tile)
    whole = network(photo)
    torch.testing.assert_close(folded(0, 75, 0, 61), whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(folded(30, 46, 21, 37), whole[..., 30:46, 21:37], atol=1e-5, rtol=0)


def test_gradient_passes_gradcheck_in_float64() -> None:
    network = scrambled(3, (1, 2)).double()
    photo = torch.rand(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    names, values = zip(*network.named_parameters(), strict=True)

    def enhanced(photo: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(network, dict(zip(names, values, strict=True)), (photo,))

    assert torch.autograd.gradcheck(enhanced, (photo, *values))


HALF_PRECISION = """
import torch
from lpie.networks.context_aggregation import ContextAggregationNetwork

photo = torch.rand(1, 3, 128, 128)
for arranged in (torch.contiguous_format, torch.channels_last):
    network = ContextAggregationNetwork(24).to(memory_format=arranged)
    with torch.autocast("cpu", torch.bfloat16):
        loss = network(photo.to(memory_format=arranged)).square().mean()
    loss.backward()
    network(photo).square().mean().backward()
    network.bfloat16()(photo.bfloat16().to(memory_format=arranged)).square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
"""


def test_training_in_bfloat16_on_a_cpu_does_not_crash_however_memory_is_laid_out() -> None:
    """In a process of its own, which would end with a segmentation fault."""
    finished = subprocess.run([sys.executable, "-c", HALF_PRECISION], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.slow
@pytest.mark.timeout(1200)  # ten seconds of work, which a busy machine stretches
def test_gpu_kernels_agree_with_the_plain_form_forward_and_backward() -> None:
    """In a process of its own: Triton's interpreter, which needs no GPU, is chosen at import."""
    pytest.importorskip("triton", reason="triton comes with the CUDA builds of torch")
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(KERNELS_AGREE), "similarity", "critic", "network"]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("photo", "error", "words"),
    [
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), TypeError, "uint8"),
        (torch.zeros(1, 1, 4, 4), ValueError, r"\(N, 3, H, W\)"),
        (torch.zeros(3, 4, 4), ValueError, r"\(N, 3, H, W\)"),
        (torch.zeros(1, 3, 0, 4), ValueError, "none of them empty"),
    ],
)
def test_what_is_no_photo_is_refused(photo: Tensor, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        ContextAggregationNetwork(24)(photo)


def test_settings_that_make_no_network_are_refused() -> None:
    with pytest.raises(ValueError, match="no published dilations"):
        ContextAggregationNetwork(16)
    with pytest.raises(ValueError, match="three colors"):
        ContextAggregationNetwork(2, (1,))
    with pytest.raises(ValueError, match="of 1 to 1024 px"):
        ContextAggregationNetwork(8, (1, 0))
