"""Widgets for JupyterLab: an enhancer's settings on a photo of one's own, a critic's weight on kept crops.

Widgets are drawn once when they are made, so that a notebook with them runs from top to bottom without a front end.
"""

from lpie.extras import require

require("lab")

from lpie.explore.ladder import explore_gamma  # noqa: E402 - after what it needs is known to be there
from lpie.explore.playground import Playground  # noqa: E402

__all__ = ["Playground", "explore_gamma"]
