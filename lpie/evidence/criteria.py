"""The bounds that a study sets before it runs: for choosing weights, for an enhancement, for the claims."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path

from lpie.judges import JUDGES


@dataclass(frozen=True)
class Criteria:
    """Bounds for an enhancement, and for the choice of a weight."""

    safe_gain: float = 0.35  # of the critic's score, looked for on validation photos, so that enough remains on others
    lowest_psnr: float = 20.0  # dB on validation photos, below which a weight is not considered
    most_lost: float = math.inf  # dB on validation photos to the network without a critic, above which neither
    enough_gain: float = 0.30  # of the critic's score over the target
    judge_slack: float = -0.02  # the lowest bound of a judge's gain that still counts as not below the target
    surviving_share: float = 0.80  # of the gain, after each transformation
    least_detail: float = 0.8  # of the target's fine-detail energy
    most_detail: float = 1.3
    largest_color_shift: float = 6.0  # CIEDE2000 to the target, on average
    most_unexplained: float = JUDGES["unexplained"].plain  # share of the area
    fidelity_slack: float = 1.0  # dB of PSNR that may be lost while fidelity still counts as kept

    @classmethod
    def read(cls, folder: Path) -> Criteria:
        """Those in `criteria` of the folder's study.json, and defaults for the others.

        Raises ValueError for an unknown criterion.
        """
        path = Path(folder) / "study.json"
        stored = json.loads(path.read_text(encoding="utf-8")).get("criteria", {}) if path.exists() else {}
        unknown = set(stored) - {field.name for field in fields(cls)}
        if unknown:
            known = ", ".join(field.name for field in fields(cls))
            raise ValueError(f"{path}: unknown criteria {', '.join(sorted(unknown))}; there are {known}.")
        return cls(**stored)


DEFAULTS = Criteria()
