"""What others' training loops do to the core: second derivatives, transforms, precisions, autocast, bad numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lpie.critic.nima import NIMA
from lpie.losses.fidelity import l1, l2, mix_loss, ms_ssim_loss, ssim_loss
from lpie.losses.similarity import ms_ssim, ssim
from lpie.networks.bilateral_grid import BilateralGrid
from lpie.networks.context_aggregation import ContextAggregationNetwork
from lpie.networks.operator_parameters import OperatorParameters
from lpie.operators.local_laplacian import local_laplacian
from lpie.operators.nonlocal_dehazing import dehaze

SIDE = {"ms_ssim": 161}  # px, where a function needs more than 24


def smooth(side: int, dtype: torch.dtype) -> Tensor:
    torch.manual_seed(1)
    photo = torch.nn.functional.interpolate(torch.rand(1, 3, 9, 9, dtype=torch.float64), (side, side), mode="bilinear")
    return (photo + 0.05 * torch.rand_like(photo)).clamp(0.02, 0.98).to(dtype)


def disturbed(network: nn.Module) -> nn.Module:
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network


def functions(dtype: torch.dtype) -> dict[str, Callable[[Tensor], Tensor]]:
    """Everything differentiable, as a number of a photo."""
    torch.manual_seed(3)
    can = disturbed(ContextAggregationNetwork(8, (1, 2, 32, 1))).to(dtype)
    grid, parameters = (disturbed(network).to(dtype) for network in (BilateralGrid(), OperatorParameters(samples=8)))
    critic = NIMA(input_size=32).freeze().to(dtype)
    light = torch.full((1, 3), 0.9, dtype=dtype)
    targets = {side: (smooth(side, dtype) ** 1.2 + 0.02 * torch.randn(side, side).to(dtype)) for side in (24, 161)}

    def to(photo: Tensor) -> Tensor:
        return targets[photo.shape[-1]].clamp(0, 1)

    return {
        "ssim": lambda x: ssim(x, to(x)).sum(),
        "ms_ssim": lambda x: ms_ssim(x, to(x)).sum(),
        "local_laplacian": lambda x: local_laplacian(x, alpha=0.5, beta=0.7, sigma_r=0.2, samples=8).square().sum(),
        "dehaze": lambda x: dehaze(x, light).photo.square().sum(),
        "CAN": lambda x: can(x).square().sum(),
        "grid": lambda x: grid(x).square().sum(),
        "parameters": lambda x: parameters(x).square().sum(),
        "NIMA": lambda x: critic.mean_score(x).sum(),
    }


NAMES = list(functions(torch.float32))


def gradient_penalty(function: Callable[[Tensor], Tensor], photo: Tensor) -> Tensor:
    """The gradient of the squared length of a gradient."""
    photo = photo.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(photo), photo, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), photo)
    return second


@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_penalty_has_the_gradient_of_double_precision(name: str) -> None:
    side = SIDE.get(name, 24)
    exact = gradient_penalty(functions(torch.float64)[name], smooth(side, torch.float64))
    found = gradient_penalty(functions(torch.float32)[name], smooth(side, torch.float32))
    assert exact.norm() > 0
    assert (found - exact).norm() <= 2e-2 * exact.norm(), name


@pytest.mark.parametrize("name", ["ssim", "ms_ssim", "CAN", "grid", "NIMA"])
def test_second_derivatives_are_differences_of_first_ones(name: str) -> None:
    function, photo = functions(torch.float64)[name], smooth(SIDE.get(name, 24), torch.float64).requires_grad_()
    direction, step = torch.randn_like(photo), 1e-6

    def gradient(at: Tensor) -> Tensor:
        return torch.autograd.grad(function(at), at, create_graph=True)[0]

    (exact,) = torch.autograd.grad((gradient(photo) * direction).sum(), photo)
    ahead, behind = (gradient((photo + sign * step * direction).detach().requires_grad_()) for sign in (1, -1))
    assert (exact - (ahead - behind) / (2 * step)).norm() <= 1e-3 * exact.norm()


@pytest.mark.parametrize("name", NAMES)
def test_func_grad_is_the_gradient(name: str) -> None:
    function, photo = functions(torch.float32)[name], smooth(SIDE.get(name, 24), torch.float32)
    found = torch.func.grad(function)(photo)
    asked = photo.clone().requires_grad_()
    (expected,) = torch.autograd.grad(function(asked), asked)
    assert (found - expected).norm() <= 2e-2 * expected.norm()  # tables of the filter's kernels are steps


@pytest.mark.parametrize("name", [name for name in NAMES if name != "dehaze"])
def test_vmap_over_photos_is_photo_by_photo(name: str) -> None:
    function, side = functions(torch.float32)[name], SIDE.get(name, 24)
    photos = torch.stack([smooth(side, torch.float32), smooth(side, torch.float32).flip(2)])
    found = torch.vmap(function)(photos)
    torch.testing.assert_close(found, torch.stack([function(photo) for photo in photos]), rtol=1e-3, atol=1e-5)


def test_dehazing_refuses_by_name_what_cannot_follow_it() -> None:
    photos = torch.stack([smooth(24, torch.float32)] * 2)
    for function in (lambda x: dehaze(x).photo, lambda x: dehaze(x, torch.full((1, 3), 0.9)).photo):
        with pytest.raises(NotImplementedError, match="dehaze looks at values, which vmap and export hide"):
            torch.vmap(function)(photos)
    with pytest.raises(NotImplementedError, match="give it a batch of photos"):
        torch.export.export(Measured("dehaze"), (photos[0],), strict=False)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "make",
    [
        lambda: ContextAggregationNetwork(8, (1, 2, 1)),
        BilateralGrid,
        lambda: OperatorParameters("tone"),
        lambda: OperatorParameters("dehaze"),
    ],
)
def test_a_network_cast_to_another_precision_still_enhances(make: Callable[[], nn.Module], dtype: torch.dtype) -> None:
    network, photo = disturbed(make()).eval(), smooth(32, torch.float32)
    expected = network(photo)
    enhanced = network.to(dtype)(photo.to(dtype))
    assert enhanced.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    tolerance = {torch.float64: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}[dtype]
    assert (enhanced - expected).abs().mean() < tolerance


def test_scores_and_losses_are_single_precision_under_autocast() -> None:
    photos = torch.cat([smooth(176, torch.float32), smooth(176, torch.float32).flip(2) * 0.98])
    critic = NIMA(input_size=64).freeze()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        distribution, score = critic(photos), critic.mean_score(photos)
        losses = [loss(photos, photos.flip(0)) for loss in (l1, l2, ssim_loss, ms_ssim_loss, mix_loss)]
    assert {each.dtype for each in (distribution, score, *losses)} == {torch.float32}
    torch.testing.assert_close(score, distribution @ torch.arange(1.0, 11.0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["alpha", "beta", "sigma_r", "noise"])
@pytest.mark.parametrize(
    "value", [float("inf"), float("nan"), torch.tensor([float("inf")]), torch.tensor(float("nan"))]
)
def test_a_setting_that_is_no_finite_number_is_refused_by_its_name(name: str, value: float | Tensor) -> None:
    settings = {"alpha": 0.5, "beta": 0.7, "sigma_r": 0.2} | {name: value}
    with pytest.raises(ValueError, match=f"{name} must be finite"):
        local_laplacian(torch.rand(1, 3, 8, 8), **settings)


class Measured(nn.Module):
    """A function as a module, as `torch.export` wants it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.function = functions(torch.float32)[name]

    def forward(self, photo: Tensor) -> Tensor:
        return self.function(photo)


@pytest.mark.parametrize("name", ["ssim", "CAN", "grid", "NIMA", "parameters"])
def test_an_exported_function_computes_the_same(name: str) -> None:
    photo = smooth(24, torch.float32)
    exported = torch.export.export(Measured(name), (photo,), strict=False).module()
    torch.testing.assert_close(exported(photo), functions(torch.float32)[name](photo), rtol=1e-3, atol=1e-5)
