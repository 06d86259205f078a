"""The image operators that networks imitate: local tone mapping and dehazing, a row each in `OPERATORS`.

A further operator is one file and one row: what it is called, what it is set to, and what it does to a photo. Rows
name functions that import their module when they are called, so that reading the table does not wait for torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lpie.operators.settings import DehazeSettings, ToneSettings

if TYPE_CHECKING:
    from lpie.operators.nonlocal_dehazing import Dehazed
    from lpie.vocabulary import PerPhoto, Photo

    OperatorName = Literal["tone", "dehaze"]  # for type checkers; at run time the table decides
else:
    OperatorName = str

__all__ = ["OPERATORS", "DehazeSettings", "Operator", "OperatorName", "Range", "Slider", "ToneSettings"]


class Slider(NamedTuple):
    """How far a person may move a setting, and in which steps."""

    low: float
    high: float
    step: float


class Range(NamedTuple):
    """Where a network may put a setting, and where an untrained network puts it."""

    low: float
    start: float
    high: float


@dataclass(frozen=True)
class Operator:
    """One image operator, and what training, widgets and figures need to know of it."""

    name: str
    label: str
    """What readers of tables and figures call it."""
    settings: Callable[[], Any]
    """A frozen dataclass of numbers, whose defaults are the operator as it is studied."""
    apply: Callable[..., Any]
    """(photo, settings) -> photo: sRGB in [0, 1], (N, 3, H, W), in and out."""
    ranges: Mapping[str, Slider] = field(default_factory=dict)
    """Settings that a person may move."""
    careful: Mapping[str, float] = field(default_factory=dict)
    """Settings by which `enhance` departs from the operator as studied, for the sake of people's photographs."""
    learned: Mapping[str, Range] = field(default_factory=dict)
    """Settings that a network may choose photo by photo; none where `OperatorParameters` does not serve."""
    render: Callable[..., Any] | None = None
    """(photo, chosen, estimate, samples) -> photo: differentiable in `chosen`, one value per photo and name."""
    estimate: Callable[..., Any] | None = None
    """(photo, settings) -> Dehazed, by default as studied: what is found about a photo's haze and held
    while a network's settings change; None where haze does not matter. Scenes of such an operator are hazy
    photographs, and clear ones under synthetic haze."""


def _tone(photo: Photo, settings: ToneSettings) -> Photo:
    from lpie.operators.local_laplacian import local_laplacian

    return local_laplacian(photo, **asdict(settings))


def _render_tone(photo: Photo, chosen: Mapping[str, PerPhoto], estimate: None, samples: int) -> Photo:
    from lpie.operators.local_laplacian import local_laplacian

    alpha, beta, sigma_r = chosen["alpha"], chosen["beta"], chosen["sigma_r"]
    return local_laplacian(photo, alpha=alpha, beta=beta, sigma_r=sigma_r, samples=samples)


def _dehaze(photo: Photo, settings: DehazeSettings) -> Photo:
    return _estimate_haze(photo, settings).photo


def _estimate_haze(photo: Photo, settings: DehazeSettings | None = None) -> Dehazed:
    from lpie.operators.nonlocal_dehazing import dehaze

    return dehaze(photo, **asdict(settings or DehazeSettings()))


def _render_dehazed(photo: Photo, chosen: Mapping[str, PerPhoto], estimate: Dehazed, samples: int) -> Photo:
    import torch

    from lpie.operators.nonlocal_dehazing import restore

    correction = torch.stack([chosen[f"airlight_{color}"] for color in ("red", "green", "blue")], dim=1)
    airlight = (estimate.airlight + correction).clamp(0, 1)
    return restore(photo, estimate.transmission, airlight, floor=chosen["floor"], haze_kept=chosen["haze_kept"])


OPERATORS: dict[str, Operator] = {
    row.name: row
    for row in (
        Operator(
            name="tone",
            label="tone mapping",
            settings=ToneSettings,
            apply=_tone,
            ranges={
                "alpha": Slider(0.1, 2.0, 0.05),
                "beta": Slider(0.0, 1.5, 0.05),
                "sigma_r": Slider(0.05, 0.6, 0.01),
            },
            learned={"alpha": Range(0.25, 1, 1.5), "beta": Range(0.25, 1, 1.5), "sigma_r": Range(0.05, 0.2, 0.5)},
            render=_render_tone,
        ),
        Operator(
            name="dehaze",
            label="dehazing",
            settings=DehazeSettings,
            apply=_dehaze,
            ranges={
                "gamma": Slider(0.4, 2.4, 0.1),
                "smoothness": Slider(0.02, 0.5, 0.02),
                "floor": Slider(0.1, 0.5, 0.05),
                "haze_kept": Slider(0.0, 0.5, 0.02),
                "safeguard": Slider(0.0, 1.0, 0.1),
            },
            careful={"safeguard": 1.0},
            learned={
                "airlight_red": Range(-0.15, 0, 0.15),  # added to the estimate
                "airlight_green": Range(-0.15, 0, 0.15),
                "airlight_blue": Range(-0.15, 0, 0.15),
                "floor": Range(0.05, DehazeSettings.floor, 0.5),  # below 0.1 without effect on what `dehaze` finds
                "haze_kept": Range(0, DehazeSettings.haze_kept, 0.5),
            },
            render=_render_dehazed,
            estimate=_estimate_haze,
        ),
    )
}
