"""SSIM and MS-SSIM against scikit-image, torchmetrics and their own definition, on every implementation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from real_photos import photograph
from skimage.metrics import structural_similarity
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from lpie.fast.similarity_cpu import terms_and_gradients
from lpie.imaging.similarity_terms import gaussian_window
from lpie.losses.similarity import (
    SMALLEST_SIDE,
    blur,
    half_size,
    ms_ssim,
    plain_mean_terms,
    ssim,
    unchecked_ms_ssim,
    unchecked_ssim,
)


def pair(height: int, width: int, count: int = 1) -> tuple[Tensor, Tensor]:
    """Real photographs and noisy, blurred or darkened renditions of them."""
    photos = [photograph(("astronaut", "coffee", "chelsea")[index % 3]) for index in range(count)]
    a = torch.cat([F.interpolate(photo, (height, width), mode="bilinear", antialias=True) for photo in photos])
    a = a.clamp(0, 1)
    spoiled = [
        lambda p: (p + 0.05 * torch.randn_like(p)).clamp(0, 1),
        lambda p: F.avg_pool2d(p, 5, 1, 2),
        lambda p: 0.7 * p,
    ]
    return a, torch.cat([spoiled[index % 3](photo[None]) for index, photo in enumerate(a)])


def inverted(photo: Tensor) -> Tensor:
    return 1 - photo


@pytest.mark.parametrize("size", [(11, 11), (12, 40), (64, 96), (75, 53)])
def test_ssim_agrees_with_scikit_image(size: tuple[int, int]) -> None:
    a, b = pair(*size, count=3)
    expected = [
        structural_similarity(
            x.numpy().astype("float64"),
            y.numpy().astype("float64"),
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
        )
        for x, y in zip(a, b, strict=True)
    ]
    torch.testing.assert_close(ssim(a, b), torch.tensor(expected, dtype=torch.float32), atol=5e-6, rtol=0)
    torch.testing.assert_close(ssim(a.double(), b.double()), torch.tensor(expected).double(), atol=1e-7, rtol=0)


def ms_ssim_from_torchmetrics(a: Tensor, b: Tensor) -> Tensor:
    """Wang's product for single-channel photos, from torchmetrics' maps on the windows that lie within the photo."""
    result = torch.ones(len(a), dtype=a.dtype)
    for scale, exponent in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        settings = {"sigma": 1.5, "data_range": 1.0, "reduction": "none"}
        _, full = structural_similarity_index_measure(a, b, return_full_image=True, **settings)
        _, contrast = structural_similarity_index_measure(a, b, return_contrast_sensitivity=True, **settings)
        term = full[..., 5:-5, 5:-5].mean((1, 2, 3)) if scale == 4 else contrast
        result = result * term**exponent
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return result


def test_ms_ssim_agrees_with_torchmetrics_window_by_window() -> None:
    a, b = pair(176, 192)
    channels = (photo.double().view(3, 1, 176, 192) for photo in (a, b))
    expected = ms_ssim_from_torchmetrics(*channels).mean(0, keepdim=True)
    torch.testing.assert_close(ms_ssim(a.double(), b.double()), expected, atol=1e-7, rtol=0)
    torch.testing.assert_close(ms_ssim(a, b), expected.float(), atol=5e-6, rtol=0)


def test_ms_ssim_is_near_torchmetrics_own_which_reflects_the_edges_at_the_coarsest_scale() -> None:
    a, b = pair(192, 256, count=3)
    theirs = multiscale_structural_similarity_index_measure(a, b, sigma=1.5, data_range=1.0, reduction="none")
    torch.testing.assert_close(ms_ssim(a, b), theirs, atol=1e-3, rtol=0)


@pytest.mark.parametrize("size", [(176, 176), (192, 256)])
def test_both_agree_with_pytorch_msssim_where_it_is_installed(size: tuple[int, int]) -> None:
    peer = pytest.importorskip("pytorch_msssim", reason="the bench extra is not installed")
    a, b = (photo.double() for photo in pair(*size, count=3))
    torch.testing.assert_close(ssim(a, b), peer.ssim(a, b, data_range=1, size_average=False), atol=1e-5, rtol=0)
    torch.testing.assert_close(ms_ssim(a, b), peer.ms_ssim(a, b, data_range=1, size_average=False), atol=1e-5, rtol=0)


def test_ms_ssim_takes_photos_of_161_px_and_says_so_below() -> None:
    a, b = pair(161, 163)
    assert 0 < ms_ssim(a, b).item() < 1
    with pytest.raises(ValueError, match="at least 161 px"):
        ms_ssim(a[..., :160, :], b[..., :160, :])
    with pytest.raises(ValueError, match="at least 11 px"):
        ssim(a[..., :10], b[..., :10])
    assert SMALLEST_SIDE == 161


def test_the_windows_means_are_those_of_its_definition() -> None:
    planes = torch.rand(3, 14, 19, dtype=torch.float64)
    row = torch.tensor(gaussian_window(), dtype=torch.float64)
    expected = torch.stack([
        torch.stack([(plane[y : y + 11, x : x + 11] * row[:, None] * row).sum() for x in range(9)])
        for plane in planes
        for y in range(4)
    ]).view(3, 4, 9)  # fmt: skip
    torch.testing.assert_close(blur(planes), expected)


def test_no_window_is_a_convolution_of_one_channel_which_a_gpu_rounds_to_ten_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A variance is a small difference of large means: rounded so, gradients were off by factors of thousands."""
    convolve, groups = F.conv2d, []

    def watched(planes: Tensor, window: Tensor, **settings: int) -> Tensor:
        groups.append((planes.shape[1], settings.get("groups", 1)))
        return convolve(planes, window, **settings)

    monkeypatch.setattr(F, "conv2d", watched)
    monkeypatch.setattr("lpie.losses.similarity.find", lambda *_: None)
    ms_ssim(*pair(176, 192))
    assert groups
    assert all(count == channels > 1 for channels, count in groups)


@pytest.mark.parametrize("measure", [ssim, ms_ssim])
def test_equal_photos_give_one_and_order_does_not_matter(measure) -> None:
    a, b = pair(176, 161, count=2)
    torch.testing.assert_close(measure(a, a), torch.ones(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(measure(a, b), measure(b, a), atol=1e-6, rtol=0)
    assert (measure(a, b) < 0.999).all()


@pytest.mark.parametrize("measure", [ssim, ms_ssim])
def test_each_photo_of_a_batch_is_measured_by_itself(measure) -> None:
    a, b = pair(170, 165, count=3)
    one_by_one = torch.cat([measure(x[None], y[None]) for x, y in zip(a, b, strict=True)])
    torch.testing.assert_close(measure(a, b), one_by_one, atol=1e-6, rtol=0)


@pytest.mark.parametrize("measure", [ssim, ms_ssim])
def test_mirrored_photos_are_as_similar(measure) -> None:
    a, b = pair(176, 192)
    torch.testing.assert_close(measure(a.flip(-1), b.flip(-1)), measure(a, b), atol=1e-6, rtol=0)
    torch.testing.assert_close(measure(a.mT, b.mT), measure(a, b), atol=1e-6, rtol=0)


@pytest.mark.parametrize("measure", [ssim, ms_ssim])
def test_memory_layout_does_not_matter(measure) -> None:
    a, b = pair(176, 161, count=2)
    rearranged = measure(a.to(memory_format=torch.channels_last), b.flip(-1).flip(-1))
    torch.testing.assert_close(rearranged, measure(a, b))


def test_bfloat16_photos_and_autocast_read_the_right_value() -> None:
    a, _ = pair(176, 176)
    a = (a * 255).round() / 255
    b = a.bfloat16().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ssim(a, b).dtype == torch.float32
        torch.testing.assert_close(ssim(a, b).double(), ssim(a.double(), b.double()), atol=1e-5, rtol=0)
        torch.testing.assert_close(ms_ssim(b.bfloat16(), a), ms_ssim(b, a))
    assert ssim(a, b).item() > 0.99


def test_a_bright_flat_photo_keeps_its_precision() -> None:
    a = torch.full((1, 3, 64, 64), 0.9) + 0.002 * torch.randn(1, 3, 64, 64)
    b = a + 0.002 * torch.randn_like(a)
    torch.testing.assert_close(ssim(a, b).double(), ssim(a.double(), b.double()), atol=2e-5, rtol=0)


@pytest.mark.parametrize("measure", [unchecked_ssim, unchecked_ms_ssim])
def test_float32_gradient_agrees_with_float64(measure) -> None:
    a, b = pair(176, 171, count=2)
    gradients = []
    for precision in (torch.float64, torch.float32):
        x, y = a.to(precision).requires_grad_(), b.to(precision).requires_grad_()
        weights = torch.tensor([1.0, -0.3], dtype=precision)
        gradients.append(torch.autograd.grad((measure(x, y) * weights).sum(), (x, y)))
    for exact, approximate in zip(*gradients, strict=True):
        error = (approximate - exact).norm() / exact.norm()
        assert error < 1e-4, error


@pytest.mark.parametrize("shape", [(2, 11, 11), (1, 97, 30), (2, 106, 18), (1, 203, 40)])
@pytest.mark.parametrize("with_luminance", [True, False])
def test_streamed_bands_agree_with_whole_maps(shape: tuple[int, int, int], with_luminance: bool) -> None:
    a = torch.rand(shape)
    b = (a + 0.2 * torch.randn(shape)).clamp(0, 1)
    means, *slopes = terms_and_gradients(a, b, with_luminance, True, True)
    x, y = a.double().requires_grad_(), b.double().requires_grad_()
    exact = plain_mean_terms(x, y, with_luminance)
    torch.testing.assert_close(means.double(), exact, atol=3e-7, rtol=0)
    for slope, expected in zip(slopes, torch.autograd.grad(exact.sum(), (x, y)), strict=True):
        assert (slope - expected).norm() < 1e-6 * expected.norm()


def test_nearly_equal_photos_differ_by_the_right_amount() -> None:
    a, _ = pair(64, 64)
    b = (a + 1e-3 * torch.randn_like(a)).clamp(0, 1)
    missing = 1 - ssim(a.double(), b.double())
    assert missing.item() < 1e-3
    torch.testing.assert_close(1 - ssim(a, b).double(), missing, atol=2e-7, rtol=0)


@pytest.mark.parametrize("size", [(6, 8), (7, 8), (5, 9), (1, 2)])
def test_halving_is_the_mean_of_four_pixels_with_odd_edges_repeated(size: tuple[int, int]) -> None:
    planes = torch.rand(2, *size, dtype=torch.float64, requires_grad=True)
    expected = F.avg_pool2d(planes, 2, ceil_mode=True, count_include_pad=False)
    torch.testing.assert_close(half_size(planes), expected)
    assert torch.autograd.gradcheck(half_size, (planes,))


def test_gradient_passes_gradcheck_in_float64() -> None:
    a = torch.rand(1, 1, 12, 13, dtype=torch.float64, requires_grad=True)
    b = torch.rand(1, 1, 12, 13, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unchecked_ssim, (a, b))


def test_only_the_photo_that_asks_gets_a_gradient() -> None:
    a, b = pair(176, 176)
    for measure in (ssim, ms_ssim):
        x = a.clone().requires_grad_()
        measure(x, b).sum().backward()
        y = a.clone().requires_grad_()
        measure(b, y).sum().backward()
        assert x.grad is not None
        assert y.grad is not None
        torch.testing.assert_close(x.grad, y.grad, atol=1e-8, rtol=1e-3)


def test_an_inverted_photo_has_a_value_and_a_slope_that_leads_away() -> None:
    a, _ = pair(176, 176)
    b = inverted(a).requires_grad_()
    value = ms_ssim(b, a)
    value.sum().backward()
    assert 0 < value.item() < 0.05
    assert b.grad is not None
    assert b.grad.isfinite().all()
    assert b.grad.abs().max() > 0
    assert ms_ssim((b + 1e3 * b.grad).detach().clamp(0, 1), a).item() >= value.item()


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("a", "b", "error", "words"),
    [
        (torch.rand(1, 3, 20, 20) * 255, torch.rand(1, 3, 20, 20), ValueError, r"\[0, 1\] in a"),
        (torch.rand(1, 3, 20, 20), torch.full((1, 3, 20, 20), float("nan")), ValueError, "NaN"),
        (torch.rand(1, 3, 20, 20), torch.rand(1, 3, 20, 21), ValueError, "one shape"),
        (torch.rand(1, 3, 20, 20), torch.rand(1, 3, 20, 20, device="meta"), ValueError, "one device"),
        ((torch.rand(1, 3, 20, 20) * 255).byte(), torch.rand(1, 3, 20, 20), TypeError, "uint8"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(a, b, error, words) -> None:
    for measure in (ssim, ms_ssim):
        with pytest.raises(error, match=words):
            measure(a, b)
