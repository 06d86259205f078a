"""What a critic is worth: how closely it follows the AVA network on photographs it never saw, how easily it is fooled.

python -m lpie.critic_training.critic_evaluation --weights compact --data FOLDER [--table FILE]
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from lpie.critic.nima import NIMA, Convention
from lpie.critic_training import views
from lpie.imaging.resampling import resize
from lpie.judges.robustness import (
    ATTACKED_SIZE,
    INVARIANCE,
    octave_energy,
    projected_gradient_ascent,
    score_gradient,
    universal_perturbation,
)
from lpie.photos.photographs import read_photo
from lpie.records import write_csv
from lpie.vocabulary import Photo

TEACHER = "nima/nima_mobilenet_aesthetic_fp16.safetensors"


def _constant(operation: Callable[..., Photo], *strengths: float) -> Callable[[Photo], Photo]:
    return lambda photo: operation(photo, *(photo.new_full((len(photo),), strength) for strength in strengths))


def _white_balance(red: float, blue: float) -> Callable[[Photo], Photo]:
    return lambda photo: views.expose(
        photo, photo.new_zeros(len(photo)), photo.new_tensor([[red, 1.0, blue]]).expand(len(photo), 3)
    )


def _middle(photo: Photo) -> Float[Tensor, "n 3 height width"]:
    height, width = photo.shape[-2:]
    return photo[..., height // 5 : -(height // 5), width // 5 : -(width // 5)]


def _in_multiples_of_16(photo: Photo) -> Float[Tensor, "n 3 height width"]:
    height, width = photo.shape[-2:]
    return photo[..., : height // 16 * 16, : width // 16 * 16]


PHOTOGRAPHIC_VARIATIONS: dict[str, Callable[[Photo], Photo]] = {
    "1.5 stops darker": _constant(
        lambda photo, stops: views.expose(photo, stops, torch.ones_like(photo[:, :, 0, 0])), -1.5
    ),
    "1 stop brighter": _constant(
        lambda photo, stops: views.expose(photo, stops, torch.ones_like(photo[:, :, 0, 0])), 1.0
    ),
    "contrast 0.6": _constant(views.contrast, 0.6),
    "contrast 1.5": _constant(views.contrast, 1.5),
    "gray": _constant(views.saturate, 0.0),
    "saturation 1.8": _constant(views.saturate, 1.8),
    "warm": _white_balance(1.3, 0.7),
    "cool": _white_balance(0.7, 1.3),
    "blur 1 px": _constant(views.unsharp, 1.0, -1.0),
    "blur 2.5 px": _constant(views.unsharp, 2.5, -1.0),
    "sharpened": _constant(views.unsharp, 1.0, 2.0),
    "noise 0.05": _constant(views.add_noise, 0.05),
    "JPEG 20": lambda photo: _constant(views.jpeg, 20.0)(_in_multiples_of_16(photo)),
    "haze": _constant(views.haze, 1.2, 0.85),
    "middle": _middle,
}
"""The photographs' variations over which a critic must follow the AVA network as well."""


def measure_critic(
    critic: NIMA, teacher: NIMA, photos: list[Tensor], others: Photo, universal_steps: int = 100
) -> dict[str, float]:
    """Agreement with `teacher` and robustness of `critic`, each number beside the teacher's own.

    Agreement is with the teacher on antialiased input, which is how it trains others here, and, as `_published`, on
    the nearest pixels of its own pipeline. `photos` are (1, 3, H, W) that the critic never saw; `others`, squares of
    224 px, are those from which the universal perturbation is learned. Gains and shifts are in points of the mean
    score; the attack's gain also in deviations of the scores of `photos`, since a critic with scores close together
    moves by few points whatever fools it.
    """
    squares = torch.cat([resize(photo, ATTACKED_SIZE, ATTACKED_SIZE) for photo in photos])
    own = _scores(critic, photos)
    measures = {"photos": float(len(photos))}
    varied = _variations(photos)
    own_varied = _scores(critic, varied)
    conventions: dict[str, Convention] = {"": "antialiased", "_published": "published"}
    for suffix, convention in conventions.items():
        reference = with_convention(teacher, convention)
        measures[f"srcc_clean{suffix}"] = _rank_correlation(own, _scores(reference, photos))
        measures[f"srcc_varied{suffix}"] = _rank_correlation(own_varied, _scores(reference, varied))
    measures["srcc_224"] = _rank_correlation(critic.mean_score(squares), teacher.mean_score(squares))
    for prefix, attacked in (("", critic), ("ava_", teacher)):
        score = attacked.mean_score
        measures[f"{prefix}attack_gain"] = _gain(score, squares, projected_gradient_ascent(score, squares))
        perturbation = universal_perturbation(score, others, steps=universal_steps)
        measures[f"{prefix}universal_gain"] = _gain(score, squares, (squares + perturbation).clamp(0, 1))
        energy = octave_energy(score_gradient(score, squares)).mean(0)
        measures[f"{prefix}octave_ratio"] = float(energy[0] / energy[1])
    for name, transform in INVARIANCE.items():
        moved = _scores(critic, [transform(photo) for photo in photos])
        measures[f"shift_{name}"] = float((moved - own).abs().mean())
    measures["mean_clean"], measures["deviation_clean"] = float(own.mean()), float(own.std())
    measures["attack_in_deviations"] = measures["attack_gain"] / measures["deviation_clean"]
    deviation = float(_scores(with_convention(teacher, "antialiased"), photos).std())
    measures["ava_attack_in_deviations"] = measures["ava_attack_gain"] / deviation
    return measures


def with_convention(critic: NIMA, convention: Convention) -> NIMA:
    """The same network, its weights shared, that sees photographs by `convention`."""
    other = copy.copy(critic)
    other.convention = convention
    return other


def quick_measures(critic: NIMA, teacher: NIMA, photos: list[Tensor]) -> dict[str, float]:
    """The numbers to watch while a critic trains: some of `measure_critic`, over fewer photos."""
    squares = torch.cat([resize(photo, ATTACKED_SIZE, ATTACKED_SIZE) for photo in photos[:32]])
    moved = projected_gradient_ascent(critic.mean_score, squares)
    own = _scores(critic, photos)
    varied = _variations(photos[::5])
    halved = _scores(critic, [INVARIANCE["half"](photo) for photo in photos])
    return {
        "srcc_clean": _rank_correlation(own, _scores(teacher, photos)),
        "srcc_varied": _rank_correlation(_scores(critic, varied), _scores(teacher, varied)),
        "attack_gain": _gain(critic.mean_score, squares, moved),
        "shift_half": float((halved - own).abs().mean()),
        "deviation_clean": float(own.std()),
    }


def _variations(photos: list[Tensor]) -> list[Tensor]:
    with torch.random.fork_rng():  # the noise is the same for every critic, and a training's own draws go on
        torch.manual_seed(0)
        return [views.round_to_bytes(vary(photo)) for vary in PHOTOGRAPHIC_VARIATIONS.values() for photo in photos]


@torch.no_grad()
def _scores(critic: NIMA, photos: Iterable[Tensor]) -> Tensor:
    """One mean score for each photo; sizes may differ."""
    return torch.cat([critic.mean_score(photo) for photo in photos])


def _rank_correlation(scores: Tensor, reference: Tensor) -> float:
    return float(spearmanr(scores.detach().cpu(), reference.detach().cpu()).statistic)


@torch.no_grad()
def _gain(score: Callable[[Photo], Tensor], before: Photo, after: Photo) -> float:
    return float((score(after) - score(before)).mean())


def measured_photographs(data: Path, split: str, device: str, count: int = 100) -> list[Tensor]:
    """BSDS500 test photographs: the first 100 to choose (`validation`), the other 100 to report (`test`).

    `train`: the first 100 of its training photographs, which a critic trained here has seen.
    """
    folder, first = {"train": ("train", 0), "validation": ("test", 0), "test": ("test", 100)}[split]
    paths = sorted((data / "bsds500" / folder).glob("*.jpg"))[first : first + 100]
    return [read_photo(path).to(device) for path in paths[:count]]


def main() -> None:
    """Print, and append to a table if asked, what one critic is worth."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True, help="name of a shipped critic or a .safetensors file")
    parser.add_argument("--data", type=Path, required=True, help="folder of the layout that LPIE_DATA has")
    parser.add_argument("--split", choices=("train", "validation", "test"), default="validation")
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--table", type=Path, help="CSV file whose row of that name is replaced or added")
    parser.add_argument("--name", help="what the row is called; the weights' name if not given")
    given = parser.parse_args()
    teacher = NIMA.from_pretrained(given.data / TEACHER).to(given.device)
    critic = NIMA.from_pretrained(given.weights).to(given.device)
    training = measured_photographs(given.data, "train", given.device, given.photos)
    others = torch.cat([resize(photo, ATTACKED_SIZE, ATTACKED_SIZE) for photo in training])
    photos = measured_photographs(given.data, given.split, given.device, given.photos)
    measures = measure_critic(critic, teacher, photos, others)
    print_measures(measures)
    if given.table:
        row = pd.DataFrame([{"critic": given.name or given.weights, "split": given.split, **measures}])
        if given.table.exists():
            earlier = pd.read_csv(given.table)
            same = (earlier["critic"] == row["critic"][0]) & (earlier["split"] == given.split)
            row = pd.concat([earlier[~same], row])
        write_csv(given.table, row)


def print_measures(measures: dict[str, float]) -> None:
    """One measure a line."""
    print("\n".join(f"{name:20s} {value:8.3f}" for name, value in measures.items()), flush=True)


if __name__ == "__main__":
    main()
