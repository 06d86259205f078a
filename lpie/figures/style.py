"""How the project's figures look and how they reach the disk.

Colors are told apart by color-blind readers (Okabe and Ito 2008; red to blue for signed values).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from PIL import Image

from lpie.evidence.gains import RIVALS
from lpie.records import atomic_path

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.92",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "pdf.fonttype": 42,
    "svg.hashsalt": "lpie",
}

COLORS = {
    "can24": "#56B4E9",
    "can32": "#0072B2",
    "grid": "#E69F00",
    "parameters": "#009E73",
    "trivial": "#666666",
    "universal": "#D55E00",
    "perturbation": "#CC79A7",
}
MARKERS = {
    "can24": "v",
    "can32": "o",
    "grid": "s",
    "parameters": "D",
    "trivial": "x",
    "universal": "+",
    "perturbation": "*",
}
CRITIC_LINES = {"compact": "-", "ava": ":", "robust": "-."}
CRITIC_COLORS = {
    "compact": "#009E73",
    "ava": "#D55E00",
    "robust": "#E69F00",
    "technical": "#0072B2",
    "oasis": "#CC79A7",
    "niqe": "#666666",
}
RIVAL_PSNR = 30.0  # dB: the rung of the rivals that a table shows
JUDGE_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
GAIN_COLORS = "RdBu"  # red below the target, blue above


def save_figure(
    figure: Figure, path: str | os.PathLike[str], dpi: int | None = None, colors: int | None = None
) -> Path:
    """Write `figure` as `path` with .png and .pdf, each whole or not at all; returns the PNG's path.

    `dpi`: pixels an inch of the PNG, STYLE's if not given. `colors`: the PNG keeps so many of them, at most 256, which
    makes a drawing a third as large; all if not given.
    """
    stem = Path(path)
    with mpl.rc_context(STYLE):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, for both files
        for suffix, metadata in ((".png", {"Software": None}), (".pdf", {"CreationDate": None, "Producer": None})):
            with atomic_path(stem.with_suffix(suffix)) as temporary:
                figure.savefig(temporary, metadata=metadata, dpi=dpi or mpl.rcParams["savefig.dpi"])
                if colors and suffix == ".png":
                    drawn = Image.open(temporary).convert("RGB")
                    drawn.quantize(colors, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(temporary, "PNG")
    return stem.with_suffix(".png")


def new_figure(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure with its axes, (rows, columns); sizes in inches a panel."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def require(rows: pd.DataFrame, what: str) -> pd.DataFrame:
    """`rows`, which must not be empty; raises ValueError that names what is missing."""
    if rows.empty:
        raise ValueError(f"Nothing to draw: the tables hold no {what}. Run the study that makes them first.")
    return rows


def nearest_rivals(table: pd.DataFrame, operator: str, decibels: float) -> pd.DataFrame:
    """Of each rival of `operator` the rung whose PSNR is closest to `decibels`."""
    rivals = table[(table["operator"] == operator) & table["network"].isin(RIVALS)]
    distance = (rivals["psnr"] - decibels).abs()
    return rivals.loc[distance.groupby([rivals["network"], rivals["critic"]], sort=False).idxmin()]


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
