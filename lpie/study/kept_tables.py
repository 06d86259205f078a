"""What the notebooks on operators show: tables that are computed once or cannot be, and pictures to be drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from lpie.records import write_csv
from lpie.registry import data_root
from lpie.study.dependencies import PACKAGE, reachable, source_digests
from lpie.study.settings import Profile, digest_of
from lpie.study.targets import operator_source

Found = TypeVar("Found")
Rows = dict[str, dict[str, NDArray[np.float32]]]
"""Rows of pictures with their titles, as `figures.picture_rows` draws them."""


def pixels(photo: Tensor) -> NDArray[np.float32]:
    """One photo as it is drawn: (H, W, 3), or (H, W) of a single channel."""
    return photo[0].clamp(0, 1).permute(1, 2, 0).squeeze(-1).numpy()


def kept(folder: Path, name: str, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """The table that `compute` makes, read back from the results folder where the same code has made it there."""
    checks = source_digests(reachable({PACKAGE / "study" / "tone_checks.py", PACKAGE / "study" / "haze_checks.py"}))
    path = folder / "targets" / f"{name}-{digest_of([checks, operator_source()])}.csv"
    if not path.exists():
        write_csv(path, compute())
    return pd.read_csv(path)


def if_available(check: Callable[[], Found], profile: Profile) -> Found | str:
    """What `check` finds, or one sentence that says why its photographs are not to be had here.

    They are downloaded only for profiles that use the registry's photographs.
    """
    if data_root() is None and all(rows.set in ("", "demo") for rows in profile.photographs):
        return "Not shown in this profile: its photographs would be downloaded. Set LPIE_DATA, or use profile study."
    try:
        return check()
    except (FileNotFoundError, ConnectionError) as reason:
        return f"Not shown, its photographs are not here: {reason}"
