"""How closely a critic agrees with the AVA network on unseen photographs, and how easily it is fooled."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from lpie.critic.nima import NIMA
from lpie.critic_training.variations import VARIATIONS
from lpie.evidence.statistics import rank_correlation
from lpie.imaging.color import quantize
from lpie.imaging.resampling import resize
from lpie.judges.robustness import (
    ATTACKED_SIZE,
    INVARIANCE,
    octave_energy,
    projected_gradient_ascent,
    score_gradient,
    universal_perturbation,
)
from lpie.judges.robustness import Score as Judge
from lpie.photos.photographs import read_photo
from lpie.registry import files_of
from lpie.vocabulary import PerPhoto, Photo


def measured_photographs(split: str, device: str, count: int = 100) -> list[Tensor]:
    """BSDS500 photographs (1, 3, H, W): the first 100 of its test set to choose (`validation`), the others to report
    (`test`); `train`: the first 100 of its training set, from which critics learn.
    """
    folder, first = {"train": ("train", 0), "validation": ("test", 0), "test": ("test", 100)}[split]
    paths = files_of(f"bsds500/{folder}")[first : first + 100]
    return [read_photo(path).to(device) for path in paths[:count]]


def evaluate_critic(name: str, split: str, device: str, count: int = 100) -> dict[str, float]:
    """`measure_critic` of a shipped critic or a file."""
    critic, teacher = (NIMA.from_pretrained(one).to(device) for one in (name, "ava"))
    measured, train = (measured_photographs(one, device, count) for one in (split, "train"))
    return measure_critic(critic, teacher, measured, train)


def measure_critic(
    critic: NIMA, teacher: NIMA, photos: list[Tensor], others: list[Tensor], universal_steps: int = 100
) -> dict[str, float]:
    """Agreement with `teacher` and robustness of `critic`, each number beside the teacher's own.

    `srcc`: rank correlation with the teacher's scores, also over variations. `photos` are (1, 3, H, W) that the critic
    never saw; the universal perturbation is learned on `others`. Gains and shifts are in points of the mean score;
    the attack's gain also in standard deviations of the scores of `photos`, since a critic with scores close together
    moves by few points whatever fools it.
    """
    own, varied = scores(critic, photos), _variations(photos)
    own_varied = scores(critic, varied)
    measures = {"photos": float(len(photos))}
    measures["srcc_clean"] = rank_correlation(own, scores(teacher, photos))
    measures["srcc_varied"] = rank_correlation(own_varied, scores(teacher, varied))
    for prefix, attacked in (("", critic), ("ava_", teacher)):
        fooled = fooling(attacked.mean_score, photos, others, universal_steps)
        measures |= {f"{prefix}{name}": value for name, value in fooled.items()}
        measures[f"{prefix}attack_in_standard_deviations"] = fooled["attack_gain"] / float(
            scores(attacked, photos).std()
        )
    measures |= {f"shift_{name}": value for name, value in shifts(critic.mean_score, photos).items()}
    return measures | {"mean_clean": float(own.mean()), "standard_deviation_clean": float(own.std())}


def fooling(score: Judge, photos: Iterable[Tensor], others: Iterable[Tensor], universal_steps: int) -> dict[str, float]:
    """How far attacks within 2/255 raise the score of `photos`, reduced to 224 px, and where its gradient lies.

    `attack_gain`: ten steps of projected gradient ascent on each; `universal_gain`: one perturbation for all, learned
    on `others`; `octave_ratio`: the gradient's energy in the highest octave of spatial frequency over the next.
    """
    squares, learned_on = (
        torch.cat([resize(photo, ATTACKED_SIZE, ATTACKED_SIZE) for photo in some]) for some in (photos, others)
    )
    perturbation = universal_perturbation(score, learned_on, steps=universal_steps)
    energy = octave_energy(score_gradient(score, squares)).mean(0)
    attacked = projected_gradient_ascent(score, squares)
    return {
        "attack_gain": _gain(score, squares, attacked),
        "universal_gain": _gain(score, squares, (squares + perturbation).clamp(0, 1)),
        "octave_ratio": float(energy[0] / energy[1]),
    }


@torch.no_grad()
def shifts(score: Judge, photos: Iterable[Tensor]) -> dict[str, float]:
    """Mean change of a score, in points, by what should not matter: JPEG 90, half size, a pixel's shift, rounding."""
    moved = {
        name: [float((score(change(photo)) - score(photo)).abs()) for photo in photos]
        for name, change in INVARIANCE.items()
    }
    return {name: sum(distances) / len(distances) for name, distances in moved.items()}


def quick_measures(critic: NIMA, teacher: NIMA, photos: list[Tensor]) -> dict[str, float]:
    """Numbers to watch during training: agreement with the teacher, gain of an attack, spread of scores."""
    squares = torch.cat([resize(photo, ATTACKED_SIZE, ATTACKED_SIZE) for photo in photos[:32]])
    own = scores(critic, photos)
    return {
        "srcc_clean": rank_correlation(own, scores(teacher, photos)),
        "attack_gain": _gain(critic.mean_score, squares, projected_gradient_ascent(critic.mean_score, squares)),
        "standard_deviation_clean": float(own.std()),
    }


@torch.no_grad()
def scores(critic: NIMA, photos: Iterable[Tensor]) -> PerPhoto:
    """One mean score for each photo (1, 3, H, W), on the CPU; sizes may differ."""
    return torch.cat([critic.mean_score(photo) for photo in photos]).cpu()


def _variations(photos: list[Tensor]) -> list[Tensor]:
    """Three strengths of each of the five variations of every photo."""
    each = [(vary, strength) for vary, strengths in VARIATIONS.values() for strength in strengths[1::2]]
    return [quantize(vary(photo, strength)) for vary, strength in each for photo in photos]


@torch.no_grad()
def _gain(score: Judge, before: Photo, after: Photo) -> float:
    return float((score(after) - score(before)).mean())
