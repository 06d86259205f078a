"""The contents of a report's page: its answer, its claims, the pictures that a reader sees first."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from lpie.evidence import Evidence, labels
from lpie.figures.gains import point_name
from lpie.figures.readable import readable
from lpie.figures.tiles import WITH_CRITIC, WORDS, Group, tile_of
from lpie.networks import FAMILIES

SIGNS = {
    "supported": ("✓", "good"),
    "partly supported": ("◐", "some"),
    "no difference that matters": ("≈", "open"),
    "not supported": ("✗", "bad"),
    "contradicted": ("✗", "bad"),
}
"""Sign and tone of a verdict; any other is open."""

SHEETS = 6  # contact sheets inside the page


def answer(folder: Path, verdicts: pd.DataFrame, recipes: pd.DataFrame) -> str:
    """The question's answer in two sentences: answer.txt of `folder`, where somebody wrote one, else from the tables.

    That is C2's answer, if C1 does not say that it comes without a critic too.
    """
    if (folder / "answer.txt").exists():
        return (folder / "answer.txt").read_text(encoding="utf-8").strip()
    found = dict(zip(verdicts["claim"], verdicts["verdict"], strict=True))
    asked = "C2" if found.get("C1", "not attempted") in ("supported", "partly supported", "not attempted") else "C1"
    lead = {
        "supported": "Yes, by the judges asked here",
        "partly supported": "Sometimes, by the judges asked here",
        "undecided": "These photographs cannot tell",
        "not attempted": "Not measured by these runs",
    }.get(found.get(asked, ""), "No, not by the judges asked here")
    counts = verdicts["verdict"].value_counts()
    text = f"{lead}; of the paper's seven claims, {', '.join(f'{count} {name}' for name, count in counts.items())}."
    chosen = recipes[recipes["chosen"].astype(bool)] if len(recipes) else recipes
    if len(chosen):
        passing = int((chosen["passed"] == chosen["criteria"]).sum())
        text += f" {passing or 'None'} of {len(chosen)} networks trained with a critic, each at the weight that "
        text += "validation photographs chose, passes every test of an enhancement."
    return text


def numbers(answered: pd.DataFrame, weights: pd.DataFrame) -> str:
    """What the answer rests on, in two sentences; empty where there are no references that people made.

    How often C1's cases differ by these references, and what the smallest weight that plainly damages most photographs
    gains by its critic.
    """
    asked = answered[(answered["claim"] == "C1") & (answered["role"] == "human reference")]
    if asked.empty:
        return ""
    within, nearer, farther = (
        int(asked[word].sum()) or "none" for word in ("no difference that matters", "supported", "contradicted")
    )
    text = (
        f"At the weights that validation chose, {_listed(asked['instrument'])} to a person's version change by less "
        f"than their margins in {within} of {int(asked['cases'].sum())} cases; they find the network with a critic "
        f"nearer in {nearer} and farther in {farther}."
    )
    alone = weights[weights["gamma"] == 0].set_index(["operator", "network"])
    beside = weights[weights["gamma"] > 0].join(alone.add_suffix("_alone"), on=["operator", "network"])
    damaged = beside[(beside["plain"] > 0.5) & (beside["plain_alone"] < 0.5)]  # what the critic did, to most of them
    for row in damaged.sort_values(["gamma", "plain"], ascending=[True, False]).head(1).to_dict("records"):
        gain = row[f"score_{row['critic']}"] - row[f"score_{row['critic']}_alone"]
        text += (
            f" At {row['gamma']:g} the critic {row['critic']} likes {labels.network_label(row['network'])} better by "
            f"{gain:.2f}, and {row['plain']:.0%} of photographs are plainly damaged "
            f"({row['plain_alone']:.0%} without it)."
        )
    return text


def seen(folder: Path) -> str:
    """What was seen at full size, by seen.csv: a row per photograph, a column per network, `clean` or what is wrong."""
    if not (folder / "seen.csv").exists():
        return ""
    table = pd.read_csv(folder / "seen.csv").set_index("photograph")
    clean = _listed([f"{name} on {(found == 'clean').sum()}" for name, found in table.items()])
    return f"Of {len(table)} photographs looked at in full size, these were found clean: {clean}."


def _listed(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def claims(verdicts: pd.DataFrame, groups: list[Group]) -> list[dict[Hashable, Any]]:
    """Each claim with its verdict as word, sign and tone, its figures and two photographs behind it."""
    rows: list[dict[Hashable, Any]] = []
    for row in verdicts.fillna("").to_dict("records"):
        sign, tone = SIGNS.get(row["verdict"], ("?", "open"))
        words = WORDS["claims"].get(row["claim"], {"short": "", "figures": [], "pairs": []})
        shown = {"short": words["short"], "figures": words["figures"], "pair": _pair(words["pairs"], groups)}
        texts = {key: re.sub(r"(?<!\w)-(?=\d)", "−", str(text)) for key, text in row.items()}  # a true minus
        rows.append(texts | {"sign": sign, "tone": tone} | shown)
    return rows


def _pair(pairs: list[list[str]], groups: list[Group]) -> dict[str, Any] | None:
    """The first group that has the two tiles of one of `pairs`, and these."""
    for (name, *wanted), group in product(pairs, groups):
        tiles = {tile.label: tile for tile in group.tiles}
        if name in ("", group.name) and set(wanted) <= set(tiles):
            return {"group": group, "tiles": [tiles[label] for label in wanted]}
    return None


def instruments(folder: Path) -> dict[str, Any] | None:
    """The section on instruments: table, text, votes, contact sheets; None where there is no table.

    Files of `folder`: instruments.csv and .txt, people.csv, contact/*.webp with contact/captions.csv (file, caption,
    alt), of which SHEETS are shown.
    """
    if not (folder / "instruments.csv").exists():
        return None
    words, people, captions = folder / "instruments.txt", folder / "people.csv", folder / "contact" / "captions.csv"
    sheets = (
        pd.read_csv(captions).head(SHEETS) if captions.exists() else pd.DataFrame(columns=["file", "caption", "alt"])
    )
    table = pd.read_csv(folder / "instruments.csv")
    texts = words.read_text(encoding="utf-8").strip().split("\n\n") if words.exists() else []
    return {
        "table": readable(table),
        "paragraphs": [*_who_sees_damage(table), *texts],
        "people": readable(pd.read_csv(people)) if people.exists() else "",
        "sheets": [
            tile_of((folder / "contact" / row["file"]).read_bytes(), f"sheet-{place}", row["caption"], row["alt"], [])
            for place, row in enumerate(sheets.astype(str).to_dict("records"))
        ],
    }


def _who_sees_damage(table: pd.DataFrame) -> list[str]:
    """Which instruments show that they see damage, in a sentence; none where they were not asked."""
    asked = table[table["question"] == "damage seen"] if "question" in table else table.head(0)
    if asked.empty:
        return []
    seeing = asked.loc[asked["shows"].astype(bool), "label"]
    shares = [
        f"{row['label']} {row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        for row in asked[asked["instrument"].isin(["technical", "niqe"])].to_dict("records")
    ]
    return [
        "Damage that was added on purpose, shown beside the rendition without it, is seen reliably by "
        f"{len(seeing)} of {len(asked)} instruments: {', '.join(seeing) or 'none'}. Shares "
        f"of pairs that are ordered correctly: {', '.join(shares)}; chance is 0.5, and for a veto the lower end "
        "must exceed 0.75."
    ]


def sliders(groups: list[Group]) -> list[dict[str, Any]]:
    """The pictures that a reader sees first: those of words.toml where their scenes are there, else kept crops."""
    found = []
    for scene, right, title, text in (slider.values() for slider in WORDS["sliders"]):
        tiles = [tile for group in groups if group.name == f"scene-{scene}" for tile in group.tiles]
        for chosen in (tile for tile in tiles if tile.name == f"{scene}-{right}" and len(tiles) > 2):
            family = chosen.label.split(",")[0]
            others = [tile for tile in tiles if tile is not chosen]
            left = [tile for tile in others if tile.label in ("the operator", "as it came")]
            left += [tile for tile in others if "no critic" in tile.label and tile.label.startswith(family)]
            left.sort(key=lambda tile: tile.label != "the operator")
            found.append({"title": title, "text": text, "left": left, "right": chosen})
    for group in groups if not found else []:
        tiles_by_label = {tile.label: tile for tile in group.tiles}
        if WITH_CRITIC in tiles_by_label and len(found) < 3:
            left = [tiles_by_label[label] for label in ("target", "L2", "input") if label in tiles_by_label]
            text = f"A crop of a test photograph. The target is what the network learned to make of it. {group.text}"
            found.append({"title": group.title, "text": text, "left": left, "right": tiles_by_label[WITH_CRITIC]})
    return found


def points(evidence: Evidence, groups: list[Group]) -> list[dict[str, Any]]:
    """A card for every point of the frontier: what it is, its scores, and its kept crop where there is one."""
    pictures = {tile.name: tile for group in groups for tile in group.tiles}
    columns = ["operator", "network", "objective", "gamma"]
    runs = evidence.runs.groupby(columns, sort=False)["run"].agg(list)
    cards = []
    for _, row in evidence.frontier[evidence.frontier["network"].isin(list(FAMILIES))].iterrows():
        kept = [pictures[f"crop-{run}"] for run in runs[tuple(row[columns])] if f"crop-{run}" in pictures]
        gains = ", ".join(f"{name} {row[f'gain_{name}']:+.2f}" for name in (*evidence.critics, *evidence.judges)
                          if pd.notna(row[f"gain_{name}"]))  # fmt: skip
        objective = labels.objective_label(row["fidelity"], row["critic"], row["gamma"])
        cards.append({"name": point_name(row), "title": f"{labels.network_label(row['network'])}, {objective}",
                      "picture": kept[0] if kept else None,
                      "text": f"{row['psnr']:.1f} dB, SSIM {row['ssim']:.3f}. Gains: {gains}."
                      + ("" if kept else " No picture of it was kept.")})  # fmt: skip
    return cards
