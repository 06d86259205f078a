"""Training of a critic: its parts on small networks, and a start that goes on where another ended."""

import copy
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as photographs

from lpie.critic.nima import NIMA
from lpie.critic_training.critic_evaluation import PHOTOGRAPHIC_VARIATIONS, measure_critic, quick_measures
from lpie.critic_training.distillation import (
    Distillation,
    _missed,
    _ramp,
    _relative_shift,
    attack,
    describe,
    distill,
)
from lpie.critic_training.distillation_state import USUAL_WEIGHT, State, weight_units
from lpie.critic_training.distillation_views import draw_views, squares, training_album
from lpie.critic_training.views import Album

TINY = Distillation(input_size=32, batch=4, crops=2, minutes=0.02, attack_steps=2)


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(5)
    return NIMA("mobilenet_v1", "published", 224).freeze()


@pytest.fixture(scope="module")
def album():
    return Album.of([photographs.astronaut()[40:200, 150:278], photographs.coffee()[100:260, 100:260]], 160, "cpu")


def test_attack_stays_within_epsilon_and_changes_the_score_more_than_noise_does(teacher, album):
    student = NIMA("mobilenet_v1", input_size=32).eval()
    photo = album.take(torch.tensor([0, 1] * 8))[0]
    epsilon = 8 / 255
    moved = attack(student, photo, epsilon, steps=3)
    assert (moved - photo).abs().max() <= epsilon + 1e-6
    assert moved.min() >= 0
    assert moved.max() <= 1
    noise = (photo + epsilon * (2 * torch.rand_like(photo) - 1)).clamp(0, 1)
    before, attacked, noisy = (student.mean_score(p).detach() for p in (photo, moved, noise))
    assert (attacked - before).abs().mean() > 3 * (noisy - before).abs().mean()
    assert all(parameter.grad is None for parameter in student.parameters())
    assert all(parameter.requires_grad for parameter in student.parameters())
    attack(student.freeze(), photo[:1], epsilon, steps=1)
    assert not any(parameter.requires_grad for parameter in student.parameters())


def test_description_is_what_the_critic_says_and_reads_it_from(teacher, album):
    photo = album.take(torch.tensor([0, 1]))[0]
    said, maps = describe(teacher, photo)
    assert torch.allclose(said, teacher(photo), atol=1e-6)
    assert torch.allclose(teacher.network.fc(maps.mean((2, 3))).softmax(1), said, atol=1e-6)


def test_features_miss_nothing_of_themselves_and_all_where_they_say_only_the_mean():
    wanted = torch.randn(16, 8, 5, 5)
    assert _missed(wanted, wanted) == pytest.approx(0, abs=1e-9)
    assert _missed(wanted.mean((0, 2, 3), keepdim=True).expand_as(wanted), wanted) == pytest.approx(1)


def test_features_on_fewer_cells_are_compared_with_what_the_teacher_saw_there():
    wanted = torch.zeros(1, 1, 6, 6)
    wanted[..., :3] = 1  # the left half
    left, right = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    left[..., :2], right[..., 2:] = 1, 1
    assert _missed(left, wanted) < 0.1
    assert _missed(right, wanted) > 3


def test_shift_between_views_is_in_deviations_so_that_a_narrow_scale_does_not_lower_it():
    scores, moved = torch.tensor([4.0, 5.0, 6.0]), torch.tensor([4.5, 5.5, 5.5])
    assert _relative_shift(scores, moved) == pytest.approx(0.5)
    assert _relative_shift(scores / 10, moved / 10) == pytest.approx(0.5)


def test_views_are_squares_in_range_and_the_second_is_a_little_worse(album):
    seen, worse, shown = draw_views(TINY, album, 64)
    assert seen.shape == worse.shape == (4, 3, 64, 64)
    assert 0 < (seen - worse).abs().mean() < 0.1
    assert shown.shape == (4, 3, 224, 224)
    for view in (seen, worse, shown):
        assert view.min() >= -1e-4
        assert view.max() <= 1 + 1e-4


def test_running_mean_lies_between_the_first_and_the_last_weights(teacher, tmp_path):
    state = State(TINY, teacher, torch.rand(4, 3, 64, 64), tmp_path)
    state.set_rate(0.5)
    first = state.student.network.stem.weight.clone()
    state.update(state.student.network(torch.rand(2, 3, 32, 32)).square().mean())
    last, mean = state.student.network.stem.weight, state.average.network.stem.weight
    decay = 2 / 11  # of the first step
    assert torch.allclose(mean, decay * first + (1 - decay) * last, atol=1e-6)


def test_units_make_channels_alike_and_measure_biases_by_what_they_are_added_to():
    critic = NIMA("mobilenet_v1", input_size=32).freeze()
    with torch.no_grad():
        critic.network.stem.weight[3] *= 300
        critic.network.stem.weight[5] = 0
    photos = torch.rand(8, 3, 32, 32)
    named = dict(zip(dict(critic.network.named_parameters()), weight_units(critic, photos), strict=True))
    alike = (critic.network.stem.weight / named["stem.weight"]).square().mean((1, 2, 3)).sqrt()
    assert alike[3] == pytest.approx(USUAL_WEIGHT)
    assert alike[5] == 0
    padded = torch.nn.functional.pad(2 * photos - 1, (0, 1, 0, 1))
    added_to = torch.nn.functional.conv2d(padded, critic.network.stem.weight, stride=2).std((0, 2, 3))
    assert named["stem.bias"][3] == pytest.approx(added_to[3].item(), rel=1e-4)
    assert all(
        unit.shape == weight.shape for unit, weight in zip(named.values(), critic.network.parameters(), strict=True)
    )


def test_step_moves_large_and_small_channels_by_the_same_share(teacher, tmp_path):
    uneven = copy.deepcopy(teacher)
    with torch.no_grad():
        uneven.network.blocks[12].pw.weight[:500] *= 30
    state = State(TINY, uneven, torch.rand(4, 3, 64, 64), tmp_path)
    state.set_rate(0.5)
    before = uneven.network.blocks[12].pw.weight
    state.update(state.student.network(torch.rand(8, 3, 32, 32)).square().mean())
    change = (state.student.network.blocks[12].pw.weight.detach() - before).flatten(1).norm(dim=1)
    share = change / before.flatten(1).norm(dim=1)
    most = state.optimizer.param_groups[0]["lr"] / USUAL_WEIGHT  # less where features are 0 and weights have no slope
    for channels in (slice(500), slice(500, None)):
        assert most / 4 < share[channels].max() <= 1.01 * most


def test_overflow_in_half_precision_leaves_the_weights_as_they_are(teacher, tmp_path):
    state = State(TINY, teacher, torch.rand(4, 3, 64, 64), tmp_path)
    state.set_rate(0.5)
    before = [weight.clone() for weight in state.parameters]
    state.update(state.student.network(torch.rand(2, 3, 32, 32)).square().mean() * torch.inf)
    for weight, earlier in zip(state.parameters, before, strict=True):
        torch.testing.assert_close(weight, earlier, rtol=1e-6, atol=0)


def test_further_photographs_join_those_of_the_data_folder(tmp_path):
    folders = ("bsds500/train", "bsds500/val", "sunhays40", "oasis_beauty/images", "haze/real", "own")
    for shade, folder in enumerate(folders):
        (tmp_path / folder).mkdir(parents=True)
        Image.fromarray(np.full((20, 30, 3), 20 * shade, np.uint8)).save(tmp_path / folder / "one.png")
    without, album = (training_album(tmp_path, more, "cpu") for more in ([], [tmp_path / "own"]))
    shades = (album.frames[:, 0, 0, 0] // 20).tolist()
    assert [shade for shade in shades if shade != 4] == [0, 0, 1, 1, 2, 3, 5]  # whether 4 is haze to train with varies
    assert len(album) == len(without) + 1
    assert album.heights.tolist() == [20] * len(album)


@pytest.mark.timeout(1200)  # twenty seconds of work, which a busy machine stretches
def test_gpu_kernels_agree_with_the_plain_network():
    """In a process of its own: Triton's interpreter, which needs no GPU, is chosen at import."""
    pytest.importorskip("triton", reason="triton comes with the CUDA builds of torch")
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    script = str(Path(__file__).parent / "gpu_kernels_agree.py")
    finished = subprocess.run(
        [sys.executable, script, "critic"], env=environment, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_second_start_goes_on_from_the_first(teacher, album, tmp_path):
    unseen = [photographs.chelsea()[90:154, 110:206]]
    photos = [torch.from_numpy(p.copy()).permute(2, 0, 1)[None].float() / 255 for p in unseen]
    first = distill(TINY, teacher, album, photos, tmp_path)
    again = State(TINY, teacher, squares(album, 2), tmp_path)
    assert again.step >= 1
    assert again.progress(time.monotonic()) >= 1
    assert torch.equal(again.average.network.fc.weight, first.network.fc.weight)
    assert torch.equal(again.student.network.stem.weight, again.scaled[0] * again.units[0])
    longer = replace(TINY, minutes=0.02 + again.spent / 60)
    distill(longer, teacher, album, photos, tmp_path)
    further = State(longer, teacher, squares(album, 2), tmp_path)
    assert further.step > again.step
    assert [row["step"] for row in further.rows] == sorted(row["step"] for row in further.rows)


def test_critic_agrees_with_itself_and_is_measured_beside_itself(album):
    critic = NIMA("mobilenet_v1", input_size=32).freeze()
    crops = [photographs.astronaut()[y : y + 60, 150:230] for y in (0, 60, 120)]
    photos = [torch.from_numpy(p.copy()).permute(2, 0, 1)[None].float() / 255 for p in crops]
    squares = album.take(torch.tensor([0, 1]))[0]
    squares = torch.nn.functional.interpolate(squares, (224, 224))
    measures = measure_critic(critic, critic, photos, squares, universal_steps=1)
    assert measures["srcc_clean"] == pytest.approx(1)
    assert measures["srcc_varied"] == pytest.approx(1)
    assert measures["attack_gain"] == measures["ava_attack_gain"] >= 0
    deviation = torch.cat([critic.mean_score(photo) for photo in photos]).std().item()
    assert measures["attack_in_deviations"] == pytest.approx(measures["attack_gain"] / deviation)
    assert measures["ava_attack_in_deviations"] == pytest.approx(measures["attack_in_deviations"])
    assert measures["shift_rounding"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", PHOTOGRAPHIC_VARIATIONS)
def test_variation_makes_another_photo_in_range(name, small_photos):
    varied = PHOTOGRAPHIC_VARIATIONS[name](small_photos)
    assert varied.min() >= 0
    assert varied.max() <= 1
    if varied.shape == small_photos.shape:
        assert (varied - small_photos).abs().mean() > 0.005


def test_attack_begins_late_grows_slowly_and_then_stays():
    assert [_ramp(progress, 0.2, 0.8) for progress in (0.0, 0.2, 0.5, 0.8, 1.0)] == pytest.approx([0, 0, 0.5, 1, 1])


def test_spared_photos_are_not_moved_at_all(album):
    student = NIMA("mobilenet_v1", input_size=32).eval()
    photo = album.take(torch.tensor([0, 1] * 16))[0]
    still = (attack(student, photo, 8 / 255, steps=1, spared=0.5) == photo).flatten(1).all(1)
    assert 4 <= int(still.sum()) <= 28


def test_measuring_leaves_the_random_numbers_of_a_training_alone(teacher, small_photos):
    critic = NIMA("mobilenet_v1", input_size=32).freeze()
    state = torch.get_rng_state()
    quick_measures(critic, teacher, list(small_photos.split(1)))
    assert torch.equal(torch.get_rng_state(), state)


def test_input_that_the_network_cannot_halve_five_times_is_refused():
    with pytest.raises(ValueError, match="multiple of 32"):
        Distillation(input_size=200)
    with pytest.raises(ValueError, match="multiple of crops"):
        Distillation(batch=6, crops=4)
