"""Figures of the operators: curves from the tables of `tone_checks`, pictures in rows."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lpie.figures.style import STYLE, new_figure, shades

Rows = Mapping[str, Mapping[str, NDArray[np.float32]]]
"""By photo, then by title: pictures (H, W, 3) and maps (H, W)."""
WIDTH = 8.0  # inches, of rows of pictures
BOUND = 2e-3  # error against the definition that is asked of the default number of centers; alpha 0.25 exceeds it


@mpl.rc_context(STYLE)
def remap_figure(curves: pd.DataFrame) -> Figure:
    """How values are remapped about one center, a panel for each parameter."""
    figure, axes = new_figure(1, 3, 3.2, 2.9, sharey=True)
    for panel, (name, rows) in zip(axes[0], curves.groupby("parameter", sort=False), strict=True):
        colors = shades(sorted(rows["value"].unique()))
        for value, curve in rows.groupby("value"):
            panel.plot(curve["before"], curve["after"], color=colors[value], label=f"{name} = {value:g}")
        panel.plot([0, 1], [0, 1], color="0.7", linewidth=0.8, zorder=0)
        panel.set(xlabel="value", title=str(name), aspect="equal", ylim=(-0.05, 1.05))
        panel.legend(fontsize=7, loc="upper left")
    axes[0, 0].set_ylabel("remapped about 0.5")
    return figure


@mpl.rc_context(STYLE)
def step_figure(profiles: pd.DataFrame) -> Figure:
    """A step edge with texture, before and after."""
    figure, axes = new_figure(1, 1, 6.4, 2.6)
    colors = shades(list(dict.fromkeys(profiles["what"])))
    for what, rows in profiles.groupby("what", sort=False):
        axes[0, 0].plot(rows["place"], rows["value"], color=colors[what], label=str(what))
    axes[0, 0].set(xlabel="pixel", ylabel="luma")
    axes[0, 0].legend(loc="upper left")
    return figure


@mpl.rc_context(STYLE)
def error_figure(errors: pd.DataFrame, default: int) -> Figure:
    """Largest error against the definition over all crops, by number of centers."""
    figure, axes = new_figure(1, 1, 5.2, 3.4)
    panel = axes[0, 0]
    settings = errors.groupby(["alpha", "beta", "sigma_r"], sort=False)
    colors = shades(list(settings.groups))
    for (alpha, beta, sigma_r), rows in settings:
        worst = rows.groupby("samples")["max"].max()
        label = f"alpha {alpha:g}, beta {beta:g}, sigma_r {sigma_r:g}"
        panel.loglog(worst.index, worst, "o-", color=colors[alpha, beta, sigma_r], markersize=4, label=label)
    panel.axhline(BOUND, color="0.4", linewidth=0.8, linestyle="--")
    panel.axvline(default, color="0.4", linewidth=0.8, linestyle=":")
    panel.annotate("default", (default, panel.get_ylim()[0]), (3, 3), textcoords="offset points", fontsize=7)
    panel.set_xticks(sorted(errors["samples"].unique()), labels=sorted(errors["samples"].unique()))
    panel.minorticks_off()
    panel.set(xlabel="centers K", ylabel="largest error, luma in [0, 1]")
    panel.legend(fontsize=7)
    return figure


@mpl.rc_context(STYLE)
def picture_rows(rows: Rows) -> Figure:
    """One row for each photo, one column for each rendition; a map in [0, 1] (a transmission) is drawn in colors."""
    columns = max(len(row) for row in rows.values())
    shapes = [next(iter(row.values())).shape for row in rows.values()]
    heights = [shape[0] / shape[1] for shape in shapes]
    figure = Figure(figsize=(WIDTH, WIDTH / columns * sum(heights) + 0.3 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    for line, (name, row) in zip(axes, rows.items(), strict=True):
        for axis, (title, picture) in zip(line, row.items(), strict=False):
            axis.imshow(picture, vmin=0, vmax=1, cmap="viridis", interpolation="antialiased")
            axis.set_title(title, fontsize=8)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        line[0].set_ylabel(name.replace(", ", "\n"), fontsize=8)
    return figure
