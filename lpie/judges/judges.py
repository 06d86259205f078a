"""Judges: what evaluation asks about a photograph, each a function of the photo where higher is better.

| name | what it is | what it says |
|---|---|---|
| `compact` | a critic, which trains; listed to be compared with, never as evidence | mean aesthetic score, 1..10 |
| `ava` | published MobileNet NIMA trained on AVA; a critic as well | mean aesthetic score, 1..10 |
| `robust` | a critic trained until it is hard to fool | mean aesthetic score, 1..10, in a narrow range |
| `technical` | published MobileNet NIMA trained on TID2013 | mean score of undamagedness, 1..10 |
| `oasis` | NIMA trained here on the beauty ratings of OASIS: beauty of content | mean score, 1..10 |
| `niqe` | natural-scene statistics, no ratings and no network (Mittal et al. 2013) | minus NIQE |

`niqe` is the classical no-reference judge. Its 100 lines are ours because no library offers one that this project
could rest on: pyiqa is for non-commercial use; brisque unpickles its scaling, compiles libsvm at installation and
fails under numpy 2.4; piq and OpenCV do not carry the trained model; scikit-video stopped in 2018; pypiqe needs
OpenCV with a window system and rewards a faint grid, the very artifact that critics provoke; deepinv's sharpness
index rewards contrast without end. NIQE is lowest at the undamaged photograph for blur, noise, JPEG, sharpening and
grids, which `tests/test_judges.py` holds it to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import torch

from lpie.critic.nima import NIMA
from lpie.critic.published_weights import REGISTERED
from lpie.judges.niqe import NaturalScenes, niqe
from lpie.vocabulary import PerPhoto, Photo
from lpie.weights import shipped_names

JudgeName = Literal["compact", "ava", "robust", "technical", "oasis", "niqe"]

Judge: TypeAlias = Callable[[Photo], PerPhoto]
"""From photos to one number each, higher is better, without gradient. Evaluation hands it 8-bit photos."""


def load_judge(name: str, device: str | torch.device = "cpu") -> Judge:
    """The judge called `name`, for photos on `device`.

    Raises ValueError for an unknown name, FileNotFoundError for a network that is not shipped, and what
    `lpie.registry.fetch` raises where published weights cannot be had.
    """
    if name not in get_args(JudgeName):
        raise ValueError(f"Unknown judge {name!r}: choose one of {', '.join(get_args(JudgeName))}.")
    if name == "niqe":
        scenes = NaturalScenes.shipped()
        return torch.no_grad()(lambda photo: -niqe(photo, scenes))
    return torch.no_grad()(NIMA.from_pretrained(name).to(device).mean_score)


def available_judges() -> tuple[str, ...]:
    """The judges that can be loaded now without a network."""
    from lpie.registry import find

    shipped = shipped_names()
    return tuple(
        name for name in get_args(JudgeName) if name in shipped or (name in REGISTERED and find(REGISTERED[name]))
    )
