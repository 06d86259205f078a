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
        self.rule = tomllib.loads((folder.parent / "plan.toml").read_text(encoding="utf-8"))["weights"]["rule"]
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

    def answer(self) -> str:
        """The short answer, for the first screen."""
        gain = {name: self.found(GAIN, f"score_{name}") for name in ("compact", "ava", "technical")}
        fresh = self.found(GAIN, "score_technical", "confirmation")
        worse = _signed(-_numbers(self._row(CHOSEN, "score_niqe", "test")["difference"])[0])  # scores hold minus NIQE
        return (
            f"Hardly: with a small weight of its critic, the paper's own network gains {gain['compact']} of 10 points "
            f"by that critic, {gain['ava']} by another and {gain['technical']} by a judge that took no part ({fresh} "
            f"on {self.counts['photos']} fresh photographs), which can hardly be seen. With three times that weight it "
            f"weaves a pattern into plain places (NIQE, where less is better, {worse}), and bilateral grids paint "
            "bands and smears that the critic likes."
        )

    def looks(self) -> str:
        """On how many of the photographs that a person looked at, at full size, each network is clean."""
        clean = self.seen.apply(lambda column: column.str.startswith("clean").sum())
        told = ", ".join(f"{name} {count}" for name, count in clean.items())
        return f"{len(self.seen)} photographs were looked at in full size; each network is clean on so many: {told}."

    def details(self) -> list[str]:
        """What else a reader must know before the table."""
        can24, can32 = self.closeness()
        judged = {measure: self.verdict(ROBUST, measure) for measure in MARGINS}
        said = ", ".join(f"{COLUMNS[measure]} {verdict}" for measure, verdict in judged.items())
        if set(judged.values()) == {"no difference that matters"}:
            said = "no difference that matters on technical, niqe or expert C"
        technical, niqe, expert = (self.found(GAIN, measure, interval=True) for measure in MARGINS)
        fresh = {name: self.found(GAIN, f"score_{name}", "confirmation", True) for name in ("technical", "niqe")}
        return [
            f"Fair training first: with L2 alone, CAN24 reaches {can24} dB to the operator and CAN32 {can32} dB "
            f"({self.counts['at_512']} photographs at 512 px). Trained on crops, as for the seven claims, CAN24 falls "
            "apart on whole photographs.",
            f"{self.looks()} CAN24 draws lines and grain into plain skies and walls, with L2 alone as much as with a "
            "little of the critic, and no number here objects.",
            f"At 0.0003 compact: technical {technical} on test photographs and {fresh['technical']} on fresh ones, "
            f"against a margin of {MARGINS['score_technical']} ({self.verdict(GAIN, 'score_technical')}); niqe {niqe} "
            f"and {fresh['niqe']}; expert C {expert} CIEDE2000 farther. This weight is exploratory: two of its three "
            "seeds were trained after the test table of the first had been seen.",
            f"At 0.003 robust: {said}, and little gain ({self.found(ROBUST, 'score_robust')} by that critic, "
            f"{self.found(ROBUST, 'score_ava')} by the AVA network). The rule: {self.rule}.",
        ]

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
