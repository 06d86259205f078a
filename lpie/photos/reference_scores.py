"""Where a mean score lies among those of reference photographs, because people expect 9 and critics say 5.

`lpie critic reference-scores` scores the reference photographs (the test half of BSDS500, and Kodak's) with every
critic that can be loaded, and writes the table `reference_scores.json`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lpie.critic.nima import NIMA

TABLE = Path(__file__).with_name("reference_scores.json")
FOLDERS = ("bsds500/test", "kodak24")
CRITICS = ("compact", "ava", "robust", "technical")
PERCENTS = np.arange(0, 101, 2)


@dataclass(frozen=True)
class ReferenceScores:
    """One critic's mean scores over the reference photographs: how many, and their 0th, 2nd, ... 100th percentile."""

    count: int
    percentiles: tuple[float, ...]

    @classmethod
    def of(cls, name: str, critic: NIMA) -> ReferenceScores | None:
        """The table's row for `critic`, if it was made with these very weights and this convention."""
        row = reference_table()["critics"].get(name)
        if row is None or row["fingerprint"] != fingerprint(critic):
            return None
        return cls(reference_table()["photographs"], tuple(row["percentiles"]))

    def percentile(self, mean: float) -> float:
        """Percentage of the reference photographs with a lower mean score, in [0, 100]."""
        return float(np.interp(mean, self.percentiles, PERCENTS))

    @property
    def median_note(self) -> str:
        """One sentence on where the scores lie."""
        low, median, high = np.interp([10, 50, 90], PERCENTS, self.percentiles)
        return f"Their means: median {median:.1f}, eight of ten between {low:.1f} and {high:.1f}."


def fingerprint(critic: NIMA) -> str:
    """Sixteen hex digits of the critic's settings and weights."""
    digest = hashlib.sha256(json.dumps(critic.metadata(), sort_keys=True).encode())
    for name, tensor in sorted(critic.network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


@cache
def reference_table() -> dict[str, Any]:
    """What `lpie critic reference-scores` wrote; empty where the package came without it."""
    return json.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {"photographs": 0, "critics": {}}
