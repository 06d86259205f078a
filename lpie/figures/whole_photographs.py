"""The section of a report about networks trained on whole photographs: its short answer and its table, from CSV files.

Every number and every verdict is read from `comparisons.csv`, `test.csv` and `runs.csv` of the folder,
which `lpie.evidence.margins` and the study wrote; the words between them are ours.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pandas as pd

from lpie.evidence.margins import MARGINS

LARGE = "-1024px"  # ends the names of photographs that are rendered at 1024 px also
GAIN, CHOSEN, ROBUST = "CAN24 + 0.0003 compact to L2", "CAN24 + 0.001 compact to L2", "CAN24 + 0.003 robust to L2"
COLUMNS = {
    "psnr": "PSNR (dB)",
    "score_compact": "compact",
    "score_ava": "ava",
    "score_robust": "robust",
    "score_technical": "technical",
    "score_niqe": "niqe",
    "expert_c": "farther from expert C",
}
"""Measures of the table, and what readers call them."""
SIGNS = {"better": "✓", "worse": "✗", "no difference that matters": "≈", "undecided": "?"}
"""Answers against a margin, and how the table writes them."""


class WholePhotographs:
    """The numbers, sentences and table that the page takes from the folder's tables."""

    def __init__(self, folder: Path) -> None:
        """Read the tables; raises FileNotFoundError for one that is missing."""
        self.compared = pd.read_csv(folder / "comparisons.csv")
        self.test, self.runs = pd.read_csv(folder / "test.csv"), pd.read_csv(folder / "runs.csv")
        self.seen = pd.read_csv(folder / "seen.csv").set_index("photograph")
        self.rule = tomllib.loads((folder / "plan.toml").read_text(encoding="utf-8"))["weights"]["rule"]
        fresh = self.compared[self.compared["photographs"] == "confirmation"]
        self.counts = {
            "networks": len(self.runs),
            "photos": int(self.compared["photos"].max() if fresh.empty else fresh["photos"].max()),
            "renditions": int(self.test["photo"].nunique()),
            "expert_c": int(self._row(GAIN, "expert_c", "test")["photos"]),
            "at_512": int((~self.test["photo"].drop_duplicates().str.endswith(LARGE)).sum()),
        }

    def found(self, label: str, measure: str, photographs: str = "test", interval: bool = False) -> str:
        """A difference as people write it, such as +0.07, with its interval if asked for."""
        mean, low, high = _numbers(self._row(label, measure, photographs)["difference"])
        return f"{_signed(mean)} [{_plain(low)}, {_plain(high)}]" if interval else _signed(mean)

    def verdict(self, label: str, measure: str, photographs: str = "test") -> str:
        """The answer against the margin that was set before."""
        return str(self._row(label, measure, photographs)["answer"])

    def closeness(self) -> tuple[str, str]:
        """Mean PSNR (dB) at 512 px with L2 alone of the two networks trained longest: CAN24 and CAN32."""
        small = self.test[~self.test["photo"].str.endswith(LARGE)]
        long = self.runs[(self.runs["objective"] == "l2") & (self.runs["steps"] == self.runs["steps"].max())]
        means = small.groupby("run")["psnr"].mean()
        can24, can32 = (means[long.loc[long["network"] == name, "run"]].max() for name in ("can24", "can32"))
        return f"{can24:.1f}", f"{can32:.1f}"

    def numbers(self) -> str:
        """What the short answer rests on."""
        gain = {name: self.found(GAIN, f"score_{name}") for name in ("compact", "ava", "technical")}
        fresh = self.found(GAIN, "score_technical", "confirmation")
        worse = _signed(-_numbers(self._row(CHOSEN, "score_niqe", "test")["difference"])[0]).lstrip("+")
        return (
            f"In points of 10, against the network without a critic: {gain['compact']} by that critic, {gain['ava']} "
            f"by the network that the critic was made from, {gain['technical']} by the technical judge, not known to "
            f"agree with people ({fresh} on {self.counts['photos']} fresh photographs); with three times the weight "
            f"NIQE gets worse by {worse}."
        )

    def clean(self) -> dict[str, int]:
        """On how many of the photographs that were looked at in full size each network is clean."""
        return {str(name): int((seen == "clean").sum()) for name, seen in self.seen.items()}

    def robust(self) -> str:
        """The answers about a critic that is hard to fool, on every measure that has a margin."""
        judged = {measure: self.verdict(ROBUST, measure) for measure in MARGINS}
        if set(judged.values()) == {"no difference that matters"}:
            return "no difference that matters on technical, niqe or expert C"
        return ", ".join(f"{COLUMNS[measure]} {verdict}" for measure, verdict in judged.items())

    def table(self) -> pd.DataFrame:
        """A row for every comparison, test before fresh photographs: differences, with intervals where judged."""
        rows = []
        for (photographs, label), group in self.compared.groupby(["photographs", "label"], sort=False):
            kind = "fresh" if photographs == "confirmation" else str(photographs)
            cells = {"difference of": str(label), "photographs": kind, **dict.fromkeys(COLUMNS.values(), "")}
            for row in group[group["measure"].isin(list(COLUMNS))].to_dict("records"):
                mean, low, high = _numbers(row["difference"])
                judged = f" [{_plain(low)}, {_plain(high)}] {SIGNS[row['answer']]}" if row["answer"] in SIGNS else ""
                cells[COLUMNS[row["measure"]]] = _signed(mean) + judged
            rows.append(cells)
        return pd.DataFrame(rows)

    def _row(self, label: str, measure: str, photographs: str) -> Any:
        named = self.compared["label"].str.startswith(label) & (self.compared["photographs"] == photographs)
        return self.compared[named & (self.compared["measure"] == measure)].iloc[0]


def _numbers(difference: str) -> list[float]:
    """Mean, low and high of a difference such as `+0.071 [+0.048, +0.095]`."""
    return [float(number) for number in re.findall(r"[+-]\d+(?:\.\d+)?", difference)]


def _signed(value: float) -> str:
    return "0.00" if abs(value) < 0.005 else f"{value:+.2f}".replace("-", "−")


def _plain(value: float) -> str:
    return "0.00" if abs(value) < 0.005 else f"{value:.2f}".replace("-", "−")
