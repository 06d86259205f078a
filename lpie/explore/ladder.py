"""A critic's weight as a slider: kept crops of test photos, and one's own photo through the networks that exist."""

from __future__ import annotations

import html
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ipywidgets
import pandas as pd

from lpie.critic import CRITICS
from lpie.evidence.labels import network_label
from lpie.evidence.results import crop_path, cropped_photos, read_results
from lpie.explore import pictures
from lpie.explore.comparison import Comparison
from lpie.explore.renditions import Enhancer, Renditions, available_enhancers, rater_scores
from lpie.judges.full_reference import psnr
from lpie.names import find
from lpie.vocabulary import Photo

OWN = "(your own)"
Rung = Callable[[], tuple[bytes, bytes, str]]
"""The operator's output and the network's, as picture files, and the scores of the second."""


def explore_gamma(
    folder: Path | str,
    operator: str = "tone",
    network: str = "grid",
    critic: str = "compact",
    photo: Photo | None = None,
) -> ipywidgets.VBox:
    """A slider through the weights of a critic, from 0: the operator's output on the left, the network's on the right.

    `folder`: a results folder; shown are the crops that it keeps and, for `photo`, (1, 3, H, W) in [0, 1], the networks
    in its runs and those that are shipped. `network` and `critic`: what is shown first. Raises ValueError where there
    are not two weights of any network and critic, or not of these.
    """
    ladders = _crop_ladders(Path(folder), operator)
    if photo is not None:
        for pair, rungs in _network_ladders(Path(folder), operator, photo).items():
            ladders.setdefault(pair, {})[OWN] = rungs
    pairs = {f"{network_label(pair[0])}, critic {pair[1]}": pair for pair in ladders}
    if not pairs:
        raise ValueError(f"{folder}: no crops of two weights or more for {operator}: run gamma.ipynb, or give one.")
    first = find({f"{pair[0]}, {pair[1]}": pair for pair in ladders}, f"{network}, {critic}", "network and critic")
    trained = ipywidgets.Dropdown(options=pairs, value=first, description="network", layout={"width": "26em"})
    name = ipywidgets.Dropdown(description="photo", layout={"width": "26em"})
    weight = ipywidgets.SelectionSlider(options=["0"], description="gamma", continuous_update=False)
    comparison, caption = Comparison(), ipywidgets.HTML()

    def choose(_: Any = None) -> None:
        name.options = sorted(ladders[trained.value], key=lambda photo: photo != OWN)
        name.value = name.options[0]
        choose_photo()

    def choose_photo(_: Any = None) -> None:
        if name.value in ladders[trained.value]:
            weight.options = list(ladders[trained.value][name.value])
            draw()

    def draw(_: Any = None) -> None:
        comparison.before, comparison.after, caption.value = ladders[trained.value][name.value][weight.value]()

    for control, answer in ((trained, choose), (name, choose_photo), (weight, draw)):
        control.observe(answer, names="value")
    choose()
    return ipywidgets.VBox([trained, name, weight, comparison, caption])


def _crop_ladders(folder: Path, operator: str) -> dict[tuple[str, str], dict[str, dict[str, Rung]]]:
    """By network and critic, photo and weight: the crops that are kept of at least two weights."""
    runs, scores = read_results(folder)
    ours = runs[(runs["operator"] == operator) & (runs["fidelity"] == "l2")]
    ladders: dict[tuple[str, str], dict[str, dict[str, Rung]]] = {}
    for network, critic in ours.loc[ours["gamma"] > 0, ["network", "critic"]].drop_duplicates().itertuples(index=False):
        steps = ours[(ours["network"] == network) & ((ours["critic"] == critic) | (ours["gamma"] == 0))]
        kept = {run: cropped_photos(folder, run) for run in steps.sort_values(["gamma", "seed"])["run"]}
        for photo in cropped_photos(folder, f"{operator}-target"):
            shown = steps[[photo in kept[run] for run in steps["run"]]].sort_values(["gamma", "seed"])
            rungs: dict[str, Rung] = {
                f"{gamma:g}": partial(_crop_rung, folder, operator, run, photo, scores)
                for gamma, run in shown.drop_duplicates("gamma")[["gamma", "run"]].itertuples(index=False)
            }
            if len(rungs) > 1:
                ladders.setdefault((network, critic), {})[photo] = rungs
    return ladders


def _crop_rung(folder: Path, operator: str, run: str, photo: str, scores: pd.DataFrame) -> tuple[bytes, bytes, str]:
    row = scores[(scores["run"] == run) & (scores["photo"] == photo)].iloc[0]
    by_rater = {name.removeprefix("score_"): row[name] for name in map(str, row.index) if name.startswith("score_")}
    before, after = (crop_path(folder, one, photo).read_bytes() for one in (f"{operator}-target", run))
    return before, after, _caption(row["psnr"], by_rater)


def _network_ladders(folder: Path, operator: str, photo: Photo) -> dict[tuple[str, str], dict[str, Rung]]:
    """By network and critic, then weight: the preview through the networks of which two weights or more exist."""
    renditions, found = Renditions(photo), available_enhancers(folder, operator)
    ladders: dict[tuple[str, str], dict[str, Rung]] = {}
    for network in dict.fromkeys(one.network for one in found):
        for critic in CRITICS:
            ours = [one for one in found if one.network == network and one.critic in ("", critic)]
            rungs: dict[str, Rung] = {
                f"{one.gamma:g}": partial(_network_rung, renditions, one)
                for one in sorted(ours, key=lambda one: one.gamma)
            }
            if len(rungs) > 1:
                ladders[network, critic] = rungs
    return ladders


def _network_rung(renditions: Renditions, enhancer: Enhancer) -> tuple[bytes, bytes, str]:
    target = renditions.of_small(Enhancer("the operator", enhancer.operator), {})
    output = renditions.of_small(enhancer, {})
    return pictures.png(target), pictures.png(output), _caption(float(psnr(output, target)), rater_scores(output))


def _caption(decibels: float, by_rater: dict[str, float]) -> str:
    shown = {("NIQE (less is better)" if name == "niqe" else name): abs(value) for name, value in by_rater.items()}
    named = ", ".join(f"{name} {value:.2f}" for name, value in shown.items() if pd.notna(value))
    return html.escape(f"{decibels:.1f} dB to the operator's output; {named}")
