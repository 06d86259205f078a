"""Widgets for JupyterLab: see what a parameter of an operator or a weight of the critic does to a photograph.

They need ipywidgets, the `lab` extra. Without a front end the same functions still return the widget, drawn once, so a
notebook that uses them runs from top to bottom anywhere.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from PIL import Image

from lpie.evidence import labels
from lpie.evidence.results import crop_path, cropped_photos, read_results

if TYPE_CHECKING:
    from ipywidgets import Widget

    from lpie.vocabulary import Photo

PREVIEW_SIDE = 384  # px of the longer side, so that a change shows at once


def explore_operator(photo: Photo, operator: str = "tone") -> Widget:
    """Sliders for an operator's parameters beside the photo, live: alpha, beta, sigma_r, or gamma for dehazing.

    `photo`: (1, 3, H, W); a preview of at most PREVIEW_SIDE px is shown. Raises ValueError for another operator.
    """
    widgets = _widgets()
    shown = _preview(photo)
    sliders = {
        name: widgets.FloatSlider(value=value, min=low, max=high, step=step, description=name, readout_format=".2f")
        for name, (value, low, high, step) in _ranges(operator).items()
    }
    after = widgets.Image(format="png", layout={"max_width": "48%"})
    before = widgets.Image(value=_png(shown), format="png", layout={"max_width": "48%"})

    def draw(_: Any = None) -> None:
        after.value = _png(_apply(shown, operator, {name: slider.value for name, slider in sliders.items()}))

    _watch(sliders.values(), draw)
    return widgets.VBox([*sliders.values(), widgets.HBox([before, after])])


def explore_gamma(folder: Path, operator: str = "tone", network: str = "parameters", critic: str = "compact") -> Widget:
    """A slider through the ladder of weights: the kept crop of a test photo at each, with its scores.

    `folder`: a results folder with crops. Raises ValueError when it holds no such ladder.
    """
    widgets = _widgets()
    runs, scores = read_results(folder)
    ours = runs[(runs["operator"] == operator) & (runs["network"] == network) & (runs["fidelity"] == "l2")]
    steps = ours[(ours["critic"] == critic) | (ours["gamma"] == 0)].sort_values(["gamma", "seed"])
    run_of = steps.drop_duplicates("gamma").set_index("gamma")["run"]
    photos = cropped_photos(folder, f"{operator}-target")
    if len(run_of) < 2 or not photos:
        raise ValueError(f"{folder} holds no ladder with crops for {operator}, {network}, {critic}: run gamma.ipynb.")
    weight = widgets.SelectionSlider(
        options=[(f"{gamma:g}", run) for gamma, run in run_of.items()], description="gamma"
    )
    photo = widgets.Dropdown(options=photos, description="photo")
    target, output = (widgets.Image(format="png") for _ in range(2))
    caption = widgets.HTML()

    def draw(_: Any = None) -> None:
        target.value = crop_path(folder, f"{operator}-target", photo.value).read_bytes()
        output.value = crop_path(folder, weight.value, photo.value).read_bytes()
        caption.value = _caption(scores, weight.value, photo.value)

    _watch((weight, photo), draw)
    title = widgets.HTML(f"{labels.operator_label(operator)}, {labels.network_label(network)}: target, then output")
    return widgets.VBox([title, photo, weight, widgets.HBox([target, output]), caption])


def _widgets() -> Any:
    try:
        import ipywidgets
    except ImportError as error:
        raise ImportError('Widgets need ipywidgets: pip install "lpie[lab]", or make lab.') from error
    return ipywidgets


def _watch(controls: Any, draw: Callable[..., None]) -> None:
    """Draw now, and again whenever a control changes."""
    for control in controls:
        control.observe(draw, names="value")
    draw()


def _ranges(operator: str) -> dict[str, tuple[float, float, float, float]]:
    """Value, lowest, highest and step of each parameter; the values are the study's."""
    from lpie.operators import ToneSettings

    tone = ToneSettings()
    known = {
        "tone": {
            "alpha": (tone.alpha, 0.1, 2.0, 0.05),
            "beta": (tone.beta, 0.0, 1.5, 0.05),
            "sigma_r": (tone.sigma_r, 0.05, 0.6, 0.01),
        },
        "dehaze": {"gamma": (1.0, 0.4, 2.4, 0.1)},
    }
    if operator not in known:
        raise ValueError(f"Unknown operator {operator!r}: choose one of {', '.join(known)}.")
    return known[operator]


def _apply(photo: Photo, operator: str, settings: dict[str, Any]) -> Photo:
    if operator == "tone":
        from lpie.operators.local_laplacian import local_laplacian

        return local_laplacian(photo, **settings)
    from lpie.operators.nonlocal_dehazing import dehaze

    return dehaze(photo, **settings).photo


def _preview(photo: Photo) -> Photo:
    from lpie.imaging.resampling import resize

    height, width = photo.shape[-2:]
    scale = min(1.0, PREVIEW_SIDE / max(height, width))
    return resize(photo, max(1, round(scale * height)), max(1, round(scale * width)))


def _png(photo: Photo) -> bytes:
    from lpie.photos.photographs import to_pixels

    stored = io.BytesIO()
    Image.fromarray(to_pixels(photo, 8)).save(stored, "PNG", compress_level=1)
    return stored.getvalue()


def _caption(scores: pd.DataFrame, run: str, photo: str) -> str:
    row = scores[(scores["run"] == run) & (scores["photo"] == photo)].iloc[0]
    named = [
        f"{name.removeprefix('score_')} {row[name]:.2f}" for name in map(str, row.index) if name.startswith("score_")
    ]
    return f"{row['psnr']:.1f} dB to the target; " + ", ".join(named)
