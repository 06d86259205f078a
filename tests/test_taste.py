"""A critic learns one person's taste: what it read, what it learned, and what it must refuse."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from skimage import data as photographs
from typer.testing import CliRunner

from lpie.cli import app
from lpie.critic.nima import NIMA
from lpie.critic_training.opinions import Opinions, read_opinions
from lpie.critic_training.taste import (
    features_of,
    fit,
    held_out_scores,
    last_layer,
    learn_taste,
    moved_critic,
    moved_scores,
)
from lpie.photos.photographs import read_photo


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """The body of a shipped critic, on squares that are quick to look at."""
    path = tmp_path_factory.mktemp("critic") / "start.safetensors"
    small = NIMA("mobilenet_v1", input_size=64)
    small.network.load_state_dict(NIMA.from_pretrained("compact").network.state_dict())
    small.save(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Forty crops of four photographs; the cat is liked most, the rocket least."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    liked = {"chelsea": 9, "coffee": 6, "astronaut": 4, "rocket": 2}
    rows = []
    for number in range(40):
        name = list(liked)[number % 4]
        pixels = getattr(photographs, name)()
        top, left = (int(random.integers(0, length - 128)) for length in pixels.shape[:2])
        Image.fromarray(pixels[top : top + 128, left : left + 128]).save(folder / f"{number}.png")
        rows.append((f"{number}.png", liked[name] + round(float(random.uniform(-1, 1)), 1)))
    pd.DataFrame(rows, columns=["photo", "rating"]).to_csv(folder / "ratings.csv", index=False)
    ordered = [name for name, _ in sorted(rows, key=lambda row: -row[1])]
    pairs = [(ordered[n], ordered[39 - n]) for n in range(20)] + [(ordered[n], ordered[20 + n]) for n in range(20)]
    pd.DataFrame(pairs, columns=["preferred", "other"]).to_csv(folder / "choices.csv", index=False)
    return folder


def test_a_plain_taste_is_learned_and_told_on_unseen_photographs(folder, start, tmp_path):
    (learned,) = learn_taste(read_opinions(folder / "ratings.csv"), tmp_path, str(start))
    estimate, low, high = learned.after
    assert low <= estimate <= high
    assert low > 0.3
    assert estimate > learned.before[0] + 0.2
    assert learned.count == 40
    critic = NIMA.from_pretrained(tmp_path / "critic.safetensors")
    cat, rocket = (critic.mean_score(read_photo(folder / f"{number}.png")) for number in (0, 3))
    assert cat > rocket + 1
    assert str(learned) in (tmp_path / "critic.md").read_text()


def test_choices_are_learned_as_ratings_are(folder, start, tmp_path):
    (learned,) = learn_taste(read_opinions(folder / "choices.csv"), tmp_path, str(start))
    assert learned.measure == "share of the choices foreseen"
    assert learned.after[0] > 0.7


def test_the_written_critic_scores_as_the_fit_says(folder, start):
    nima, opinions = NIMA.from_pretrained(start), read_opinions(folder / "ratings.csv")
    features = features_of(nima, opinions.photos)
    logits = last_layer(nima)(features)
    move = fit(features, logits, opinions, 3.0)
    moved = moved_critic(nima, move)
    scores = moved_scores(features, logits, move)
    again = last_layer(moved)(features).softmax(1).double() @ torch.arange(1, 11).double()
    np.testing.assert_allclose(scores, again.detach().numpy(), atol=1e-4)
    assert np.square(scores - opinions.ratings).mean() < 0.5 * opinions.ratings.var()


def test_noise_is_not_learned(folder, start):
    nima, told = NIMA.from_pretrained(start), read_opinions(folder / "ratings.csv")
    random = np.random.default_rng(1).permutation(told.ratings)
    opinions = Opinions(told.photos, told.rated, random, told.choices)
    features = features_of(nima, told.photos)
    scores = held_out_scores(features, last_layer(nima)(features).detach(), opinions)
    assert abs(np.corrcoef(scores, random)[0, 1]) < 0.45


def test_too_few_ratings_are_refused_with_the_number_that_is_missing(folder, tmp_path):
    pd.read_csv(folder / "ratings.csv").head(12).to_csv(tmp_path / "few.csv", index=False)
    arguments = ["critic", "train", "--ratings", str(tmp_path / "few.csv"), "--data", str(folder)]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "got 12: give 18 more ratings" in result.stderr
    assert not (tmp_path / "out").exists()


def test_equal_ratings_are_refused(folder, tmp_path):
    table = pd.read_csv(folder / "ratings.csv").assign(rating=7)
    table.to_csv(folder / "equal.csv", index=False)
    with pytest.raises(ValueError, match="All 40 ratings are 7: rate what you like higher"):
        learn_taste(read_opinions(folder / "equal.csv"), tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("photo,stars\n0.png,5\n", "expected columns photo,rating or preferred,other, got photo,stars"),
        ("photo,rating\n0.png,5\n1.png,11\n", "line 3: expected a rating between 1 and 10, got '11'"),
        ("photo,rating\n0.png,good\n", "line 2: expected a rating between 1 and 10, got 'good'"),
        ("preferred,other\n0.png,0.png\n", "line 2: expected two photographs, got '0.png' alone"),
        ("photo,rating\n0.png,5\nlost.png,5\n", "1 of the 2 photographs of .* are missing, such as .*lost.png"),
    ],
)
def test_a_file_of_another_kind_is_named_with_its_line(folder, text, message):
    (folder / "other.csv").write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_opinions(folder / "other.csv")


def test_the_last_word_counts(folder):
    (folder / "twice.csv").write_text("photo,rating\n0.png,2\n1.png,5\n0.png,9\n")
    opinions = read_opinions(folder / "twice.csv")
    assert opinions.ratings.tolist() == [9, 5]
    (folder / "turned.csv").write_text("preferred,other\n0.png,1.png\n1.png,0.png\n")
    turned = read_opinions(folder / "turned.csv")
    assert [turned.photos[place].name for place in turned.choices[0]] == ["1.png", "0.png"]


def test_compared_photographs_stay_in_one_group(folder):
    names = "preferred,other\n" + "".join(f"{2 * n}.png,{2 * n + 1}.png\n" for n in range(6))
    (folder / "groups.csv").write_text(names)
    groups = read_opinions(folder / "groups.csv").groups()
    assert len(set(groups.tolist())) == 6
    assert all(groups[2 * n] == groups[2 * n + 1] for n in range(6))
