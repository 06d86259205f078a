"""`lpie score`: what it prints, what it skips, what it returns, and how much it holds."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from lpie.critic.nima import NIMA, score_standard_deviation
from lpie.photos import reference_scores, scoring, tiles
from lpie.photos.folders import Skipped, photos_in
from lpie.photos.photographs import read_photo
from lpie.photos.reading import PhotoFile
from lpie.photos.reference_scores import ReferenceScores, fingerprint
from lpie.photos.scoring import PhotoScore, score, score_photos, square_of


@pytest.fixture(scope="module")
def critic() -> NIMA:
    torch.manual_seed(1)
    return NIMA(input_size=64).freeze()


@pytest.fixture
def critic_file(tmp_path, critic):
    critic.save(tmp_path / "critic.safetensors")
    return str(tmp_path / "critic.safetensors")


@pytest.fixture
def folder(tmp_path, small_photos):
    """Three photographs in two levels, a broken one and a text that calls itself a photograph, and a note."""
    folder = tmp_path / "album"
    (folder / "older").mkdir(parents=True)
    for path, photo in zip(("b.png", "a.PNG", "older/c.png"), small_photos, strict=True):
        Image.fromarray((photo * 255).byte().permute(1, 2, 0).numpy()).save(folder / path)
    (folder / "cut.png").write_bytes((folder / "b.png").read_bytes()[:900])
    (folder / "text.jpg").write_text("not a photograph")
    (folder / "note.txt").write_text("a note")
    return folder


def photo_files(paths) -> list[Path]:
    return [path for path, _ in photos_in(paths)]


def test_folder_gives_its_photographs_by_name_and_nothing_else(folder):
    found = [path.relative_to(folder).as_posix() for path in photo_files([folder])]
    assert found == ["a.PNG", "b.png", "cut.png", "text.jpg", "older/c.png"]
    assert photo_files([folder / "note.txt"]) == [folder / "note.txt"]


def test_scores_are_those_of_the_critic_and_bad_files_are_named(folder, critic):
    results = list(score_photos(photo_files([folder]), critic))
    assert [type(result) for result in results] == [PhotoScore, PhotoScore, Skipped, Skipped, PhotoScore]
    assert [result.photo for result in results] == [str(path) for path in photo_files([folder])]
    for result in results:
        if isinstance(result, PhotoScore):
            distribution = critic(read_photo(result.photo))
            np.testing.assert_allclose(result.distribution, distribution[0], atol=1e-6)
            assert result.mean == pytest.approx(critic.mean_score(read_photo(result.photo)).item(), abs=1e-5)
            assert result.standard_deviation == pytest.approx(score_standard_deviation(distribution).item(), abs=1e-5)


def test_lines_for_machines_are_json_and_the_status_tells_of_skipped_files(folder, critic_file, capsys):
    assert score([folder], critic_file, json=True) == 1
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["photo"] for line in lines] == [str(folder / name) for name in ("a.PNG", "b.png", "older/c.png")]
    for line in lines:
        assert sum(line["distribution"]) == pytest.approx(1, abs=1e-4)
        assert line["mean"] == pytest.approx(np.dot(line["distribution"], np.arange(1, 11)), abs=1e-3)
        assert line["percentile"] is None
    assert f"skipped {folder / 'cut.png'}" in err
    assert f"skipped {folder / 'text.jpg'}" in err
    assert "3 scored, 2 skipped" in err


def test_lines_for_people_hold_mean_standard_deviation_and_ten_ratings(folder, critic_file, critic, capsys):
    assert score([folder / "b.png"], critic_file) == 0
    out, err = capsys.readouterr()
    header, line, note = out.splitlines()
    assert header.split()[:4] == ["mean", "standard", "deviation", "above"]
    mean, _, above, *ratings, name = line.split()
    assert float(mean) == pytest.approx(critic.mean_score(read_photo(folder / "b.png")).item(), abs=0.006)
    assert (above, len(ratings), name) == ("-", 10, str(folder / "b.png"))
    assert "no reference scores" in note
    assert err == ""


def test_status_is_one_when_there_is_nothing_and_an_absent_critic_is_an_error(tmp_path, critic_file, capsys):
    (tmp_path / "empty").mkdir()
    assert score([tmp_path / "empty"], critic_file) == 1
    assert score([tmp_path / "missing.jpg"], critic_file) == 1
    assert "missing.jpg: there is no such file" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match="Unknown critic 'nobody'"):
        score([tmp_path], "nobody")


def test_ten_thousand_photos_stream_with_few_in_memory(critic, monkeypatch):
    """Photos alive at once never exceed the readers, and files are taken from the list only as results are given."""
    alive, most, taken, given = 0, 0, 0, 0
    lock = threading.Lock()

    def read(file):
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        return PhotoFile(np.zeros((8, 8, 3), np.uint8))

    def square(photo):
        nonlocal alive
        with lock:
            alive -= 1
        return torch.zeros(1, 3, 64, 64)

    def files():
        nonlocal taken
        for number in range(10_000):
            taken += 1
            yield Path(str(number))

    monkeypatch.setattr(scoring, "open_photo", lambda file, _: read(file))
    monkeypatch.setattr(scoring, "square_of", lambda photo, _: square(photo))
    monkeypatch.setattr(critic, "rate", lambda squares: torch.full((len(squares), 10), 0.1))
    for result in score_photos(files(), critic):
        given += 1
        assert result.mean == pytest.approx(5.5)
        assert taken - given <= scoring.READERS + 2 * scoring.BATCH
    assert given == 10_000
    assert most <= scoring.READERS


def test_percentile_is_the_share_of_lower_reference_means():
    means = np.random.default_rng(0).normal(5, 0.5, 2000)
    references = ReferenceScores(2000, tuple(np.percentile(means, reference_scores.PERCENTS)))
    for mean in (2.0, 4.5, 5.0, 5.7, 9.0):
        assert references.percentile(mean) == pytest.approx(100 * np.mean(means < mean), abs=1)


def test_reference_scores_belong_to_exact_weights(critic, monkeypatch):
    row = {"fingerprint": fingerprint(critic), "percentiles": list(np.linspace(1, 10, 51))}
    monkeypatch.setattr(reference_scores, "reference_table", lambda: {"photographs": 9, "critics": {"this": row}})
    assert ReferenceScores.of("this", critic).percentile(5.5) == pytest.approx(50)
    assert ReferenceScores.of("that", critic) is None
    changed = NIMA(input_size=64)
    changed.network.load_state_dict(critic.network.state_dict())
    assert fingerprint(changed) == fingerprint(critic)
    with torch.no_grad():
        changed.network.fc.bias[3] += 1e-3
    assert ReferenceScores.of("this", changed) is None


@pytest.mark.parametrize("name", ["ava", "technical"])
def test_committed_table_holds_the_published_networks(name, data):
    critic = NIMA.from_pretrained(name)
    references = ReferenceScores.of(name, critic)
    assert references.count == 224
    files = sorted((data / "kodak24").glob("*.png"))
    shares = [references.percentile(critic.mean_score(read_photo(file)).item()) for file in files[:8]]
    assert all(0 <= share <= 100 for share in shares)
    assert max(shares) > 50


@pytest.mark.parametrize("name", ["compact", "robust"])
def test_committed_table_is_that_of_the_shipped_networks(name):
    assert ReferenceScores.of(name, NIMA.from_pretrained(name)), "run `lpie critic reference-scores`"


def test_a_photo_from_standard_input_scores_as_its_file(folder, critic_file, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO((folder / "b.png").read_bytes())))
    assert score([Path("-"), folder / "b.png"], critic_file, json=True) == 0
    piped, filed = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert piped["photo"] == "-"
    assert piped["distribution"] == filed["distribution"]


def test_a_folder_without_photos_is_named_and_nothing_else_is_printed(tmp_path, capsys):
    (tmp_path / "._photo.jpg").write_bytes(b"what another system keeps beside a photo")
    assert score([tmp_path]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert f"skipped {tmp_path}: there are no photos in this folder" in err
    assert "0 scored, 1 skipped" in err


@pytest.mark.parametrize("convention", ["antialiased", "published"])
@pytest.mark.parametrize("size", [(150, 231), (40, 500), (231, 50)])
def test_square_made_in_bands_is_that_of_the_whole_photo(convention, size, monkeypatch):
    critic = NIMA(input_size=64, convention=convention)
    photo = PhotoFile(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
    whole = square_of(photo, critic)
    for module in (scoring, tiles):
        monkeypatch.setattr(module, "BAND_PIXELS", 2000)
    torch.testing.assert_close(square_of(photo, critic), whole, rtol=0, atol=2e-6)


def test_a_photo_that_a_critic_cannot_judge_is_warned_of(folder, critic_file, capsys):
    with Image.open(folder / "b.png") as picture:
        exif = picture.getexif()
        exif[ExifTags.Base.Software] = f"lpie: network some, critic {Path(critic_file).stem}"
        picture.save(folder / "b.png", exif=exif)
    assert score([folder / "b.png"], critic_file, json=True) == 0
    out, err = capsys.readouterr()
    assert err.startswith(f"warning: {folder / 'b.png'}: made by some")
    assert json.loads(out)["warning"].startswith("made by some")
