"""Readers of rating datasets, on tiny files of the real format, and the distributions they make."""

import logging

import numpy as np
import pytest
from PIL import Image

from lpie.critic_training.ratings import (
    RATINGS,
    read_ava,
    read_oasis,
    seven_to_ten,
)


def save_photo(path):
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (8, 6), (90, 120, 30)).save(path)


@pytest.fixture
def ava(tmp_path):
    """Four photographs: one of them missing, one not an image, which is found when it is read."""
    (tmp_path / "AVA.txt").write_text(
        "1 953619 0 1 5 17 38 36 15 6 5 1 1 22 1396\n"
        "2 953958 10 7 15 26 26 21 10 8 1 2 1 21 1396\n"
        "3 954184 0 0 4 8 41 56 10 3 4 0 0 0 1396\n"
        "4 954113 0 1 4 6 48 37 23 5 2 2 15 21 1396\n"
    )
    lists = tmp_path / "aesthetics_image_lists"
    lists.mkdir()
    (lists / "generic_test.jpgl").write_text("954184\n953958\n")
    save_photo(tmp_path / "images" / "953619.jpg")
    save_photo(tmp_path / "images" / "954184.jpg")
    (tmp_path / "images" / "954113.jpg").write_text("not an image")
    return tmp_path


def test_ava_gives_shares_of_the_counts_and_the_published_split(ava):
    rated = read_ava(ava)
    assert [path.stem for path in rated.paths] == ["953619", "954184", "954113"]
    assert rated.splits == ("train", "test", "train")
    assert np.allclose(rated.distributions[0], np.array([0, 1, 5, 17, 38, 36, 15, 6, 5, 1]) / 124)
    assert [path.stem for path in rated.of("test").paths] == ["954184"]


def test_missing_photographs_are_counted_and_named(ava, caplog):
    with caplog.at_level(logging.INFO):
        read_ava(ava)
    assert "3 of 4 rated photographs; 1 missing, 0 without a vote, such as 953958.jpg" in caplog.text


def test_ava_line_of_another_layout_is_named(ava):
    with (ava / "AVA.txt").open("a") as table:
        table.write("5 954114 0 1 4\n")
    with pytest.raises(ValueError, match=r"AVA.txt: expected 15 numbers in each line .* at row 5"):
        read_ava(ava)


def test_oasis_keeps_the_mean_on_the_longer_scale(tmp_path):
    (tmp_path / "ratings.csv").write_text(
        "file,category,n,c1,c2,c3,c4,c5,c6,c7,mean_hist\n"
        "Acorns_1.jpg,Object,140,4,10,9,20,48,33,16,4.8643\n"
        "Acorns_2.jpg,Object,104,6,10,9,30,35,9,5,4.2019\n"
        "Beach_1.jpg,Scenery,0,0,0,0,0,0,0,0,0\n"
    )
    for name in ("Acorns_1.jpg", "Acorns_2.jpg", "Beach_1.jpg"):
        save_photo(tmp_path / "images" / name)
    rated = read_oasis(tmp_path)
    assert [path.name for path in rated.paths] == ["Acorns_1.jpg", "Acorns_2.jpg"]  # nobody voted on the third
    assert rated.splits == ("train", "train")
    assert np.allclose(rated.distributions.sum(1), 1)
    assert np.allclose(rated.distributions @ RATINGS, 1 + 1.5 * (np.array([4.8643, 4.2019]) - 1), atol=1e-3)


def test_oasis_without_counts_names_the_missing_columns(tmp_path):
    (tmp_path / "ratings.csv").write_text("file,c1,c2,c3\na.jpg,1,2,3\n")
    with pytest.raises(ValueError, match=r"\['c4', 'c5', 'c6', 'c7'\] are missing"):
        read_oasis(tmp_path)


def test_votes_on_seven_are_shared_between_neighbors():
    shares = seven_to_ten()
    assert np.allclose(shares.sum(1), 1)
    assert np.allclose(shares @ RATINGS, [1, 2.5, 4, 5.5, 7, 8.5, 10])
    assert ((shares > 0).sum(1) == [1, 2, 1, 2, 1, 2, 1]).all()
