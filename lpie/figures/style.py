"""How the project's figures look and how they reach the disk: one place for colors, markers and lines.

A color stands for one thing in every figure. Families of networks and raters (critics and judges) take theirs from the
position of their row in its table, so that a new row gets a style that no other row has.

Source: Okabe and Ito 2008 (families) and Tol 2021, scheme "muted" (raters), both for color-blind readers.
"""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from lpie.critic import CRITICS
from lpie.evidence.gains import RIVALS
from lpie.evidence.labels import JUDGES
from lpie.networks import FAMILIES
from lpie.records import atomic_path

STYLE = mpl.rc_params_from_file(Path(__file__).with_name("lpie.mplstyle"), use_default_template=False)

PALETTES = {
    "family": ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#F0E442"),
    "rater": ("#332288", "#CC6677", "#999933", "#882255", "#88CCEE", "#AA4499", "#DDCC77"),
    "rival": ("#666666", "#8C8C8C", "#B3B3B3"),
}
MARKERS = {"family": "osDv^<>phXd", "rater": "osDv^<>phXd", "rival": "x+*"}
LINES = ("-", ":", "-.", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
TRAINED_COLOR = "#000000"
"""Of a critic in training, and of networks trained with one, where a figure sets them apart from all others."""
GAIN_COLORS = "RdBu"  # red below the target, blue above
ORDERED_COLORS = "viridis"  # values of a parameter, from low to high


@dataclass(frozen=True)
class Look:
    """How one family, rival or rater is drawn."""

    color: str
    marker: str
    line: Any


def look_of(name: object) -> Look:
    """The look of a family, rival, critic or judge, which no other has."""
    kinds = {"family": list(FAMILIES), "rival": list(RIVALS), "rater": [*CRITICS, *JUDGES]}
    kind = next((kind for kind, names in kinds.items() if name in names), "rater")
    position = kinds[kind].index(str(name)) if name in kinds[kind] else len(kinds[kind])
    palette, markers = PALETTES[kind], MARKERS[kind]
    line = "--" if kind == "rival" else LINES[position % len(LINES)]
    return Look(palette[position % len(palette)], markers[position % len(markers)], line)


def shades(values: list[Any]) -> dict[Any, Any]:
    """A color for each of several ordered values."""
    places = np.linspace(0, 0.85, len(values))
    return dict(zip(values, mpl.colormaps[ORDERED_COLORS](places).tolist(), strict=True))


def save_figure(figure: Figure, path: str | os.PathLike[str], vector: bool = True) -> Path:
    """Write `figure` as `path` with .png and, if `vector`, .pdf, each whole or not at all; returns the PNG's path."""
    stem = Path(path)
    with mpl.rc_context(STYLE):
        _lay_out(figure)
        with atomic_path(stem.with_suffix(".png")) as temporary:
            FigureCanvasAgg(figure).print_png(temporary, metadata={"Software": None})
        if vector:
            with atomic_path(stem.with_suffix(".pdf")) as temporary:
                FigureCanvasPdf(figure).print_pdf(temporary, metadata={"CreationDate": None, "Producer": None})
    return stem.with_suffix(".png")


def _lay_out(figure: Figure) -> None:
    """Place everything once, for all files; twice would move it. Canvases then draw without `savefig`'s trial run."""
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    figure.dpi = mpl.rcParams["savefig.dpi"]


def svg_of(figure: Figure, name: str) -> str:
    """`figure` as an SVG element for a page; ids begin with `name`, so that several stand in one page."""
    stored = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        _lay_out(figure)
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        FigureCanvasSVG(figure).print_svg(stored, metadata=metadata)
    drawn = stored.getvalue()
    drawn = re.sub(r"<(metadata|\?xml|!DOCTYPE).*?(</metadata>|>)", "", drawn, flags=re.S)
    named = set(re.findall(r"(?:href=\"|url\()#([^\")]+)", drawn))  # only what is referred to keeps its name
    drawn = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in named else "", drawn)
    return re.sub(r"\s*\n\s*", "\n", drawn[drawn.index("<svg") :])


def new_figure(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure with its axes, (rows, columns); sizes in inches a panel."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def require(rows: pd.DataFrame, what: str) -> pd.DataFrame:
    """`rows`, which must not be empty; raises ValueError that names what is missing."""
    if rows.empty:
        raise ValueError(f"Nothing to draw: the tables hold no {what}. Run the study that makes them first.")
    return rows


def error_bars(rows: pd.DataFrame, column: str) -> np.ndarray:
    """Distances from the mean to both ends of the interval across photos; none where it is unknown."""
    bars = [rows[column] - rows[f"{column}_low"], rows[f"{column}_high"] - rows[column]]
    return np.nan_to_num(np.clip(np.array(bars, dtype=float), 0, None))


def legend_below(figure: Figure, axes: np.ndarray, columns: int = 5) -> None:
    """One legend under all panels, each label once."""
    handles: dict[str, Artist] = {}
    for panel in axes.flat:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=columns)
