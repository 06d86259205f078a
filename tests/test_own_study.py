"""The README's four commands: from photographs and retouches to a page and an enhancer of one's own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data


def retouched(photo: np.ndarray) -> np.ndarray:
    """A tone curve that opens the shadows."""
    return (255 * (photo / 255) ** 0.7).round().astype(np.uint8)


def lpie(folder: Path, *arguments: str) -> str:
    """A command as it is typed in `folder`, far from the checkout; what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", "lpie", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_four_commands_lead_from_photographs_and_retouches_to_a_page_and_an_enhancer(tmp_path: Path) -> None:
    photos = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket()]
    for name in ("input", "edited"):
        (tmp_path / "trip" / name).mkdir(parents=True)
    for number, photo in enumerate(photos):
        for name, shown in (("input", photo[:180, 60:330]), ("edited", retouched(photo[:180, 60:330]))):
            Image.fromarray(shown).save(tmp_path / "trip" / name / f"IMG_{number}.png")
    lpie(tmp_path, "study", "init", "trip")
    file = tmp_path / "trip" / "study.toml"
    text = file.read_text()
    assert 'name = "trip"' in text
    for setting, small in (("steps = 300", "steps = 2"), ("batch = 4", "batch = 1"), (r"_every = 100", "_every = 2")):
        text, count = re.subn(setting, small, text)
        assert count
    text = text.replace('["l1", "l2"]', '["l2"]').replace("[0.001, 0.003]", "[0.003]")
    file.write_text(
        re.sub(r"sides = \[\d+\]", "sides = [64]", text).replace("shortest_side = 512", "shortest_side = 64")
    )
    said = lpie(tmp_path, "study", "check", "trip/study.toml")
    assert "2 train, 1 validation, 1 test\nwarning: fewer than 10" in said
    assert re.search(r"\n3 networks \(grid\)\ntraining them takes about \d+ s", said)
    said = lpie(tmp_path, "study", "run", "trip/study.toml", "--output", "results")
    assert str(tmp_path / "results" / "report.html") in said
    assert not re.search("aesthetic_scores|taste|instruments", said)  # of no use to her
    page = (tmp_path / "results" / "report.html").read_text()
    assert f"--weights {tmp_path}/results/pairs.safetensors" in page
    assert page.index('id="own"') < page.index('id="look"')  # her pictures come first
    weights = re.search(r"lpie enhance PHOTO -o OUT --weights (\S+)", said)[1]
    lpie(tmp_path, "enhance", "trip/input/IMG_0.png", "-o", "out.png", "--weights", weights)
    assert Image.open(tmp_path / "out.png").size == (270, 180)
