"""A critic's weight as a slider: the kept crop of a test photo at each weight, and its scores."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import ipywidgets
import pandas as pd

from lpie.evidence.labels import network_label, operator_label
from lpie.evidence.results import crop_path, cropped_photos, read_results


def explore_gamma(
    folder: Path | str, operator: str = "tone", network: str = "parameters", critic: str = "compact"
) -> ipywidgets.VBox:
    """A slider through the weights of which a crop was kept, from 0; beside each the operator's output.

    `folder`: a results folder. Raises ValueError where it keeps crops of fewer than two weights.
    """
    folder = Path(folder)
    runs, scores = read_results(folder)
    ours = runs[(runs["operator"] == operator) & (runs["network"] == network) & (runs["fidelity"] == "l2")]
    steps = ours[(ours["critic"] == critic) | (ours["gamma"] == 0)].sort_values(["gamma", "seed"])
    kept = [run for run in steps["run"] if cropped_photos(folder, run)]
    steps = steps[steps["run"].isin(kept)].drop_duplicates("gamma")
    photos = sorted(
        set(cropped_photos(folder, f"{operator}-target")).intersection(
            *(cropped_photos(folder, run) for run in steps["run"])
        )
    )
    if len(steps) < 2 or not photos:
        raise ValueError(
            f"{folder} keeps crops of {len(steps)} weight(s) for {operator}, {network}, {critic}: run gamma.ipynb, "
            "or name others."
        )
    options = [(f"{gamma:g}", run) for gamma, run in zip(steps["gamma"], steps["run"], strict=True)]
    weight = ipywidgets.SelectionSlider(options=options, description="gamma")
    photo = ipywidgets.Dropdown(options=photos, description="photo")
    target, output = (ipywidgets.Image(format="png") for _ in range(2))
    caption = ipywidgets.HTML()

    def draw(_: Any = None) -> None:
        target.value = crop_path(folder, f"{operator}-target", photo.value).read_bytes()
        output.value = crop_path(folder, weight.value, photo.value).read_bytes()
        caption.value = _caption(scores, weight.value, photo.value)

    for control in (weight, photo):
        control.observe(draw, names="value")
    draw()
    title = ipywidgets.HTML(f"{operator_label(operator)}, {network_label(network)}: target, then output")
    return ipywidgets.VBox([title, photo, weight, ipywidgets.HBox([target, output]), caption])


def _caption(scores: pd.DataFrame, run: str, photo: str) -> str:
    row = scores[(scores["run"] == run) & (scores["photo"] == photo)].iloc[0]
    named = [
        f"{name.removeprefix('score_')} {row[name]:.2f}" for name in map(str, row.index) if name.startswith("score_")
    ]
    return html.escape(f"{row['psnr']:.1f} dB to the target; " + ", ".join(named))
