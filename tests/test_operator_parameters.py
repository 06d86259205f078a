"""Operator parameters: starts, ranges, gradients, learning; and the photographer's adjustments."""

from __future__ import annotations

import inspect

import pytest
import torch

from lpie import networks
from lpie.imaging.resampling import resize
from lpie.networks.operator_parameters import OperatorParameters, ranges_of
from lpie.operators import nonlocal_dehazing
from lpie.operators.adjustments import contrast, exposure, saturation, white_balance_stops
from lpie.operators.local_laplacian import local_laplacian
from lpie.operators.nonlocal_dehazing import Dehazed
from lpie.records import write_tensors


def disturbed(operator: str = "tone", seed: int = 0) -> OperatorParameters:
    """A network away from its start, as training would leave it."""
    torch.manual_seed(seed)
    network = OperatorParameters(operator).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def smooth(height: int, width: int, batch: int = 1) -> torch.Tensor:
    return resize(torch.rand(batch, 3, 7, 9), height, width)


def estimate_of(photo: torch.Tensor) -> Dehazed:
    batch = photo.shape[0]
    transmission = 0.05 + 0.95 * torch.rand(batch, 1, *photo.shape[2:])
    return Dehazed(photo, transmission, 0.7 + 0.2 * torch.rand(batch, 3))


def enhanced_by(network: OperatorParameters, photo: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(5)
    return network(photo, estimate_of(photo) if network.uses_estimate else None)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 2), (80, 100)])
def test_untrained_tone_network_returns_the_photo(size):
    photo = torch.rand(1, 3, *size)
    torch.testing.assert_close(OperatorParameters("tone")(photo), photo, rtol=0, atol=1e-4)


def test_untrained_dehazing_network_returns_the_operator_s_result():
    photo = smooth(30, 40)
    estimate = estimate_of(photo)
    expected = nonlocal_dehazing.restore(photo, estimate.transmission, estimate.airlight).clamp(0, 1)
    torch.testing.assert_close(OperatorParameters("dehaze")(photo, estimate), expected, rtol=0, atol=1e-4)


def test_dehazing_network_estimates_the_haze_itself_when_not_told():
    photo, network = smooth(48, 56), disturbed("dehaze")
    torch.testing.assert_close(network(photo), network(photo, nonlocal_dehazing.dehaze(photo)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("operator", ["tone", "dehaze"])
def test_settings_are_named_readable_and_within_their_ranges(operator):
    network, photo = disturbed(operator), smooth(40, 50, batch=3)
    with torch.no_grad():
        network.last.bias.add_(100 * torch.randn(len(network.last.bias)))
    settings = network.parameters_for(photo, estimate_of(photo))
    assert list(settings) == list(ranges_of(operator))
    for name, values in settings.items():
        assert values.shape == (3,)
        assert (values >= ranges_of(operator)[name].low - 1e-6).all(), name
        assert (values <= ranges_of(operator)[name].high + 1e-6).all(), name


@pytest.mark.parametrize("operator", ["tone", "dehaze"])
def test_untrained_settings_are_the_starts(operator):
    photo = smooth(40, 50)
    for name, value in OperatorParameters(operator).parameters_for(photo, estimate_of(photo)).items():
        assert value.item() == pytest.approx(ranges_of(operator)[name].start, abs=1e-6)


def test_tone_network_is_the_operator_under_its_settings():
    network, photo = disturbed(), smooth(60, 50)
    settings = network.parameters_for(photo)
    toned = local_laplacian(
        photo, **{name: settings[name] for name in ("alpha", "beta", "sigma_r")}, samples=network.samples
    )
    balance = white_balance_stops(settings["temperature"], settings["tint"])
    exposed = exposure(toned, settings["exposure"][:, None] + balance)
    expected = saturation(contrast(exposed, settings["contrast"]), settings["saturation"]).clamp(0, 1)
    torch.testing.assert_close(network(photo), expected)
    assert (network(photo) - photo).abs().max() > 0.01


@pytest.mark.parametrize("operator", ["tone", "dehaze"])
@pytest.mark.parametrize("size", [(1, 1), (2, 130), (97, 71)])
def test_any_size_works_and_stays_in_range(operator, size):
    enhanced = enhanced_by(disturbed(operator), torch.rand(2, 3, *size))
    assert enhanced.shape == (2, 3, *size)
    assert enhanced.min() >= 0
    assert enhanced.max() <= 1


@pytest.mark.parametrize("operator", ["tone", "dehaze"])
def test_batch_is_its_photos(operator):
    network, photos = disturbed(operator), smooth(40, 48, batch=3)
    estimate = estimate_of(photos) if network.uses_estimate else None
    singles = []
    for index in range(3):
        part = slice(index, index + 1)
        one = Dehazed(photos[part], estimate.transmission[part], estimate.airlight[part]) if estimate else None
        singles.append(network(photos[part], one))
    torch.testing.assert_close(network(photos, estimate), torch.cat(singles), rtol=0, atol=1e-5)


@pytest.mark.parametrize("operator", ["tone", "dehaze"])
def test_gradient_reaches_every_parameter_and_setting(operator):
    network = disturbed(operator).train()
    photo = smooth(64, 64) * 0.8
    enhanced_by(network, photo).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    for name, gradient in zip(ranges_of(operator), network.last.bias.grad, strict=True):
        assert gradient != 0, name


def test_it_learns_the_operator_s_own_settings():
    torch.manual_seed(0)
    network = OperatorParameters("tone").train()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    photo = smooth(48, 48, batch=2)
    photo = (photo + 0.1 * torch.rand_like(photo)).clamp(0, 1)
    target = exposure(local_laplacian(photo, alpha=0.5, beta=0.7, sigma_r=0.2, samples=network.samples), 0.3)
    before = (network(photo) - target).square().mean()
    for _ in range(60):
        loss = (network(photo) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < before / 20


@pytest.mark.parametrize("operator", ["tone", "dehaze"])
def test_saved_network_comes_back(tmp_path, operator):
    network, photo = disturbed(operator), smooth(40, 50)
    write_tensors(tmp_path / "saved.safetensors", network.state_dict(), network.metadata())
    again = networks.from_pretrained(tmp_path / "saved.safetensors")
    assert again.operator == operator
    assert again.uses_estimate == (operator == "dehaze")
    assert torch.equal(enhanced_by(again, photo), enhanced_by(network, photo))
    assert type(networks.from_pretrained(tmp_path / "saved.safetensors")) is OperatorParameters


def test_unknown_operators_networks_and_weights_are_refused(tmp_path):
    with pytest.raises(ValueError, match="Choose one of tone, dehaze"):
        OperatorParameters("sharpen")
    with pytest.raises(ValueError, match="Choose one of can24, can32, grid, parameters"):
        networks.build("unet", "tone")
    with pytest.raises(FileNotFoundError, match=r"missing.safetensors: there is no such file"):
        networks.from_pretrained(tmp_path / "missing.safetensors")
    write_tensors(tmp_path / "other.safetensors", {"x": torch.ones(1)}, {"network": "grid"})
    with pytest.raises(ValueError, match="expected the tensors and metadata of one network"):
        networks.from_pretrained(tmp_path / "other.safetensors")
    write_tensors(tmp_path / "critic.safetensors", {"x": torch.ones(1)}, {"network": "nima"})
    with pytest.raises(ValueError, match="is a critic, not an enhancing network"):
        networks.from_pretrained(tmp_path / "critic.safetensors")


@pytest.mark.parametrize("name", ["can24", "can32", "grid", "parameters"])
@pytest.mark.parametrize("operator", ["tone", "dehaze"])
def test_every_network_of_the_study_is_built_as_it_is_named(name, operator):
    network = networks.build(name, operator)
    assert network.metadata()["network"] == name
    assert network.uses_estimate == (name == "parameters" and operator == "dehaze")


@pytest.mark.parametrize("operator", ["tone", "dehaze"])
def test_half_precision_around_it_changes_little(operator):
    network, photo = disturbed(operator).train(), smooth(64, 72)
    full = enhanced_by(network, photo)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = enhanced_by(network, photo)
    assert mixed.dtype == torch.float32
    assert (mixed - full).abs().mean() < 0.05 * (full - photo).abs().mean()


# Adjustments


def test_neutral_adjustments_return_the_photo():
    photo = torch.rand(2, 3, 8, 9)
    torch.testing.assert_close(exposure(photo, 0.0), photo, rtol=0, atol=1e-6)
    assert torch.equal(contrast(photo, 1.0), photo)
    torch.testing.assert_close(saturation(photo, 1.0), photo, rtol=0, atol=1e-6)


def test_adjustments_keep_black_white_and_order():
    ramp = torch.linspace(0, 1, 101).expand(1, 3, 1, 101)
    for adjusted in (exposure(ramp, 1.0), exposure(ramp, -1.0), contrast(ramp, 0.5), contrast(ramp, 1.5)):
        assert adjusted[..., 0].abs().max() < 1e-6
        assert (adjusted[..., -1] - 1).abs().max() < 1e-6
        assert (adjusted.diff(dim=-1) >= -1e-6).all()


def test_one_stop_doubles_the_light_in_the_shadows():
    from lpie.imaging.color import to_linear, to_srgb

    dark = to_srgb(torch.full((1, 3, 1, 1), 1e-3))
    assert to_linear(exposure(dark, 1.0)).mean().item() == pytest.approx(2e-3, rel=0.01)


def test_contrast_is_the_slope_at_middle_gray():
    middle = torch.full((1, 3, 1, 1), 0.5, requires_grad=True)
    contrast(middle, 1.3).sum().backward()
    torch.testing.assert_close(middle.grad, torch.full_like(middle, 1.3))


def test_saturation_of_zero_is_gray_and_keeps_luma():
    photo = torch.rand(1, 3, 5, 5)
    gray = saturation(photo, 0.0)
    torch.testing.assert_close(gray, gray.mean(dim=1, keepdim=True).expand_as(gray))
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    torch.testing.assert_close((saturation(photo, 1.7) * weights).sum(1), (photo * weights).sum(1))


def test_warmer_raises_red_against_blue_and_tint_both_against_green():
    stops = white_balance_stops(torch.tensor([0.2, 0.0]), torch.tensor([0.0, 0.2]))
    torch.testing.assert_close(stops, torch.tensor([[0.1, 0.0, -0.1], [0.1, -0.1, 0.1]]))


def test_each_photo_takes_its_own_setting():
    photos = torch.rand(2, 3, 4, 4)
    both = exposure(photos, torch.tensor([0.5, -0.5]))
    torch.testing.assert_close(both, torch.cat([exposure(photos[:1], 0.5), exposure(photos[1:], -0.5)]))
    with pytest.raises(ValueError, match="one per photo"):
        inspect.unwrap(contrast)(photos, torch.ones(5))  # without the tests' type checks
