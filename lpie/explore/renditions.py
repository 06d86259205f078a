"""What the playground can make of a photo: operators and networks to choose from, and their renditions at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch

from lpie.critic import CRITICS
from lpie.evidence.results import read_run
from lpie.imaging.resampling import within
from lpie.judges import available_raters, load_rater
from lpie.operators import OPERATORS, DehazeSettings
from lpie.operators.airlight import estimate_airlight, haze_presence
from lpie.operators.local_laplacian import local_laplacian
from lpie.operators.nonlocal_dehazing import estimate_transmission
from lpie.operators.safeguard import trusted_transmission
from lpie.photos.enhancement import PLAIN, enhance
from lpie.photos.signature import study_of
from lpie.photos.tiles import LargePhoto, noise_of, scene_behind, tone_settings
from lpie.vocabulary import Airlight, PerPhoto, Photo, Transmission
from lpie.weights import open_weights, shipped_names

PREVIEW_SIDE = 512  # px of the longer side of what a slider changes
ITERATIONS = 8  # of smoothing, in place of 18: on average within a tenth of 1/255, in half the time


@dataclass(frozen=True)
class Enhancer:
    """One thing that changes photos: an operator as it is, or a network that learned it."""

    label: str
    operator: str
    weights: str = PLAIN
    critic: str = ""
    """The critic that trained the network, or nothing."""
    network: str = ""
    gamma: float = 0.0


def shipped_enhancers() -> list[Enhancer]:
    """The operators, then every network that is shipped."""
    plain = [Enhancer(f"{row.label} (the operator itself)", row.name) for row in OPERATORS.values()]
    return [*plain, *map(open_enhancer, shipped_names("network"))]


def available_enhancers(folder: Path, operator: str) -> list[Enhancer]:
    """The networks for `operator` trained with L2 in `folder`'s runs, the first seed of each, then those shipped."""
    trained = [read_run(path.parent / "run.json") for path in sorted(folder.glob("runs/*/weights.safetensors"))]
    runs = [run["run"] for run in trained if (run["fidelity"], run["operator"]) == ("l2", operator)]
    networks = [open_enhancer(folder / "runs" / run / "weights.safetensors") for run in runs]
    networks += [one for one in shipped_enhancers() if one.network and one.operator == operator]
    return list({(one.network, one.critic, one.gamma): one for one in reversed(networks)}.values())


def open_enhancer(weights: str | os.PathLike[str]) -> Enhancer:
    """The network in a safetensors file or of a shipped name.

    Raises FileNotFoundError if there is none, ValueError if it does not say which operator it learned.
    """
    name = os.fspath(weights)
    metadata = open_weights(name)[1]
    study = study_of(metadata, name)
    operator = metadata.get("operator") or study.get("operator")
    if operator not in OPERATORS:
        raise ValueError(f"{name}: expected a network of an operator ({', '.join(OPERATORS)}), got {operator!r}.")
    critic = study["critic"] if study.get("critic") in CRITICS else ""
    return Enhancer(name, operator, name, critic, metadata.get("network", ""), study.get("gamma", 0.0))


class Renditions:
    """One photo, small enough for sliders, and what enhancers make of it.

    photo: (1, 3, H, W), sRGB in [0, 1]; `small` is it with its longer side at most PREVIEW_SIDE px.
    """

    def __init__(self, photo: Photo) -> None:
        self.photo = photo
        self.small = within(photo, PREVIEW_SIDE)
        self._haze = lru_cache(maxsize=32)(self._find_haze)
        self._output = lru_cache(maxsize=8)(lambda enhancer: _enhanced(self.small, enhancer, {}, 1.0))

    def of_small(self, enhancer: Enhancer, settings: Mapping[str, float], strength: float = 1.0) -> Photo:
        """The preview enhanced, (1, 3, h, w) in [0, 1]; haze is smoothed with fewer steps than `dehaze` takes.

        What a slider does not change is kept: noise, haze, and what a network of pixels makes of the photo.
        """
        row = OPERATORS[enhancer.operator]
        if enhancer.weights == PLAIN and enhancer.operator in ("tone", "dehaze"):
            own = replace(row.settings(), **settings)
            return self._toned(own, strength) if enhancer.operator == "tone" else self._dehazed(own, strength)
        if enhancer.network in ("", "parameters"):
            return _enhanced(self.small, enhancer, settings, strength)
        return torch.lerp(self.small, self._output(enhancer), strength).clamp(0, 1)

    def in_full(self, enhancer: Enhancer, settings: Mapping[str, float], strength: float = 1.0) -> Photo:
        """The whole photo enhanced, as `lpie.enhance` does it."""
        return _enhanced(self.photo, enhancer, settings, strength)

    @cached_property
    def _airlight(self) -> Airlight:
        return estimate_airlight(self.small)

    @cached_property
    def _noise(self) -> float:
        return noise_of(LargePhoto(lambda *where: self.small[..., where[0] : where[1], where[2] : where[3]],
                                   *self.small.shape[-2:]))  # fmt: skip

    @torch.inference_mode()
    def _toned(self, settings: Any, strength: float) -> Photo:
        chosen = tone_settings(settings, OPERATORS["tone"].ranges, strength)
        return local_laplacian(self.small, **chosen, noise=self._noise)  # type: ignore[arg-type]

    @cached_property
    def _presence(self) -> PerPhoto:
        return haze_presence(self.small)

    @torch.no_grad()
    def _find_haze(self, gamma: float, smoothness: float) -> Transmission:
        """The preview's transmission as in `dehaze`, kept, since only two of its settings change it."""
        found = estimate_transmission(self.small**gamma, self._airlight**gamma, smoothness, ITERATIONS)
        return 1 - self._presence[:, None, None, None] * (1 - found)

    def _dehazed(self, settings: Any, strength: float) -> Photo:
        gamma = settings.gamma
        found = self._haze(gamma, settings.smoothness)
        if settings.safeguard:
            found = trusted_transmission(self.small**gamma, found, self._airlight**gamma, settings.safeguard)
        thicker = (1 - strength * (1 - found)).clamp_min(DehazeSettings.floor)
        return scene_behind(self.small, thicker, self._airlight, settings)


_rater = cache(load_rater)


def rater_scores(photo: Photo) -> dict[str, float]:
    """The scores of one photo by every rater that is available here."""
    return {name: float(_rater(name)(photo)) for name in available_raters()}


def _enhanced(photo: Photo, enhancer: Enhancer, settings: Mapping[str, float], strength: float) -> Photo:
    own: dict[str, Any] = dict(settings) if enhancer.weights == PLAIN else {}
    return enhance(photo, enhancer.operator, enhancer.weights, strength=strength, **own)
