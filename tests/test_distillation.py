"""Training of a critic: its parts on small networks, and a start that goes on where another ended."""

from dataclasses import replace

import pytest
import torch
from real_photos import photograph

from lpie.critic.nima import NIMA
from lpie.critic_training.distillation import (
    State,
    attack,
    distill,
    made_worse,
    relative_shift,
    scores_and_features,
    unexplained_variance,
)
from lpie.critic_training.measures import measure_critic, quick_measures
from lpie.critic_training.settings import Distillation
from lpie.imaging.color import to_uint8
from lpie.records import read_tensors, write_tensors

TINY = Distillation(input_size=32, batch=4, minutes=0.02, attack_steps=2)


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(5)
    return NIMA("mobilenet_v1", "published", 224).freeze()


@pytest.fixture(scope="module")
def album():
    windows = (("astronaut", slice(40, 200), slice(150, 278)), ("coffee", slice(100, 260), slice(100, 260)))
    return [to_uint8(photograph(*window))[0] for window in windows]


@pytest.fixture
def photo(small_photos):
    return small_photos[:2].repeat(8, 1, 1, 1)


def test_attack_stays_within_epsilon_and_changes_the_score_more_than_noise_does(photo):
    student = NIMA("mobilenet_v1", input_size=32).eval()
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


def test_features_are_those_that_the_scores_are_read_from(teacher, photo):
    said, maps = scores_and_features(teacher, photo[:2])
    assert torch.allclose(said, teacher(photo[:2]), atol=1e-6)
    assert torch.allclose(teacher.network.fc(maps.mean((2, 3))).softmax(1), said, atol=1e-6)


def test_features_miss_nothing_of_themselves_and_all_where_they_say_only_the_mean():
    wanted = torch.randn(16, 8, 5, 5)
    assert unexplained_variance(wanted, wanted) == pytest.approx(0, abs=1e-9)
    assert unexplained_variance(wanted.mean((0, 2, 3), keepdim=True).expand_as(wanted), wanted) == pytest.approx(1)


def test_features_on_fewer_cells_are_compared_with_what_the_teacher_saw_there():
    wanted = torch.zeros(1, 1, 6, 6)
    wanted[..., :3] = 1  # the left half
    left, right = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    left[..., :2], right[..., 2:] = 1, 1
    assert unexplained_variance(left, wanted) < 0.1
    assert unexplained_variance(right, wanted) > 3


def test_shift_between_views_is_in_standard_deviations_so_that_a_narrow_scale_does_not_lower_it():
    scores, moved = torch.tensor([4.0, 5.0, 6.0]), torch.tensor([4.5, 5.5, 5.5])
    assert relative_shift(scores, moved) == pytest.approx(0.5)
    assert relative_shift(scores / 10, moved / 10) == pytest.approx(0.5)


def test_a_worse_photo_is_almost_the_photo(small_photos):
    torch.manual_seed(0)
    worse = made_worse(small_photos)
    assert worse.shape == small_photos.shape
    assert 0.001 < (worse - small_photos).abs().mean() < 0.1
    assert worse.min() >= 0
    assert worse.max() <= 1


def test_running_mean_lies_between_the_first_and_the_last_weights(teacher, tmp_path):
    state = State(TINY, teacher, tmp_path)
    state.set_rate(0.5)
    means = []
    for _ in range(2):
        state.update(state.student.network(torch.rand(2, 3, 32, 32)).square().mean())
        means.append((state.student.network.stem.weight.clone(), state.averaged().network.stem.weight))
    (first, first_mean), (second, second_mean) = means
    assert torch.equal(first_mean, first)
    assert torch.allclose(second_mean, TINY.average * first + (1 - TINY.average) * second, atol=1e-7)


def test_a_gradient_that_is_not_finite_stops_the_training(teacher, tmp_path):
    state = State(TINY, teacher, tmp_path)
    with pytest.raises(FloatingPointError, match="not finite at step 0"):
        state.update(state.student.network(torch.rand(2, 3, 32, 32)).square().mean() * torch.inf)


def test_second_start_goes_on_from_the_first(teacher, album, tmp_path):
    unseen = [torch.rand(1, 3, 64, 96), torch.rand(1, 3, 64, 64), torch.rand(1, 3, 48, 64)]
    first = distill(TINY, teacher, album, unseen, tmp_path)
    again = State(TINY, teacher, tmp_path)
    assert again.step >= 1
    assert again.progress() >= 1
    assert torch.equal(again.averaged().network.fc.weight, first.network.fc.weight)
    longer = replace(TINY, minutes=0.02 + again.spent / 60)
    distill(longer, teacher, album, unseen, tmp_path)
    further = State(longer, teacher, tmp_path)
    assert further.step > again.step
    steps = [row["step"] for row in further.rows]
    assert steps == sorted(steps)
    with pytest.raises(ValueError, match=r"state\.safetensors belongs to a training with .*go on with that, or remove"):
        State(replace(longer, epsilon=0.5), teacher, tmp_path)
    tensors, notes = read_tensors(tmp_path / "state.safetensors")
    write_tensors(tmp_path / "state.safetensors", tensors, notes | {"position": "[]"})
    with pytest.raises(ValueError, match=r"state\.safetensors is damaged"):
        State(longer, teacher, tmp_path)


def test_critic_agrees_with_itself_and_is_measured_beside_itself():
    critic = NIMA("mobilenet_v1", input_size=32).freeze()
    photos = [photograph("astronaut", slice(y, y + 60), slice(150, 230)) for y in (0, 60, 120)]
    measures = measure_critic(critic, critic, photos, photos[:1], universal_steps=1)
    assert measures["srcc_clean"] == pytest.approx(1)
    assert measures["srcc_varied"] == pytest.approx(1)
    assert measures["attack_gain"] == measures["ava_attack_gain"] >= 0
    spread = torch.cat([critic.mean_score(photo) for photo in photos]).std().item()
    assert measures["attack_in_standard_deviations"] == pytest.approx(measures["attack_gain"] / spread)
    assert measures["ava_attack_in_standard_deviations"] == pytest.approx(measures["attack_in_standard_deviations"])
    assert measures["shift_rounding"] == pytest.approx(0, abs=1e-5)


def test_unmoved_photos_are_not_moved_at_all(photo):
    student = NIMA("mobilenet_v1", input_size=32).eval()
    still = (attack(student, photo, 8 / 255, steps=1, unmoved=0.5) == photo).flatten(1).all(1)
    assert 2 <= int(still.sum()) <= 14


def test_measuring_leaves_the_random_numbers_of_a_training_alone(teacher, small_photos):
    critic = NIMA("mobilenet_v1", input_size=32).freeze()
    state = torch.get_rng_state()
    quick_measures(critic, teacher, list(small_photos.split(1)))
    assert torch.equal(torch.get_rng_state(), state)


def test_input_that_the_network_cannot_halve_five_times_is_refused():
    with pytest.raises(ValueError, match="multiple of 32"):
        Distillation(input_size=200)
