"""What a critic learns from photographs before and after a human's hand."""

import numpy as np
import pandas as pd
import pytest
import torch

from lpie.critic_training.retouching import overdone, preferences, ranked_as_people_do
from lpie.critic_training.tables import read_published


def test_an_overdone_edit_goes_twice_as_far():
    came, finished = torch.full((1, 3, 2, 2), 0.4), torch.full((1, 3, 2, 2), 0.5)
    assert torch.allclose(overdone(came, finished), torch.full((1, 3, 2, 2), 0.6))
    assert overdone(finished, 1 - came / 9).max() <= 1


def test_the_finished_photograph_is_preferred_to_the_one_that_came_and_to_the_overdone_one():
    assert preferences(np.array([0, 2])).choices.tolist() == [[0, 1], [6, 7], [0, 2], [6, 8]]


def test_only_renditions_that_people_rated_apart_are_asked_about():
    ratings = pd.DataFrame({"scene": ["a", "a", "a", "b"], "mean": [5.0, 4.9, 3.0, 1.0]})
    assert ranked_as_people_do(np.array([2.0, 0.5, 1.0, 9.0]), ratings) == 0.5


def test_the_published_table_shows_that_so_few_pairs_teach_a_critic_nothing():
    table = read_published("retouching_critic").set_index(["initial", "pairs", "measure"])["mean"]
    assert table["ava", 22, "direction"] < table["ava", 0, "direction"]
    assert table["ava", 22, "measure"] == pytest.approx(0.5, abs=0.1)
