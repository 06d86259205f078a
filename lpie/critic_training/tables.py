"""The tables of the notebook on aesthetic scores: how critics agree with people, fail and are fooled."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lpie.critic.nima import NIMA
from lpie.critic_training.agreement import agreement, calibration
from lpie.critic_training.measures import fooling, shifts
from lpie.critic_training.processes import Processes
from lpie.critic_training.ratings import read_oasis
from lpie.critic_training.training import predict
from lpie.critic_training.variations import VARIATIONS
from lpie.imaging.color import quantize
from lpie.imaging.resampling import resize, within
from lpie.judges import available_raters, load_rater
from lpie.judges.robustness import ATTACKED_SIZE, EPSILON, octave_energy, score_gradient
from lpie.judges.robustness import Score as Judge
from lpie.photos.photographs import demo_photographs, read_photo
from lpie.records import PUBLISHED, results_folder, write_csv
from lpie.registry import fetch, files_of

log = logging.getLogger(__name__)


def photographs_to_judge(profile: str) -> dict[str, Tensor]:
    """Photographs by name, (1, 3, H, W) with at most 384 px a side: those that come with installed packages.

    The profile `study` takes the Kodak photographs instead, which no network was trained or chosen on; `smoke` takes
    two, of at most 176 px.
    """
    if profile == "study":
        return {path.stem: within(read_photo(path), 384) for path in files_of("kodak24")}
    longest, count = (176, 2) if profile == "smoke" else (384, None)
    return {name: within(photo, longest) for name, photo in islice(demo_photographs().items(), count)}


def available_judges() -> dict[str, Judge]:
    """Everything that rates a photograph without a reference and can be loaded without a download, by name."""
    return {name: load_rater(name) for name in available_raters()}


def available_critics() -> dict[str, NIMA]:
    """Every NIMA that can be loaded without a download, frozen, by name."""
    return {name: NIMA.from_pretrained(name) for name in available_raters() if name != "niqe"}


def scores_of(judges: Mapping[str, Judge], photos: Mapping[str, Tensor]) -> pd.DataFrame:
    """The score of each photograph by each judge: one row a photograph, one column a judge."""
    columns = {name: [float(judge(photo)) for photo in photos.values()] for name, judge in judges.items()}
    return pd.DataFrame(columns, index=pd.Index(photos, name="photo"))


def failure_curves(judges: Mapping[str, Judge], photos: Mapping[str, Tensor]) -> pd.DataFrame:
    """How scores move when photographs get worse: `judge, variation, strength, photo, change`.

    `photos` are (1, 3, H, W), of any sizes; each is varied, rounded to 8 bits and scored. `change` is the score less
    that of the photograph as it is, in the judge's own unit.
    """
    rows = []
    for photo_name, photo in photos.items():
        for variation, (vary, strengths) in VARIATIONS.items():
            varied = [quantize(vary(photo, strength)) for strength in strengths]
            for judge_name, judge in judges.items():
                found = torch.cat([judge(one) for one in varied])
                row = {"judge": judge_name, "variation": variation, "photo": photo_name}
                changes = zip(strengths, (found - found[0]).tolist(), strict=True)
                rows += [{**row, "strength": strength, "change": change} for strength, change in changes]
    return pd.DataFrame(rows)[["judge", "variation", "strength", "photo", "change"]]


def ease_of_fooling(
    critics: Mapping[str, NIMA], photos: Mapping[str, Tensor], universal_steps: int = 12
) -> pd.DataFrame:
    """One row a critic: how far attacks raise its score and how far harmless changes move it, in points.

    See `fooling` and `shifts`; the universal perturbation is learned on the first half of the photographs.
    """
    shown = list(photos.values())
    half = max(1, len(shown) // 2)
    rows = []
    for name, critic in critics.items():
        alone = fooling(critic.mean_score, shown, shown, 0)["attack_gain"]
        shared = fooling(critic.mean_score, shown[half:] or shown, shown[:half], universal_steps)["universal_gain"]
        rows.append({"critic": name, "attack": alone, "universal": shared, **shifts(critic.mean_score, shown)})
    return pd.DataFrame(rows)


def gradient_octaves(critics: Mapping[str, NIMA], photos: Mapping[str, Tensor]) -> pd.DataFrame:
    """The gradient of each critic by spatial frequency: `critic, octave, cycles_per_pixel, share`.

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


def attack_terms() -> str:
    """The terms of the attacks, in words."""
    return f"each pixel within {255 * EPSILON:g}/255, photographs reduced to {ATTACKED_SIZE} x {ATTACKED_SIZE} px"


def kept(table: pd.DataFrame, profile: str, name: str) -> pd.DataFrame:
    """The table itself, written to the results of `profile` as `name`.csv."""
    write_csv(results_folder(profile) / f"{name}.csv", table)
    return table


def read_published(name: str) -> pd.DataFrame:
    """A committed table about critics, such as `critic_variants`; results/README.md names the command behind each.

    Raises FileNotFoundError where the project was installed without its results.
    """
    path = PUBLISHED / f"{name}.csv"
    if not path.exists():
        raise FileNotFoundError(f"No table {path.name} in {path.parent}: work in a checkout of the project.")
    return pd.read_csv(path)


def write_people_tables(out: Path, device: str) -> pd.DataFrame:
    """Write `critic_agreement.csv` and `critic_calibration.csv` to `out`, and return the former.

    They say whether NIMA ranks photographs as people do: the AVA network on the 25,548 photographs of AVA that its
    authors held out, by their published predictions, and each network on the photographs of OASIS.
    """
    agreements, calibrations = [], []
    for dataset, network, predicted, rated in _predictions(device):
        named = {"dataset": dataset, "network": network}
        agreements.append(pd.DataFrame({**named, **agreement(predicted, rated)}))
        calibrations.append(pd.DataFrame({**named, **calibration(predicted, rated)}))
    table = pd.concat(agreements)
    write_csv(out / "critic_calibration.csv", pd.concat(calibrations))
    write_csv(out / "critic_agreement.csv", table)
    return table


def _predictions(device: str) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Dataset, network, predicted and rated distributions."""
    stored = np.load(fetch("nima/ava_test_idealo_predictions.npz"))
    yield "AVA test", "ava", stored["predictions"].astype(float), stored["labels"].astype(float)
    rated = read_oasis(fetch("oasis_beauty/ratings.csv").parent)
    for name, critic in available_critics().items():
        log.info("%s on OASIS", name)
        yield "OASIS", name, predict(critic.to(device), rated, Processes(device)), rated.distributions
