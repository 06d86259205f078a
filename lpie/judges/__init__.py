"""Judges, which look at results and never train: a row each in `JUDGES`. Critics are in `lpie.critic.CRITICS`.

A judge without a reference looks at one photograph; the others measure how far it is from a second one, such as an
operator's target or what a person made of the same photo. What each is worth against people and against damage of
known visibility is measured in `notebooks/instruments.ipynb`; the `roles` of a row, in which alone it speaks in a
verdict, are what the published answers show (`study.instruments.roles`), and a test holds them to it.

NIQE's hundred lines are ours because no library offers one that this project could rest on: pyiqa is for
non-commercial use; brisque unpickles its scaling; piq and OpenCV do not carry the trained model; scikit-video
stopped in 2018; pypiqe needs OpenCV with a window system and rewards a faint grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from lpie.critic import CRITICS
from lpie.names import find

if TYPE_CHECKING:
    import torch

__all__ = [
    "JUDGES",
    "ROLES",
    "Judge",
    "Role",
    "available_raters",
    "available_references",
    "human_references",
    "load_judge",
    "load_nearness",
    "load_rater",
]

Role = Literal["veto", "visible difference", "human reference", "preference"]

ROLES: dict[Role, str] = {
    "veto": "sees damage: a photograph that it finds damaged is no enhancement",
    "visible difference": "says how plainly two renditions of a photo differ",
    "human reference": "its distance to a person's rendition says which of two renditions is nearer to it",
    "preference": "orders renditions as people who look at them do",
}
"""What an instrument can be good for. It speaks in a verdict only in a role for which there is evidence."""


@dataclass(frozen=True)
class Judge:
    """One instrument that took no part in training."""

    name: str
    label: str
    """What readers of tables and figures call it."""
    load: Callable[..., Any] | None
    """(device) -> function of the photo, and of the reference where one is needed, to one number per photo. None for
    people, who are asked by `lpie vote`."""
    trained_on: str
    """What its numbers were learned from."""
    higher_is_better: bool = True
    needs_reference: bool = False
    package: str = ""
    """An optional package that it is computed by."""
    file: str = ""
    """A file of the registry that it is computed with."""
    roles: tuple[Role, ...] = ()
    """In which it speaks in a verdict: those for which `results/published/instruments.csv` is evidence."""
    plain: float = math.inf
    """Of a judge with the role *veto*: the number above which what it sees is plain, and it objects."""
    margin: float = 0.0
    """Less than this is no difference that matters, in the judge's own unit; set before a study is run."""


def _nima(name: str, device: Any) -> Any:
    import torch

    from lpie.critic.nima import NIMA

    return torch.no_grad()(NIMA.from_pretrained(name).to(device).mean_score)


def _niqe(device: Any) -> Any:
    from lpie.judges.niqe import NaturalScenes

    return partial(_measure("judges.niqe", "niqe", device), scenes=NaturalScenes.shipped())


def _measure(module: str, name: str, device: Any) -> Any:
    import torch

    return torch.no_grad()(getattr(import_module(f"lpie.{module}"), name))


def _unexplained(device: Any) -> Any:
    from lpie.judges.unexplained import unexplained_change

    return lambda enhanced, photo: unexplained_change(photo, enhanced)


def _against(name: str, label: str, module: str = "judges.full_reference", **settings: Any) -> Judge:
    """The row of a measure of distance, or of likeness, to a reference; learned from nothing unless it says so."""
    known: dict[str, Any] = {"load": partial(_measure, module, name), "trained_on": "nothing", "needs_reference": True}
    return Judge(name, label, **(known | settings))


_LOWER: dict[str, Any] = {"higher_is_better": False}
_VISIBLE: tuple[Role, ...] = ("visible difference",)
_REFERENCE: tuple[Role, ...] = (*_VISIBLE, "human reference")

_ALEXNET = "lpips/alexnet.ckpt"
_BAPPS = "BAPPS: pairs of distorted patches, on AlexNet's features"
_SEEN = "XR-DAVID, LIVEHDR and UPIQ: people's judgments of distortions"

JUDGES: dict[str, Judge] = {
    row.name: row
    for row in (
        Judge(
            "technical", "technical NIMA", partial(_nima, "technical"), "TID2013: 25 photographs, damaged", margin=0.05
        ),
        Judge(
            "niqe", "NIQE", _niqe, "BSDS500: statistics of photographs, no ratings", higher_is_better=False, margin=0.1
        ),
        _against("psnr", "PSNR", roles=_VISIBLE),
        _against("ssim", "SSIM", "losses.similarity", roles=_REFERENCE, margin=0.01),
        _against("ms_ssim", "MS-SSIM", "losses.similarity", roles=_REFERENCE, margin=0.005),
        _against(
            "lpips", "LPIPS", "losses.lpips", trained_on=_BAPPS, file=_ALEXNET, roles=_REFERENCE, margin=0.01, **_LOWER
        ),
        _against("ciede2000", "CIEDE2000", roles=_VISIBLE, **_LOWER),
        _against("flip", "FLIP", package="flip_evaluator", roles=_VISIBLE, **_LOWER),
        _against("cvvdp", "ColorVideoVDP", trained_on=_SEEN, package="pycvvdp", roles=_REFERENCE, margin=0.1),
        _against(
            "unexplained",
            "unexplained change",
            load=_unexplained,
            package="pycvvdp",
            roles=("veto",),
            plain=0.04,  # flags at most 5 % of enhancements without a critic, see `study.unexplained_check`
            **_LOWER,
        ),
        Judge("people", "people", None, "their own eyes", roles=("preference",), margin=0.05),  # of the votes
    )
}


def load_judge(name: str, device: str | torch.device = "cpu") -> Callable[..., Any]:
    """The judge called `name`, as its row says: photos (N, 3, H, W) in [0, 1] on `device` to (N,), without gradient.

    Raises ValueError for an unknown name and for people, FileNotFoundError for weights that are missing, ImportError
    that names the extra where the judge's package is.
    """
    return find({key: row.load for key, row in JUDGES.items() if row.load}, name, "judge")(device)


def load_nearness(name: str, device: str | torch.device = "cpu") -> Callable[..., Any]:
    """The judge with a reference called `name`: photos and references to (N,), higher is nearer, without gradient.

    Errors as `load_judge`.
    """
    measure = load_judge(name, device)
    return measure if JUDGES[name].higher_is_better else lambda photo, reference: -measure(photo, reference)


def load_rater(name: str, device: str | torch.device = "cpu") -> Callable[..., Any]:
    """The critic or the judge without a reference called `name`: photos to (N,), higher is better, without gradient.

    Errors as `load_judge`.
    """
    if name in CRITICS:
        return _nima(name, device)
    find(dict.fromkeys(_without_reference()), name, "critic or judge")
    score = load_judge(name, device)
    return score if JUDGES[name].higher_is_better else lambda photo: -score(photo)


def available_raters() -> tuple[str, ...]:
    """The critics and the judges without a reference that can be loaded now without a connection."""
    from lpie.registry import find as find_file
    from lpie.weights.published import REGISTERED

    raters = (*CRITICS, *_without_reference())
    return tuple(name for name in raters if name not in REGISTERED or find_file(REGISTERED[name]))


def _without_reference() -> list[str]:
    return [name for name, row in JUDGES.items() if row.load and not row.needs_reference]


def human_references() -> tuple[str, ...]:
    """Of `available_references`, those whose distance to a person's rendition counts."""
    return tuple(name for name in available_references() if "human reference" in JUDGES[name].roles)


def available_references() -> tuple[str, ...]:
    """The judges with a reference that can be computed now without a connection."""
    from lpie.registry import find as find_file

    rows = [row for row in JUDGES.values() if row.needs_reference]
    rows = [row for row in rows if not row.package or find_spec(row.package)]
    return tuple(row.name for row in rows if not row.file or find_file(row.file))
