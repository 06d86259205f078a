"""Runs the GPU kernels under Triton's interpreter on the CPU, or on a GPU, and compares them with the plain forms.

Not collected by pytest: tests start it with TRITON_INTERPRET=1, which has to be set before Triton is imported, and
with the names of what they test; without names, all is compared. Raises AssertionError where the forms differ.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from unittest.mock import patch

import torch
from torch import Tensor, nn

from lpie.critic.backbones import MobileNetV1
from lpie.losses.similarity import plain_mean_terms, unchecked_ms_ssim
from lpie.networks.context_aggregation import ContextAggregationNetwork
from lpie.operators import haze_lines, smoothing


def check(name: str, found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Relative error in the Euclidean norm; NaN fails."""
    error = ((found.double() - expected.double()).norm() / expected.double().norm().clamp(min=1e-9)).item()
    assert error <= tolerance, f"{name}: relative error {error:.2e} > {tolerance:g}"


def network_agrees(device: str) -> None:
    """Forward and every gradient in float32, and the forward pass in float16; on a GPU its gradients too."""
    from lpie.fast import context_aggregation_gpu as gpu

    exact = 2e-5 if device == "cpu" else 1e-4  # a GPU adds up in another order
    cases = [(24, (1, 2), (2, 3, 5, 70)), (32, (1, 17, 1), (1, 3, 18, 7)), (3, (2,), (3, 3, 1, 1))]
    for width, dilations, shape in cases:
        torch.manual_seed(0)
        plain = ContextAggregationNetwork(width, dilations)
        with torch.no_grad():
            for parameter in plain.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        plain = plain.to(device, memory_format=torch.channels_last)  # as it is while training
        photo, upstream = torch.rand(shape, device=device), torch.randn(shape, device=device)
        photo, upstream = (each.to(memory_format=torch.channels_last) for each in (photo, upstream))
        expected = plain.double()(photo.double())
        (expected * upstream).sum().backward()
        gradients = {name: parameter.grad for name, parameter in plain.named_parameters()}
        plain.float().zero_grad()
        convolutions = [convolution.weight for convolution in plain.convolutions]
        weights = gpu.pack(convolutions, list(plain.normalizations), plain.last.weight, plain.last.bias)
        found = gpu.enhance_with_gradient(photo, weights, dilations, torch.float32)
        (found * upstream).sum().backward()
        check("output", found, expected, 1e-5)
        for name, parameter in plain.named_parameters():
            if gradients[name].norm() > 1e-6:
                check(name, parameter.grad, gradients[name], 1e-3 if shape[-1] == 1 else exact)
        check("float16 output", gpu.enhance(photo, weights, dilations, torch.float16, clip=False), expected, 5e-3)
        if len(dilations) == 1:
            clipped = gpu.enhance(photo, weights, dilations, torch.float32, clip=True)
            check("clipped output", clipped, expected.clamp(0, 1), 1e-5)
    strips_agree(device)
    if device == "cuda":
        half_precision_gradients_agree(device)


def strips_agree(device: str) -> None:
    """Forward, where rows and columns are cut into several strips, with neighbors 1 px to 128 px away."""
    from lpie.fast import context_aggregation_gpu as gpu

    cases = [
        ((1, 64), (1, 3, 67, 70)),
        ((1, 128), (1, 3, 2, 139)),
        ((64, 1), (1, 3, 18, 130)),
        ((2, 1), (1, 3, 35, 66)),
    ]
    tolerances = {torch.float32: 1e-5}
    if device == "cuda":  # the interpreter is slow, and has no layouts that would differ
        tolerances[torch.float16] = 5e-3
    for dilations, shape in cases:
        torch.manual_seed(0)
        plain = ContextAggregationNetwork(3, dilations)
        with torch.no_grad():
            for parameter in plain.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        plain = plain.to(device).double()
        photo = torch.rand(shape, device=device)
        expected = plain.plain(photo.double())
        plain.float()
        convolutions = [convolution.weight for convolution in plain.convolutions]
        weights = gpu.pack(convolutions, list(plain.normalizations), plain.last.weight, plain.last.bias)
        with patch.object(gpu, "PROGRAMS", 64):  # so many that small photos are cut too
            for precision, tolerance in tolerances.items():
                found = gpu.enhance(photo, weights, dilations, precision, clip=False)
                check(f"{precision} output in strips, dilations {dilations}", found, expected, tolerance)


def half_precision_gradients_agree(device: str, draws: int = 16) -> None:
    """Each parameter's gradient with features in float16, on a GPU: the interpreter gets products of bfloat16 wrong.

    Errors and gradients are pooled over draws: in a single one the terms of a w0 or w1 may cancel, and rounding alone
    then exceeds what is left.
    """
    from lpie.fast import context_aggregation_gpu as gpu

    errors: dict[str, float] = defaultdict(float)
    sizes: dict[str, float] = defaultdict(float)
    for seed in range(draws):
        torch.manual_seed(seed)
        plain = ContextAggregationNetwork(24, (1, 2))
        with torch.no_grad():
            for parameter in plain.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        photo, upstream = torch.rand(2, 3, 5, 70), torch.randn(2, 3, 5, 70)
        photo, upstream = (each.to(device, memory_format=torch.channels_last) for each in (photo, upstream))
        plain = plain.to(device, memory_format=torch.channels_last).double()
        (plain.plain(photo.double()) * upstream).sum().backward()
        exact = {name: parameter.grad for name, parameter in plain.named_parameters()}
        plain.float().zero_grad()
        convolutions = [convolution.weight for convolution in plain.convolutions]
        weights = gpu.pack(convolutions, list(plain.normalizations), plain.last.weight, plain.last.bias)
        (gpu.enhance_with_gradient(photo, weights, (1, 2), torch.float16) * upstream).sum().backward()
        for name, parameter in plain.named_parameters():
            errors[name] += (parameter.grad.double() - exact[name]).square().sum().item()
            sizes[name] += exact[name].square().sum().item()
    off = {name: (errors[name] / sizes[name]) ** 0.5 for name in errors}
    assert all(error <= 5e-2 for error in off.values()), f"relative errors in half precision: {off}"


class SmallMobileNet(MobileNetV1):
    """Both strides, at a size that the interpreter can take; biases at random, so that ReLU6 clips at both ends."""

    WIDTHS = (32, 64, 64)
    STRIDES = (1, 2, 1)

    def __init__(self) -> None:
        super().__init__()
        for parameter in self.parameters():
            if parameter.ndim == 1:
                nn.init.normal_(parameter, 1.0, 2.0)


def critic_agrees(device: str) -> None:
    """Features of a frozen MobileNet and their gradient by the square, odd sides too, and what that depends on."""
    from lpie.fast import mobilenet_gpu as gpu

    torch.manual_seed(1)
    network = SmallMobileNet().eval().requires_grad_(False).to(device)
    for shape in ((2, 3, 20, 18), (1, 3, 23, 33)):
        square = torch.rand(shape, device=device).mul(2).sub(1).requires_grad_()
        upstream = torch.randn(len(square), network.WIDTHS[-1], device=device).requires_grad_()
        assert gpu.fits(network, square)
        found = gpu.means(network, square)
        (gradient,) = torch.autograd.grad(found, square, upstream, retain_graph=True)
        (again,) = torch.autograd.grad(found, square, upstream, create_graph=True)
        (second,) = torch.autograd.grad(again.square().sum(), upstream)
        exact, exact_upstream = (each.detach().double().requires_grad_() for each in (square, upstream))
        expected = network.double().maps(exact).mean((2, 3))
        (expected_gradient,) = torch.autograd.grad(expected, exact, exact_upstream, create_graph=True)
        (expected_second,) = torch.autograd.grad(expected_gradient.square().sum(), exact_upstream)
        network.float()
        check("features of the critic", found, expected, 1e-5)
        check("gradient of the critic", gradient, expected_gradient, 1e-5)
        # on a GPU the plain form may round to TF32
        check("its second derivative", second, expected_second, 0.1 if device == "cuda" else 1e-5)
    hook = network.blocks[0].register_forward_hook(lambda *_: None)
    assert not gpu.fits(network, square), "kernels call no hooks"
    hook.remove()
    network.requires_grad_(True)
    assert not gpu.fits(network, square), "kernels have no gradient for weights"
    with torch.no_grad():
        assert gpu.fits(network, square)
    assert not gpu.fits(network.train(), square), "kernels have no dropout"


def similarity_agrees(device: str) -> None:
    """Mean terms and gradients of planes on both sides of a program's border; also of a bright, almost plain photo."""
    from lpie.fast.similarity_gpu import terms_and_gradients

    for with_luminance, shape in ((True, (1, 28, 11)), (False, (1, 11, 139))):
        torch.manual_seed(0)
        a = torch.rand(shape, device=device)
        b = (a + 0.2 * torch.randn_like(a)).clamp(0, 1)
        found, *gradients = terms_and_gradients(a, b, with_luminance, True, True)
        x, y = a.double().requires_grad_(), b.double().requires_grad_()
        exact = plain_mean_terms(x, y, with_luminance)
        check("mean terms", found, exact, 1e-6)
        for gradient, expected in zip(gradients, torch.autograd.grad(exact.sum(), (x, y)), strict=True):
            check("gradients of mean terms", gradient, expected, 2e-6)
        alone, none, only = terms_and_gradients(a, b, with_luminance, False, True)
        check("mean terms with one gradient", alone, found, 0)
        check("one gradient", only, gradients[1], 0)
        assert none is None
    bright_photos_agree(device)


def bright_photos_agree(device: str) -> None:
    """The gradient of MS-SSIM on a bright, almost plain photo, where rounded variances would be nothing but error."""
    torch.manual_seed(0)
    photo = 0.9 + 0.01 * torch.rand(1, 3, 192, 256, device=device)
    other = (photo + 0.002 * torch.randn_like(photo)).clamp(0, 1)
    found, expected = (
        torch.autograd.grad(unchecked_ms_ssim(each.requires_grad_(), other.to(each.dtype)).sum(), each)[0]
        for each in (photo.clone(), photo.double())
    )
    check("gradient of MS-SSIM", found, expected, 1e-3)


def dehazing_agrees(device: str) -> None:
    """Smoothing on odd and even sides, three grids deep, one pixel wide, on one grid, and of a batch; haze-lines."""
    from lpie.fast import haze_lines_gpu, smoothing_gpu

    torch.manual_seed(0)
    for shape in ((1, 1, 9, 10), (2, 1, 21, 1), (1, 1, 4, 5)):
        links = smoothing.gradient_links(torch.rand(shape, device=device), 0.1)
        weight, values = torch.rand(shape, device=device) + 1e-4, torch.randn(shape, device=device)
        with patch.object(smoothing, "COARSEST", 20):
            plain = smoothing.System(weight, links)
        kernels = smoothing_gpu.System(weight, links, smoothing.CENTER, smoothing.chebyshev(), coarsest=20)
        check(f"V-cycle, {shape}", kernels.approximate(values), plain.approximate(values), 1e-5)
        check(f"residual, {shape}", kernels.residual(values, values), plain.residual(values, values), 1e-6)

    offsets = torch.randn(3, 1500, device=device).T
    directions = haze_lines.fibonacci_sphere(haze_lines.LINES).to(offsets)
    line = haze_lines_gpu.nearest_directions(offsets, directions)
    check("cosine", (offsets * directions[line]).sum(1), (offsets @ directions.T).amax(1), 1e-6)
    line, radius = line % 30, offsets.norm(dim=1)
    with patch.object(haze_lines, "find", return_value=None):
        plainly = haze_lines.line_statistics(radius, line, 31)
    statistics = haze_lines_gpu.line_statistics(radius, line, 31)
    for name, found, expected in zip(("farthest", "standard deviation", "count"), statistics, plainly, strict=True):
        check(name, found, expected, 1e-6)


AGREE = {
    "similarity": similarity_agrees,
    "critic": critic_agrees,
    "network": network_agrees,
    "dehazing": dehazing_agrees,
}

if __name__ == "__main__":
    for each in sys.argv[1:] or AGREE:
        AGREE[each]("cuda" if torch.cuda.is_available() else "cpu")
