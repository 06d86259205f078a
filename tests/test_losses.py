"""Losses against literal definitions, and what training relies on: means over the batch, live gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from lpie.imaging.similarity_terms import gaussian_window
from lpie.losses import FIDELITIES
from lpie.losses.fidelity import (
    MIX_ALPHA,
    earth_movers_distance,
    gaussian_l1,
    l1,
    l2,
    mix_loss,
    ms_ssim_loss,
    ssim_loss,
)
from lpie.losses.objective import PerceptualObjective
from lpie.losses.similarity import ms_ssim, ssim


@pytest.fixture(autouse=True)
def _no_file_of_lpips(random_alexnet: list[tuple[Tensor, ...]]) -> None:
    """LPIPS is asked with weights drawn at random: what is tested here holds with any."""


def photos(count: int = 2, height: int = 176, width: int = 165) -> tuple[Tensor, Tensor]:
    target = torch.nn.functional.interpolate(torch.rand(count, 3, 12, 12), (height, width), mode="bicubic").clamp(0, 1)
    return (target + 0.05 * torch.randn_like(target)).clamp(0, 1), target


def distributions(count: int) -> Tensor:
    return torch.randn(count, 10, dtype=torch.float64).mul(2).softmax(1)


class BrightnessCritic(nn.Module):
    """Scores a photo by its mean brightness, 1..10."""

    def mean_score(self, photo: Tensor) -> Tensor:
        assert photo.min() >= 0
        assert photo.max() <= 1
        return 1 + 9 * photo.mean((1, 2, 3))


@pytest.mark.parametrize("r", [1, 2, 3])
def test_earth_movers_distance_is_the_literal_sum_row_by_row(r: int) -> None:
    p, q = distributions(5), distributions(5)
    expected = []
    for row in range(5):
        total = 0.0
        for k in range(10):
            total += abs(float(p[row, : k + 1].sum()) - float(q[row, : k + 1].sum())) ** r
        expected.append((total / 10) ** (1 / r))
    torch.testing.assert_close(earth_movers_distance(p, q, r), torch.tensor(expected, dtype=torch.float64))


def test_earth_movers_distance_takes_the_root_before_the_mean() -> None:
    p, q = distributions(2), distributions(2)
    one_by_one = torch.cat([earth_movers_distance(p[:1], q[:1]), earth_movers_distance(p[1:], q[1:])])
    torch.testing.assert_close(earth_movers_distance(p, q), one_by_one)


def test_earth_movers_distance_of_certain_ratings_one_apart_is_the_root_of_a_tenth() -> None:
    certain = torch.eye(10)
    torch.testing.assert_close(earth_movers_distance(certain[3:4], certain[4:5]), torch.tensor([math.sqrt(0.1)]))
    torch.testing.assert_close(earth_movers_distance(certain[:1], certain[9:], r=1), torch.tensor([0.9]))


def test_earth_movers_distance_has_a_right_gradient_and_none_at_zero() -> None:
    p, q = distributions(3).requires_grad_(), distributions(3)
    assert torch.autograd.gradcheck(lambda x: earth_movers_distance(x, q), (p,))
    earth_movers_distance(p, p.detach()).sum().backward()
    assert p.grad is not None
    assert not p.grad.any()


def test_earth_movers_distance_refuses_other_shapes_and_orders() -> None:
    with pytest.raises(ValueError, match="r of at least 1"):
        earth_movers_distance(distributions(2), distributions(2), r=0.5)


@pytest.mark.parametrize("name", list(FIDELITIES))
def test_a_batch_of_two_costs_the_mean_of_two_batches_of_one(name: str) -> None:
    loss = FIDELITIES[name].loss
    enhanced, target = photos()
    single = [loss(enhanced[i : i + 1], target[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(loss(enhanced, target), torch.stack(single).mean(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", list(FIDELITIES))
def test_every_fidelity_is_zero_at_the_target_and_its_gradient_leads_there(name: str) -> None:
    loss = FIDELITIES[name].loss
    enhanced, target = photos()
    torch.testing.assert_close(loss(target, target), torch.zeros(()), atol=1e-6, rtol=0)
    start = enhanced.clone().requires_grad_()
    before = loss(start, target)
    (gradient,) = torch.autograd.grad(before, start)
    assert gradient.isfinite().all()
    step = 1e-3 * gradient / gradient.abs().max()
    assert 0 <= loss(enhanced - step, target) < before


@pytest.mark.parametrize("name", list(FIDELITIES))
def test_half_precision_and_autocast_do_not_move_a_loss(name: str) -> None:
    loss = FIDELITIES[name].loss
    enhanced, target = photos()
    enhanced = enhanced.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(enhanced, target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), loss(enhanced.double(), target.double()), atol=2e-5, rtol=0)


def test_l1_l2_ssim_and_ms_ssim_are_what_they_say() -> None:
    enhanced, target = photos()
    difference = (enhanced - target).flatten().tolist()
    assert l1(enhanced, target).item() == pytest.approx(sum(map(abs, difference)) / len(difference), rel=1e-5)
    assert l2(enhanced, target).item() == pytest.approx(sum(d * d for d in difference) / len(difference), rel=1e-5)
    torch.testing.assert_close(ssim_loss(enhanced, target), 1 - ssim(enhanced, target).mean())
    torch.testing.assert_close(ms_ssim_loss(enhanced, target), 1 - ms_ssim(enhanced, target).mean())


def test_mix_blends_ms_ssim_with_the_windowed_l1() -> None:
    enhanced, target = photos(height=170, width=162)
    window = torch.tensor(gaussian_window(33, 8.0))
    difference = (enhanced - target).abs().flatten(0, 1)[:, None]
    rows = nn.functional.conv2d(difference, window.view(1, 1, -1, 1))
    blurred = nn.functional.conv2d(rows, window.view(1, 1, 1, -1)).mean()
    torch.testing.assert_close(gaussian_l1(enhanced, target), blurred)
    expected = MIX_ALPHA * ms_ssim_loss(enhanced, target) + (1 - MIX_ALPHA) * blurred
    torch.testing.assert_close(mix_loss(enhanced, target), expected)


def test_windowed_l1_of_a_constant_difference_is_that_difference() -> None:
    target = torch.rand(2, 3, 40, 33) * 0.5
    torch.testing.assert_close(gaussian_l1(target + 0.25, target), torch.tensor(0.25))


def test_objective_is_fidelity_plus_gamma_times_the_missing_score() -> None:
    enhanced, target = photos()
    objective = PerceptualObjective("l2", BrightnessCritic(), gamma=0.02)
    parts = objective.parts(enhanced, target)
    score = 1 + 9 * enhanced.mean()
    torch.testing.assert_close(parts["score"], score)
    torch.testing.assert_close(parts["fidelity"], l2(enhanced, target))
    torch.testing.assert_close(parts["loss"], l2(enhanced, target) + 0.02 * (10 - score))
    torch.testing.assert_close(objective(enhanced, target), parts["loss"])
    assert parts["loss"].shape == ()


def test_objective_without_critic_is_the_fidelity_and_has_no_score() -> None:
    enhanced, target = photos()
    parts = PerceptualObjective("l1").parts(enhanced, target)
    torch.testing.assert_close(parts["loss"], l1(enhanced, target))
    assert parts["score"].isnan()


def test_critic_with_gamma_zero_is_read_but_does_not_pull() -> None:
    enhanced, target = photos()
    enhanced.requires_grad_()
    parts = PerceptualObjective("l2", BrightnessCritic(), gamma=0).parts(enhanced, target)
    (gradient,) = torch.autograd.grad(parts["loss"], enhanced)
    torch.testing.assert_close(gradient, 2 * (enhanced - target).detach() / enhanced.numel())
    assert parts["score"].isfinite()


def test_critic_pulls_every_pixel_that_a_display_can_show_and_no_other() -> None:
    target = torch.full((1, 3, 16, 16), 0.5)
    enhanced = target.clone()
    enhanced[..., 0, 0], enhanced[..., 1, 1] = 1.5, -0.5
    enhanced.requires_grad_()
    critic_only = PerceptualObjective("l2", BrightnessCritic(), 1.0)(enhanced, target) - l2(enhanced, target)
    (gradient,) = torch.autograd.grad(critic_only, enhanced)
    outside = (enhanced < 0) | (enhanced > 1)
    assert not gradient[outside].any()
    assert (gradient[~outside] < 0).all()


def test_unclipped_output_of_a_network_is_allowed_and_a_wrong_target_is_not() -> None:
    enhanced, target = photos()
    for name in FIDELITIES:
        assert PerceptualObjective(name)(enhanced * 1.3 - 0.1, target).isfinite()
        with pytest.raises(ValueError, match=r"\[0, 1\] in target"):
            PerceptualObjective(name)(enhanced, target * 255)


def test_objective_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="at least 0, got -1"):
        PerceptualObjective("l2", BrightnessCritic(), gamma=-1)
    with pytest.raises(ValueError, match="number of at least 0"):
        PerceptualObjective("l2", BrightnessCritic(), gamma=float("nan"))
    with pytest.raises(ValueError, match="there is no critic"):
        PerceptualObjective("l2", gamma=0.1)
    with pytest.raises(ValueError, match="Choose one of l1, l2, ssim, ms_ssim, mix"):
        PerceptualObjective("psnr")


def test_crops_too_small_for_ms_ssim_are_refused_with_the_way_out() -> None:
    enhanced, target = photos(height=128, width=128)
    for loss in (ms_ssim_loss, mix_loss):
        with pytest.raises(ValueError, match=r"161 px.*larger crops or ssim"):
            loss(enhanced, target)
        with pytest.raises(ValueError, match=r"larger crops\.$"):  # where SSIM fails too
            loss(enhanced[..., :8, :8], target[..., :8, :8])


def test_photo_far_off_pulls_no_harder_than_one_that_is_near_in_ms_ssim():
    torch.manual_seed(0)
    target = torch.rand(1, 3, 176, 176) * 0.5 + 0.25
    noise = torch.rand_like(target) * 0.5 - 0.25
    lengths = {}
    for share in (0.3, 0.02, -0.02, -0.1, -1.0):  # of the target's detail; the rest is noise, below 0 inverted
        photo = (0.5 + share * (target - 0.5) + (1 - abs(share)) * noise).requires_grad_()
        ms_ssim_loss(photo, target).backward()
        lengths[share] = photo.grad.norm().item()
    assert all(0 < length < 4 * lengths[0.3] for length in lengths.values())
