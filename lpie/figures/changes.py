"""What was done to the pictures, drawn from the tables and the kept crops: comparison, spectrum, survival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from lpie.evidence import Evidence, labels
from lpie.evidence.gains import CONFIGURATION, RIVALS
from lpie.evidence.results import crop_path, cropped_photos
from lpie.figures.style import (
    STYLE,
    legend_below,
    look_of,
    nearest_rivals,
    new_figure,
    require,
    save_picture,
)

AMPLIFIED = 4  # how much the change of the last tile is enlarged about middle gray
TILES = 5  # in a row
PHOTOS_COMPARED = 1  # in a comparison figure


@mpl.rc_context(STYLE)
def comparison_figure(evidence: Evidence, operator: str, network: str, photos: Sequence[str] | None = None) -> Figure:
    """The same crop as input, target and every rendition of `network`, with the whole photo's scores beneath.

    Of the critics the first with a chosen weight is shown. The last tile is L2 + NIMA minus L2, enlarged, about gray.
    A rendition that was not trained or not kept is an empty tile that says so; missing input or target is an error.
    """
    chosen, folder = evidence.chosen, kept_in(evidence)
    ours = chosen[(chosen["operator"] == operator) & (chosen["network"] == network)]
    tiles = rendition_runs(evidence, operator, network)
    shown = list(photos or photos_to_compare(evidence, tiles))
    if not shown:
        raise ValueError(f"No crop of {tiles['target']} is kept in {folder}: run_studies keeps them.")
    rows_each = -(-(len(tiles) + 1) // TILES)
    figure, axes = new_figure(rows_each * len(shown), TILES, 1.62, 2.36)
    for block, photo in enumerate(shown):
        places = axes[block * rows_each : (block + 1) * rows_each].ravel()
        for place, (title, run) in zip(places, tiles.items(), strict=False):
            crop = crop_path(folder, run, photo) if run else None
            pixels = np.asarray(Image.open(crop)) if crop and crop.exists() else None
            _draw_tile(place, title, pixels, "no crop kept" if run else "not trained")
            if run:
                place.set_xlabel(_score_lines(evidence, run, photo), fontsize=6.8, linespacing=1.25)
        _draw_change(places[len(tiles)], folder, tiles["L2"], tiles["L2 + NIMA"], photo)
        for place in places[len(tiles) + 1 :]:
            place.set_axis_off()
    note = f", critic: {ours['critic'].iloc[0]}, gamma {ours['gamma'].iloc[0]:g}" if len(ours) else ""
    figure.suptitle(f"{labels.operator_label(operator)}, {labels.network_label(network)}{note}", fontsize=10)
    return figure


def kept_in(evidence: Evidence) -> Path:
    """The folder with the crops of `evidence`; raises ValueError when it came without one."""
    if evidence.folder is None:
        raise ValueError("This evidence came without its folder, where crops are kept: use Evidence.read(folder).")
    return evidence.folder


def photos_to_compare(evidence: Evidence, tiles: Mapping[str, str]) -> list[str]:
    """Of the photos with a kept crop, those that the operator itself changes most."""
    kept, scores = cropped_photos(kept_in(evidence), tiles["target"]), evidence.scores
    psnr = scores[scores["run"] == tiles["input"]].set_index("photo")["psnr"].reindex(kept)
    return [str(photo) for photo in psnr.sort_values(kind="stable").index[:PHOTOS_COMPARED]]


def draw_comparisons(evidence: Evidence, operator: str) -> list[Path]:
    """`comparison_figure` of every network trained for `operator`, written to the folder's figures; their paths."""
    return [
        save_picture(
            comparison_figure(evidence, operator, network),
            kept_in(evidence) / "figures" / f"comparison-{operator}-{network}",
        )
        for network in evidence.families(operator)
    ]


def rendition_runs(evidence: Evidence, operator: str, network: str) -> dict[str, str]:
    """The run behind each tile of the comparison, empty where there is none.

    Of each objective the first seed of which the folder keeps a crop, else the first.
    """
    runs, folder = evidence.runs, kept_in(evidence)
    chosen = evidence.chosen.query("operator == @operator and network == @network")
    references = runs[runs["operator"] == operator].set_index("network")["run"]
    for name in ("input", "target"):
        if name not in references:
            raise ValueError(f"The {name} of {operator} was not evaluated: run_studies does it.")
    first = runs[(runs["operator"] == operator) & (runs["network"] == network)].sort_values("seed")
    critic = chosen["critic"].iloc[0] if len(chosen) else ""
    weights = chosen.loc[chosen["critic"] == critic, "gamma"]
    tiles = {name: str(references[name]) for name in ("input", "target")}
    for fidelity, row in labels.FIDELITIES.items():
        plain = first[(first["fidelity"] == fidelity) & (first["gamma"] == 0)]["run"]
        tiles[row.label] = first_kept(folder, plain)
    for fidelity in ("l1", "l2"):
        taught = first[(first["fidelity"] == fidelity) & (first["critic"] == critic) & first["gamma"].isin(weights)][
            "run"
        ]
        tiles[f"{labels.fidelity_label(fidelity)} + NIMA"] = first_kept(folder, taught)
    return tiles


def first_kept(folder: Path, runs: pd.Series) -> str:
    """The first of `runs` of which `folder` keeps a crop, else the first; empty where there is none."""
    return next((run for run in runs if cropped_photos(folder, run)), runs.iloc[0] if len(runs) else "")


def _draw_tile(panel: Axes, title: str, pixels: np.ndarray | None, absent: str) -> None:
    panel.set_title(title, fontsize=9, weight="bold" if "NIMA" in title else "normal", pad=3)
    panel.set_xticks([])
    panel.set_yticks([])
    panel.spines[:].set_visible(pixels is None)
    if pixels is None:
        panel.text(0.5, 0.5, absent, ha="center", va="center", color="0.4", transform=panel.transAxes)
        panel.set_box_aspect(1)
    else:
        panel.imshow(pixels)


def _draw_change(panel: Axes, folder: Path, plain: str, taught: str, photo: str) -> None:
    paths = [crop_path(folder, run, photo) for run in (taught, plain) if run]
    title = f"change by NIMA, x{AMPLIFIED}"
    if len(paths) == 2 and all(path.exists() for path in paths):
        ours, theirs = (np.asarray(Image.open(path)).astype(float) for path in paths)
        _draw_tile(panel, title, np.clip(128 + AMPLIFIED * (ours - theirs), 0, 255).astype(np.uint8), "")
    else:
        _draw_tile(panel, title, None, "no crop kept" if len(paths) == 2 else "not trained")


def _score_lines(evidence: Evidence, run: str, photo: str) -> str:
    """Six numbers at most, of the whole photo: closeness to the target, the critic that trained, judges that tell."""
    row = evidence.scores[(evidence.scores["run"] == run) & (evidence.scores["photo"] == photo)].iloc[0]
    trained = evidence.runs[evidence.runs["run"] == run].iloc[0]
    said = ["the operator"] if trained["network"] == "target" else [
        f"{row['psnr']:.1f} dB", f"SSIM {row['ssim']:.3f}", f"MS-SSIM {row['ms_ssim']:.3f}"
    ]  # fmt: skip
    values = {name: row.get(f"score_{name}") for name in (evidence.own_critic(trained), *labels.TELLING)}
    said += [f"{name} {value:.2f}" for name, value in values.items() if pd.notna(value)]
    return "\n".join("  ".join(said[start : start + 2]) for start in range(0, len(said), 2))


@mpl.rc_context(STYLE)
def spectrum_figure(evidence: Evidence) -> Figure:
    """How the change of a picture spreads over octaves of frequency: chosen configurations beside the rivals.

    Shares of the change's energy; an attack on a critic puts much of it into the finest octaves, a photographer's edit
    into the coarse ones.
    """
    gains, chosen = evidence.gains, evidence.chosen_with("l2")
    octaves = [column for column in map(str, gains) if column.startswith("change_")]
    operators = list(dict.fromkeys(require(chosen, "configuration at a chosen weight")["operator"]))
    figure, axes = new_figure(1, len(operators), 4.6, 3.4, sharey=True)
    bands = [f"1/{2 ** (octave + 2)}" for octave in range(len(octaves))]
    for panel, operator in zip(axes[0], operators, strict=True):
        ours = chosen[chosen["operator"] == operator]
        rows = [(evidence.rows(one), str(one["network"]), str(one["critic"])) for _, one in ours.iterrows()]
        learned = gains[gains["operator"] == operator]
        rows += [(part, kind, "") for kind in RIVALS if len(part := learned[learned["network"] == kind])]
        for part, network, critic in rows:
            energies, look = part[octaves].mean(), look_of(network)
            panel.plot(energies.to_numpy() / energies.sum(), look_of(critic).line if critic else look.line,
                       color=look.color, marker=look.marker, label=f"_{network}, {critic}")  # fmt: skip
        for network in dict.fromkeys(network for _, network, _ in rows):
            look = look_of(network)
            panel.plot([], [], color=look.color, marker=look.marker, label=labels.network_label(network))
        for critic in dict.fromkeys(ours["critic"]):
            panel.plot([], [], look_of(critic).line, color="0.3", label=f"critic: {critic}")
        panel.set_xticks(range(len(octaves)), bands)
        panel.set_title(labels.operator_label(operator))
        panel.set_xlabel("lower end of the octave (cycles per pixel)")
    axes[0, 0].set_ylabel("share of the change's energy")
    legend_below(figure, axes, columns=3)
    return figure


@mpl.rc_context(STYLE)
def survival_figure(evidence: Evidence) -> Figure:
    """What share of the critic's gain is left after each transformation, and what share the judges follow.

    Rivals are shown at the rung whose PSNR is closest to the chosen configurations'.
    """
    table, chosen = evidence.frontier, evidence.chosen_with("l2")
    operators = list(dict.fromkeys(require(chosen, "configuration at a chosen weight")["operator"]))
    judges = evidence.judges
    columns = [f"kept_{name}" for name in labels.TRANSFORMATIONS] + [f"transfer_{name}" for name in judges]
    ticks = [*labels.TRANSFORMATIONS.values(), *(f"judge: {name}" for name in judges)]
    figure, axes = new_figure(1, len(operators), 5.2, 5.0, sharey=True)
    for panel, operator in zip(axes[0], operators, strict=True):
        rows = table.merge(chosen[chosen["operator"] == operator], on=CONFIGURATION)
        shown = pd.concat([rows, nearest_rivals(table, operator, rows["psnr"].mean())])
        for place, (_, row) in enumerate(shown.iterrows()):
            across = np.arange(len(columns)) + 0.7 * (place / max(1, len(shown) - 1) - 0.5)
            panel.plot(across, row[columns].astype(float).clip(-1.5, 1.5), look_of(row["network"]).marker, ls="none",
                       color=look_of(row["critic"]).color, markeredgewidth=1.4,
                       label=f"_{row['network']}, {row['critic']}")  # fmt: skip
        for network in dict.fromkeys(shown["network"]):
            panel.plot([], [], look_of(network).marker, ls="none", color="0.3", label=labels.network_label(network))
        for critic in dict.fromkeys(shown["critic"]):
            panel.plot([], [], "-", lw=5, color=look_of(critic).color, label=f"critic: {critic}")
        for level, style in ((evidence.criteria.surviving_share, ":"), (0, "-")):
            panel.axhline(level, color="0.4", linewidth=0.9, linestyle=style)
        panel.set_xticks(range(len(columns)), ticks, rotation=35, ha="right")
        panel.set_title(labels.operator_label(operator))
    axes[0, 0].set_ylabel("share of the critic's gain (cut at ±1.5)")
    legend_below(figure, axes, columns=3)
    return figure
