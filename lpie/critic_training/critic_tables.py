"""The tables behind the aesthetic-score notebook: where critics fail, and how easily each is fooled."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from lpie.critic.nima import NIMA
from lpie.imaging.pixels import quantize
from lpie.imaging.resampling import resize
from lpie.judges.judges import Judge, available_judges
from lpie.judges.robustness import (
    ATTACKED_SIZE,
    INVARIANCE,
    VARIATIONS,
    octave_energy,
    projected_gradient_ascent,
    score_gradient,
    universal_perturbation,
)
from lpie.photos.photographs import demo_photographs, read_photo
from lpie.registry import files_of

PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "published"


def photographs_to_judge(profile: str) -> dict[str, Tensor]:
    """Photographs by name, (1, 3, H, W) with at most 384 px a side: those that come with installed packages.

    The profile `study` takes the Kodak photographs instead, which no network was trained or chosen on; `smoke` takes
    two, of at most 176 px.
    """
    if profile == "study":
        return {path.stem: _at_most(read_photo(path), 384) for path in files_of("kodak24")}
    longest, count = (176, 2) if profile == "smoke" else (384, None)
    return {name: _at_most(photo, longest) for name, photo in islice(demo_photographs().items(), count)}


def _at_most(photo: Tensor, longest: int) -> Tensor:
    height, width = photo.shape[2:]
    scale = min(1, longest / max(height, width))
    return resize(photo, round(height * scale), round(width * scale))


def scores_of(judges: Mapping[str, Judge], photos: Mapping[str, Tensor]) -> pd.DataFrame:
    """What each judge says of each photograph: one row a photograph, one column a judge."""
    columns = {name: [float(judge(photo)) for photo in photos.values()] for name, judge in judges.items()}
    return pd.DataFrame(columns, index=pd.Index(photos, name="photo"))


def available_critics() -> dict[str, NIMA]:
    """Every NIMA that can be loaded now without a network, frozen, by name."""
    return {name: NIMA.from_pretrained(name) for name in available_judges() if name != "niqe"}


def failure_curves(judges: Mapping[str, Judge], photos: Mapping[str, Tensor]) -> pd.DataFrame:
    """How scores move when photographs get worse: `judge, variation, strength, photo, change`.

    `photos` are (1, 3, H, W), of any sizes; each is varied, rounded to 8 bits and scored. `change` is the score less
    that of the photograph as it is, in the judge's own unit.
    """
    rows = []
    for photo_name, photo in photos.items():
        for variation, (vary, strengths) in VARIATIONS.items():
            varied = torch.cat([quantize(vary(photo, strength)) for strength in strengths])
            for judge_name, judge in judges.items():
                scores = torch.cat([judge(one[None]) for one in varied])
                rows += [
                    {
                        "judge": judge_name,
                        "variation": variation,
                        "strength": strength,
                        "photo": photo_name,
                        "change": c,
                    }
                    for strength, c in zip(strengths, (scores - scores[0]).tolist(), strict=True)
                ]
    return pd.DataFrame(rows)


def ease_of_fooling(
    critics: Mapping[str, NIMA], photos: Mapping[str, Tensor], universal_steps: int = 12
) -> pd.DataFrame:
    """One row a critic: how far attacks raise its score and how far harmless changes move it, in points.

    `attack`: ten steps of projected gradient ascent within 2/255 on each photograph, reduced to a square of 224 px.
    `universal`: one perturbation for all, learned on the first half of the photographs and added to the others.
    The other columns: mean distance that JPEG 90, half size and back, a shift by one pixel and rounding move it.
    """
    squares = torch.cat([resize(photo, ATTACKED_SIZE, ATTACKED_SIZE) for photo in photos.values()])
    half = max(1, len(squares) // 2)
    rows = []
    for name, critic in critics.items():
        score = critic.mean_score
        attacked = projected_gradient_ascent(score, squares)
        perturbation = universal_perturbation(score, squares[:half], steps=universal_steps)
        others = squares[half:] if len(squares) > 1 else squares
        with torch.no_grad():
            row: dict[str, str | float] = {"critic": name, "attack": float((score(attacked) - score(squares)).mean())}
            row["universal"] = float((score((others + perturbation).clamp(0, 1)) - score(others)).mean())
            for change, transform in INVARIANCE.items():
                moved = [float(score(transform(photo)) - score(photo)) for photo in photos.values()]
                row[change] = sum(map(abs, moved)) / len(moved)
        rows.append(row)
    return pd.DataFrame(rows)


def gradient_octaves(critics: Mapping[str, NIMA], photos: Mapping[str, Tensor]) -> pd.DataFrame:
    """Where in the spectrum each critic pulls: `critic, octave, cycles_per_pixel, share`.

    The energy of the gradient of its score with respect to photographs of 224 px, octave 0 the highest, as a share of
    the five octaves; `cycles_per_pixel` is the octave's lower end.
    """
    squares = torch.cat([resize(photo, ATTACKED_SIZE, ATTACKED_SIZE) for photo in photos.values()])
    rows = []
    for name, critic in critics.items():
        energy = octave_energy(score_gradient(critic.mean_score, squares)).mean(0)
        for octave, share in enumerate((energy / energy.sum()).tolist()):
            rows.append({"critic": name, "octave": octave, "cycles_per_pixel": 2.0 ** -(octave + 2), "share": share})
    return pd.DataFrame(rows)


def read_published(name: str) -> pd.DataFrame:
    """A committed table of this stage, such as `critic_variants`; the commands that write them stand in its README.

    Raises FileNotFoundError where the project was installed without its results.
    """
    path = PUBLISHED / f"{name}.csv"
    if not path.exists():
        raise FileNotFoundError(f"No table {path.name} in {path.parent}: work in a checkout of the project.")
    return pd.read_csv(path)
