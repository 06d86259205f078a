"""NIMA: its input, its gradient, its freezing; the published scores are reproduced in test_published_weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from lpie.critic.backbones import KerasConv2d, MobileNetV1, PointwiseConv2d
from lpie.critic.nima import NIMA, mean_score, score_standard_deviation
from lpie.imaging.resampling import bilinear_weights, nearest_weights, resize, resize_by_products
from lpie.weights import write_tensors

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def critic() -> NIMA:
    torch.manual_seed(0)
    return NIMA(input_size=64).freeze()


def test_distribution_sums_to_one_for_any_size_and_aspect(critic):
    for height, width in [(1, 1), (1, 300), (37, 64), (200, 31), (64, 64)]:
        distribution = critic(torch.rand(2, 3, height, width))
        assert distribution.shape == (2, 10)
        torch.testing.assert_close(distribution.sum(1), torch.ones(2))


def test_mean_and_standard_deviation_are_those_of_numpy():
    distribution = torch.rand(4, 10, dtype=torch.float64).softmax(1)
    for p, mean, deviation in zip(
        distribution.numpy(), mean_score(distribution), score_standard_deviation(distribution), strict=True
    ):
        expected = np.average(np.arange(1, 11), weights=p)
        assert mean.item() == pytest.approx(expected, abs=1e-12)
        assert deviation.item() == pytest.approx(np.average((np.arange(1, 11) - expected) ** 2, weights=p) ** 0.5)


def test_a_certain_rating_has_no_standard_deviation():
    certain = torch.eye(10)
    torch.testing.assert_close(mean_score(certain), torch.arange(1.0, 11.0))
    assert score_standard_deviation(certain).abs().max() < 1e-6


def test_the_standard_deviation_has_a_gradient_where_the_rating_is_certain():
    certain = torch.eye(10, requires_grad=True)
    score_standard_deviation(certain).sum().backward()
    assert certain.grad.isfinite().all()


def test_photos_in_another_range_are_refused():
    critic = NIMA(input_size=32).freeze()
    for wrong in (
        torch.rand(1, 3, 40, 40) * 255,
        torch.rand(1, 3, 40, 40) * 2 - 1,
        torch.full((1, 3, 8, 8), torch.nan),
    ):
        with pytest.raises(ValueError, match=r"values in \[0, 1\] in photo"):
            critic(wrong)


@pytest.mark.parametrize(("height", "width", "size"), [(481, 321, 224), (30, 50, 224), (224, 100, 64), (1, 5, 64)])
def test_products_resample_as_torch_does_with_antialiasing(height, width, size):
    """The GPU's form and the CPU's are one function, values and gradients."""
    photo = torch.rand(1, 3, height, width, dtype=torch.float64, requires_grad=True)
    products = resize_by_products(photo, size)
    sampled = NIMA(input_size=size).square(photo)
    torch.testing.assert_close(products, sampled)
    torch.testing.assert_close(sampled, F.interpolate(photo, (size, size), mode="bilinear", antialias=True))
    seen = torch.rand_like(sampled)
    (of_products,) = torch.autograd.grad((products * seen).sum(), photo)
    (of_sampled,) = torch.autograd.grad((sampled * seen).sum(), photo)
    torch.testing.assert_close(of_products, of_sampled)


@pytest.mark.parametrize(("height", "width", "size"), [(33, 47, 160), (512, 512, 160), (161, 640, 160), (1, 1, 32)])
def test_both_forms_of_resizing_in_single_precision_are_that_in_double(height, width, size):
    """Torch's own in single precision rounds the filter's places and is up to 5e-6 off."""
    photo = torch.rand(2, 3, height, width).to(memory_format=torch.channels_last).requires_grad_()
    exact = F.interpolate(photo.double(), (size, size), mode="bilinear", antialias=True)
    seen = torch.randn_like(exact)
    (of_exact,) = torch.autograd.grad((exact * seen).sum(), photo)
    for form in (lambda photo: resize(photo, size, size), lambda photo: resize_by_products(photo, size)):
        found = form(photo)
        torch.testing.assert_close(found, exact.float(), atol=1e-5, rtol=1e-5)
        (of_found,) = torch.autograd.grad((found * seen).sum(), photo)
        torch.testing.assert_close(of_found, of_exact, atol=5e-5, rtol=1e-4)
        assert torch.equal(form(photo), found)


@pytest.mark.parametrize("side", [9, 10])
def test_layers_are_the_convolutions_that_their_weights_say(side):
    depthwise, pointwise = KerasConv2d(4, 4, stride=2, groups=4), PointwiseConv2d(4, 6)
    features = torch.rand(2, 4, side, side, requires_grad=True)
    padded = F.conv2d(F.pad(features, (0, 1, 0, 1)), depthwise.weight, depthwise.bias, 2, groups=4)
    expected = F.conv2d(padded, pointwise.weight, pointwise.bias)
    found = pointwise(depthwise(features))
    torch.testing.assert_close(found, expected)
    inputs = (features, depthwise.weight, pointwise.weight, pointwise.bias)
    seen = torch.randn_like(expected)
    for of_found, of_expected in zip(
        *(torch.autograd.grad((each * seen).sum(), inputs) for each in (found, expected)), strict=True
    ):
        torch.testing.assert_close(of_found, of_expected)


def test_published_square_takes_the_pixels_that_pillow_takes():
    for length in range(1, 1400, 3):
        row = Image.fromarray(np.arange(length, dtype=np.int32)[None])
        taken = nearest_weights(length, 224, CPU).argmax(1).numpy()
        np.testing.assert_array_equal(taken, np.array(row.resize((224, 1), Image.Resampling.NEAREST))[0])


def test_published_square_keeps_pixel_values_exactly():
    photo = torch.randint(0, 256, (1, 3, 640, 425)).float() / 255
    square = NIMA(convention="published").square(photo)
    pillow = Image.fromarray((photo[0] * 255).byte().permute(1, 2, 0).numpy()).resize(
        (224, 224), Image.Resampling.NEAREST
    )
    assert torch.equal(square[0], torch.from_numpy(np.array(pillow)).permute(2, 0, 1).float() / 255)


@pytest.mark.parametrize(("height", "width"), [(300, 200), (40, 90), (1, 500)])
def test_gradient_reaches_every_pixel_and_no_weight(height, width):
    critic = NIMA(input_size=64).freeze()
    weights = bilinear_weights(height, 64, CPU).sum(0)[:, None] * bilinear_weights(width, 64, CPU).sum(0)
    assert (weights > 0).all()
    photo = torch.rand(1, 3, height, width, requires_grad=True)
    critic.mean_score(photo).sum().backward()
    assert (photo.grad.abs().amax(1) > 0).float().mean() > 0.999  # zero only where ReLU cuts every path
    assert all(parameter.grad is None for parameter in critic.parameters())


def test_the_gradient_is_that_of_finite_differences():
    critic = NIMA(input_size=32).freeze().double()
    photo = torch.rand(1, 3, 20, 41, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(critic.mean_score, (photo,), fast_mode=True)


def test_batch_of_two_is_two_batches_of_one(critic):
    photos = torch.rand(2, 3, 50, 70)
    torch.testing.assert_close(critic(photos), torch.cat([critic(photos[:1]), critic(photos[1:])]))


def test_frozen_critic_ignores_a_parents_train():
    critic = NIMA(input_size=64).freeze()
    parent = nn.ModuleDict({"critic": critic, "other": nn.Dropout(0.5)})
    photo = torch.rand(1, 3, 64, 64)
    before = critic(photo)
    parent.train()
    assert parent["other"].training
    assert not any(module.training for module in critic.modules())
    assert torch.equal(critic(photo), before)


def test_trainable_nima_drops_out_until_it_is_frozen():
    trainable = NIMA(input_size=64)
    photo = torch.rand(1, 3, 64, 64)
    assert not torch.equal(trainable(photo), trainable(photo))
    trainable.freeze()
    assert torch.equal(trainable(photo), trainable(photo))
    trainable.unfreeze().train()
    assert all(parameter.requires_grad for parameter in trainable.parameters())
    assert not torch.equal(trainable(photo), trainable(photo))


def test_autocast_changes_the_score_little_and_the_square_not_at_all(critic, small_photos):
    published = NIMA(convention="published")  # its square is a matrix product, which autocast would round
    with torch.autocast("cpu", torch.bfloat16):
        halved, squares = critic(small_photos), [nima.square(small_photos) for nima in (critic, published)]
    assert halved.dtype == torch.float32
    assert torch.equal(squares[0], critic.square(small_photos))
    assert torch.equal(squares[1], published.square(small_photos))
    torch.testing.assert_close(halved, critic(small_photos), atol=0.02, rtol=0)
    torch.testing.assert_close(halved.sum(1), torch.ones(3))


def test_keras_padding_is_one_pixel_right_and_bottom_at_stride_two():
    layer = KerasConv2d(1, 1, stride=2)
    photo = torch.rand(1, 1, 6, 6)
    padded = F.pad(photo, (0, 1, 0, 1))
    corner = (padded[0, 0, 4:7, 4:7] * layer.weight[0, 0]).sum() + layer.bias
    torch.testing.assert_close(layer(photo)[0, 0, 2, 2], corner[0])
    assert KerasConv2d(1, 1, stride=1)(photo).shape == photo.shape


def test_mobilenet_has_the_shapes_of_its_table():
    network = MobileNetV1()
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_206_282
    assert network.blocks(torch.rand(1, 32, 112, 112)).shape == (1, 1024, 7, 7)


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "inception_v3"])
def test_torchvision_backbones_pass_gradients_to_photo_and_head(backbone):
    trainable = NIMA(backbone, input_size=96)
    photos = torch.rand(2, 3, 40, 60, requires_grad=True)
    mean_score(trainable(photos)).sum().backward()
    assert photos.grad.abs().amin((1, 2, 3)).isfinite().all()
    assert photos.grad.abs().amax((1, 2, 3)).min() > 0
    head = trainable.network.fc if backbone == "inception_v3" else trainable.network.classifier[-1]
    assert head.weight.grad.abs().max() > 0


def test_vgg16_ends_in_ten_scores():
    with torch.device("meta"):  # its 134 million weights are not needed to see shapes
        critic = NIMA("vgg16")
    assert critic.network(torch.rand(2, 3, 224, 224, device="meta")).shape == (2, 10)
    assert sum(parameter.numel() for parameter in critic.parameters()) == 134_301_514


def test_saved_critic_comes_back_with_its_settings(tmp_path, critic):
    stored = NIMA("mobilenet_v1", "published", 96).freeze()
    stored.save(tmp_path / "critic.safetensors", origin="a test")
    loaded = NIMA.from_pretrained(tmp_path / "critic.safetensors")
    photo = torch.rand(1, 3, 50, 50)
    assert loaded.metadata() == stored.metadata()
    assert torch.equal(loaded(photo), stored(photo))
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert NIMA.from_pretrained(tmp_path / "critic.safetensors", convention="antialiased").convention == "antialiased"


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    path = tmp_path / "other.safetensors"
    other = NIMA("mobilenet_v2")
    write_tensors(path, other.network.state_dict(), {**other.metadata(), "backbone": "mobilenet_v1"})
    with pytest.raises(ValueError, match=r"other\.safetensors: expected the tensors and metadata of one network"):
        NIMA.from_pretrained(path)
    with pytest.raises(FileNotFoundError, match="Unknown critic 'nowhere'"):
        NIMA.from_pretrained("nowhere")
    (tmp_path / "broken.safetensors").write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="expected a whole safetensors file"):
        NIMA.from_pretrained(tmp_path / "broken.safetensors")


@pytest.mark.parametrize(
    ("photo", "error", "says"),
    [
        (torch.rand(3, 10, 10), ValueError, r"\(N, 3, H, W\)"),
        (torch.rand(1, 1, 10, 10), ValueError, r"\(1, 1, 10, 10\)"),
        (torch.rand(1, 3, 0, 10), ValueError, "none of them empty"),
        (torch.zeros(1, 3, 10, 10, dtype=torch.uint8), TypeError, "from_uint8"),
        (torch.rand(1, 3, 10, 10, device="meta"), ValueError, "move one of them"),
    ],
)
def test_wrong_photos_are_refused_with_what_to_do(critic, unchecked_shapes, photo, error, says):
    with pytest.raises(error, match=says):
        critic(photo)


def test_wrong_settings_are_refused_with_the_choices(unchecked_shapes):
    with pytest.raises(ValueError, match="choose one of mobilenet_v1, mobilenet_v2"):
        NIMA("resnet")
    with pytest.raises(ValueError, match="Choose one of antialiased, published"):
        NIMA(convention="bilinear")
    with pytest.raises(ValueError, match="at least 32 px"):
        NIMA(input_size=8)
    with pytest.raises(ValueError, match="no ImageNet weights"):
        NIMA(imagenet=True)
