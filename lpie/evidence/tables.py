"""Tables for readers: the headline, the ladder, the confirmation on fresh photographs, training time."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lpie.evidence import labels
from lpie.evidence.comparisons import comparisons
from lpie.evidence.evidence import Evidence
from lpie.evidence.gains import CONFIGURATION, photo_gains
from lpie.evidence.recipe import recipe_table
from lpie.networks import FAMILIES


def headline(evidence: Evidence) -> pd.DataFrame:
    """The table for readers: each objective with PSNR, and the gains with their widest interval.

    An interval is across seeds where there are several, else across photos.
    """
    front, critics, judges = evidence.frontier, evidence.critics, evidence.judges
    rows = []
    for _, row in front[front["network"].isin(list(FAMILIES))].iterrows():
        kind = "seed_" if row["n_seeds"] > 1 else ""
        plain = evidence.rows(row).get("unexplained", pd.Series(dtype=float)) > evidence.criteria.most_unexplained
        entry = {
            "operator": labels.operator_label(row["operator"]),
            "network": labels.network_label(row["network"]),
            "objective": labels.objective_label(row["fidelity"], row["critic"], row["gamma"]),
            "seeds": row["n_seeds"],
            "PSNR (dB)": f"{row['psnr']:.2f}" + _half(row, "psnr", kind),
            "SSIM": f"{row['ssim']:.3f}",
            "MS-SSIM": f"{row['ms_ssim']:.3f}",
            "LPIPS": f"{row['lpips']:.3f}" if pd.notna(row.get("lpips")) else "",
            "ColorVideoVDP": f"{row['cvvdp']:.2f}" if pd.notna(row.get("cvvdp")) else "",
            "unexplained": f"{row['unexplained']:.3f}" if pd.notna(row.get("unexplained")) else "",
            "plainly changed": f"{100 * plain.mean():.0f} %" if pd.notna(row.get("unexplained")) else "",
            "color shift": f"{row['color_shift']:.2f}",
            "fine detail": f"{row['detail_energy']:.2f}",
        }
        for name in (*critics, *judges):
            gain = f"{row[f'gain_{name}']:+.3f}".replace("-0.000", "+0.000") + _half(row, f"gain_{name}", kind)
            entry[name] = gain if pd.notna(row[f"gain_{name}"]) else ""
        rows.append(entry)
    table = pd.DataFrame(rows)
    return table.drop(columns=[name for name in table if table[name].eq("").all()])  # what was measured of none


def _half(row: pd.Series, column: str, kind: str) -> str:
    half = (row[f"{column}_{kind}high"] - row[f"{column}_{kind}low"]) / 2
    return f" ± {half:.3f}" if pd.notna(half) else ""


def ladder(evidence: Evidence) -> pd.DataFrame:
    """What each weight of a critic does to the photographs that choose: means of L2 with the first seed.

    `plain`: the share of them with plain unexplained change.
    """
    rows = photo_gains(evidence.runs, evidence.scores, "validation")
    rows = rows[
        (rows["fidelity"] == "l2") & (rows["seed"] == rows["seed"].min()) & rows["network"].isin(list(FAMILIES))
    ]
    raters = [f"score_{name}" for name in (*evidence.critics, *evidence.judges)]
    measures = [name for name in ("psnr", "ms_ssim", "cvvdp", "unexplained", *raters) if name in rows]
    plain = rows.get("unexplained", pd.Series(0.0, rows.index)) > evidence.criteria.most_unexplained
    return (
        rows.assign(plain=plain).groupby(CONFIGURATION, sort=False)[[*measures, "plain"]].mean().round(4).reset_index()
    )


def confirmation_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """On fresh photographs: the recipe's criteria as `confirmation`, headline and comparisons under names like it."""
    evidence = Evidence.read(folder / "confirmation")
    return {
        "confirmation": recipe_table(evidence).drop(columns="chosen"),  # nothing is chosen there
        "confirmation_headline": headline(evidence),
        "confirmation_comparisons": comparisons(evidence, evidence.trained_with_critic),
    }


def time_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Training time by operator, network and device: runs, seconds each and minutes in all."""
    timed = runs.dropna(subset=["seconds"])
    groups = timed.groupby(["operator", "network", "device"], sort=False)["seconds"]
    return pd.DataFrame(
        {"runs": groups.size(), "seconds_each": groups.mean().round(1), "minutes": (groups.sum() / 60).round(1)}
    ).reset_index()


def markdown(table: pd.DataFrame) -> str:
    """The table in Markdown's pipe notation."""
    lines = [list(map(str, table.columns)), ["---"] * table.shape[1]]
    lines += [[str(value).replace("|", "\\|") for value in row] for row in table.itertuples(index=False)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
