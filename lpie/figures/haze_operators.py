"""Pictures of haze and of what is left when it is undone, drawn from arrays: (H, W, 3) photos, (H, W) maps."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lpie.figures.style import STYLE

Rows = Mapping[str, Mapping[str, NDArray[np.float32]]]


@mpl.rc_context(STYLE)
def picture_rows(rows: Rows, width: float = 8.0) -> Figure:
    """One row for each photo, one column for each rendition; a map in [0, 1] (a transmission) is drawn in colors."""
    columns = max(len(row) for row in rows.values())
    shapes = [next(iter(row.values())).shape for row in rows.values()]
    heights = [shape[0] / shape[1] for shape in shapes]
    figure = Figure(figsize=(width, width / columns * sum(heights) + 0.3 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    for line, (name, row) in zip(axes, rows.items(), strict=True):
        for axis, (title, picture) in zip(line, row.items(), strict=False):
            axis.imshow(picture, vmin=0, vmax=1, cmap="viridis", interpolation="antialiased")
            axis.set_title(title, fontsize=8)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        line[0].set_ylabel(name.replace(", ", "\n"), fontsize=8)
    return figure
