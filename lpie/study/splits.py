"""Which photographs train, which choose and which report, where no published split says so."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Literal

Split = Literal["train", "validation", "test"]

DEMO_SPLITS: dict[str, Split] = {
    "astronaut": "train",
    "chelsea": "train",
    "flower": "train",
    "coffee": "validation",
    "china": "test",
    "rocket": "test",
    "motorcycle": "test",
}


def real_haze_split(stem: str) -> Split:
    """The split of a real hazy photograph; every version of a scene falls on the same side."""
    scene = re.sub(r"^\w+?__|_input|_skyLess|_cropped|deserted|OfA$", "", stem).lower()
    if scene in ("cityscape", "forest"):  # known_airlight holds them, and it reports
        return "test"
    draw = int(hashlib.sha256(scene.encode()).hexdigest(), 16) % 3
    return ("train", "validation", "test")[draw]


def split_by_rank(stems: Sequence[str], sizes: Mapping[Split, int]) -> dict[str, Split]:
    """The split of each photograph: the order of the SHA-256 of its name deals them out, the rest is `test`."""
    ranked = iter(sorted(stems, key=lambda stem: hashlib.sha256(stem.encode()).hexdigest()))
    splits: dict[str, Split] = {stem: split for split, size in sizes.items() for stem in islice(ranked, size)}
    return splits | dict.fromkeys(ranked, "test")
