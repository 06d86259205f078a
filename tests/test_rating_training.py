"""Training on ratings: the same weights however it is interrupted and however many processes share it."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from lpie.critic.nima import NIMA
from lpie.critic_training import training
from lpie.critic_training.processes import Processes, SharedDropout
from lpie.critic_training.ratings import RATINGS, read_oasis
from lpie.critic_training.settings import RatingTraining
from lpie.critic_training.training import cropped, learn_ratings, new_network, predict, train
from lpie.records import read_tensors

SHORT = {"input_size": 32, "batch": 5, "head_epochs": 1, "all_epochs": 1, "all_rate": 1e-3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eleven photographs of five themes, the brighter the better liked."""
    folder = tmp_path_factory.mktemp("oasis")
    (folder / "images").mkdir()
    random = np.random.default_rng(0)
    rows = []
    for number in range(11):
        theme = "Thing" + "AABBCCDDEEE"[number]
        pixels = np.clip(random.normal(30 + 18 * number, 20, (40, 48, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{theme}_{number}.png")
        votes = {f"c{k}": 1 + 20 * (k == 1 + number * 6 // 10) for k in range(1, 8)}
        rows.append({"file": f"{theme}_{number}.png", **votes})
    pd.DataFrame(rows).to_csv(folder / "ratings.csv", index=False)
    return folder


def trained(folder, state):
    settings = RatingTraining(**SHORT)
    return train(settings, new_network(settings), read_oasis(folder).of("train"), state, Processes())


def test_training_goes_on_after_a_stop_to_the_same_bytes(folder, tmp_path, monkeypatch):
    whole = trained(folder, tmp_path / "whole.safetensors").network.state_dict()
    calls = iter(range(100))
    distance = training.earth_movers_distance

    def stop_in_the_third_step(*args, **kwargs):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return distance(*args, **kwargs)

    monkeypatch.setattr(training, "earth_movers_distance", stop_in_the_third_step)
    with pytest.raises(KeyboardInterrupt):
        trained(folder, tmp_path / "part.safetensors")
    assert read_tensors(tmp_path / "part.safetensors")[1]["step"] == "2"
    resumed = trained(folder, tmp_path / "part.safetensors").network.state_dict()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_training_does_not_go_on_from_one_with_other_settings(folder, tmp_path):
    trained(folder, tmp_path / "state.safetensors")
    other = RatingTraining(**SHORT, seed=1)
    with pytest.raises(ValueError, match=r"go on with that, or remove the file"):
        train(other, new_network(other), read_oasis(folder).of("train"), tmp_path / "state.safetensors", Processes())


@pytest.mark.slow
def test_two_processes_train_what_one_trains(folder, tmp_path):
    alone = trained(folder, tmp_path / "alone.safetensors").network.state_dict()
    options = [option for name, value in SHORT.items() for option in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    program = ["-m", "lpie.cli", "critic", "train", "oasis", "--device", "cpu"]
    paths = ["--data", str(folder), "--out", str(tmp_path / "together")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *program, *paths, *options], env=environment, capture_output=True, text=True)
    together, counts = read_tensors(tmp_path / "together" / "state.safetensors")
    assert counts["step"] == "4", done.stderr[-2000:]
    start = new_network(RatingTraining(**SHORT)).network.state_dict()
    for name, tensor in alone.items():
        moved = (tensor - start[name]).abs().max()
        assert (together[f"nima.{name}"] - tensor).abs().max() <= 0.02 * moved + 1e-6, name


def test_brightness_is_learned_and_told_on_photographs_of_other_themes(folder, tmp_path, capsys):
    settings = RatingTraining(input_size=32, batch=9, head_epochs=0, all_epochs=4, all_rate=1e-3)
    learn_ratings(settings, "oasis", folder, tmp_path, "cpu")
    told = pd.read_csv(tmp_path / "predictions.csv")
    assert told["photo"].tolist() == ["ThingE_8.png", "ThingE_9.png", "ThingE_10.png"]
    nima, rated = NIMA.from_pretrained(tmp_path / "weights.safetensors"), read_oasis(folder)
    seen = predict(nima, rated, Processes())
    assert np.abs(seen - rated.distributions).mean() < np.abs(0.1 - rated.distributions).mean()
    assert told["predicted_mean"].to_numpy() == pytest.approx(seen[8:] @ RATINGS, abs=0.02)
    assert "srcc_mean" in capsys.readouterr().out


def test_undecodable_photograph_is_left_out_and_weighs_nothing(folder, tmp_path):
    rated = read_oasis(folder)
    whole = rated.paths[0].read_bytes()
    truncated = tmp_path / "truncated.png"
    truncated.write_bytes(whole[: len(whole) // 2])
    broken = rated.take(range(9))
    broken = type(rated)((truncated, *broken.paths[1:]), broken.distributions, broken.splits)
    predicted = predict(new_network(RatingTraining(**SHORT)).eval(), broken, Processes())
    assert np.isnan(predicted[0]).all()
    assert np.isfinite(predicted[1:]).all()


def test_shared_dropout_gives_each_process_its_rows_of_one_mask():
    def rows_of(rank, size):
        dropout = SharedDropout(0.5).train()
        dropout.draws, dropout.total = torch.Generator().manual_seed(3), 6
        dropout.rows = slice(rank, None, size)
        return dropout(torch.ones(6, 8)[rank::size])

    whole = rows_of(0, 1)
    assert torch.equal(torch.stack([rows_of(0, 2), rows_of(1, 2)], 1).flatten(0, 1), whole)
    assert set(whole.unique().tolist()) == {0.0, 2.0}


def test_crops_are_the_pixels_they_say():
    squares = torch.arange(2 * 3 * 6 * 6, dtype=torch.uint8).view(2, 3, 6, 6)
    crops = cropped(squares, torch.tensor([[1, 2, 0], [0, 1, 1]]), 4)
    assert torch.equal(crops[0] * 255, squares[0, :, 1:5, 2:6].float())
    assert torch.equal(crops[1] * 255, squares[1, :, 0:4, 1:5].flip(-1).float())
