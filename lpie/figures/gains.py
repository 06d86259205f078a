"""What was gained at what cost, drawn from evidence: frontier, weights, claims, training, spectrum.

Each function checks that what it is to show was measured, and returns a figure; `style.save_figure` writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lpie.evidence import Evidence, labels
from lpie.evidence.gains import NEARER, RIVALS
from lpie.figures.style import (
    GAIN_COLORS,
    STYLE,
    TRAINED_COLOR,
    error_bars,
    legend_below,
    look_of,
    new_figure,
    require,
    shades,
)
from lpie.judges import JUDGES
from lpie.networks import FAMILIES

SMOOTHED = 5  # rows of a training log whose median a line shows


def point_name(row: pd.Series) -> str:
    """The anchor of a configuration's point: operator, network and objective."""
    return f"point-{row['operator']}-{row['network']}-{row['objective']}".replace("+", "-").replace(".", "_")


@mpl.rc_context(STYLE)
def frontier_figure(
    evidence: Evidence, operators: Sequence[str] | None = None, critics: Sequence[str] | None = None
) -> Figure:
    """The critic's gain over the target against PSNR; color is the gain by the judge that likes it least.

    One panel per operator and critic, those that trained if not given. A line joins the weights of a family's ladder,
    gray bars are intervals across photos. As SVG, each point is a link to `point_name`.
    """
    table = evidence.frontier
    learned = table["network"].isin(list(FAMILIES))
    trained = require(table[(table["gamma"] > 0) & learned], "networks trained with a critic")
    operators = operators or list(dict.fromkeys(table["operator"]))
    critics = critics or [name for name in evidence.critics if name in set(trained["critic"])]
    table = table.assign(lowest=table[[f"gain_{name}" for name in evidence.judges]].min(axis=1).fillna(0.0))
    reach = float(np.clip(table["lowest"].abs().quantile(0.8), 0.05, 1.0))
    color = ScalarMappable(TwoSlopeNorm(0.0, -reach, reach), GAIN_COLORS)
    columns = len(critics) if len(critics) > 1 else len(operators)
    figure, axes = new_figure(len(operators) * len(critics) // columns, columns, 4.6, 3.7)
    for panel, (operator, critic) in zip(axes.flat, product(operators, critics), strict=True):
        points = table[(table["operator"] == operator) & learned]
        panel.set_xlim(points["psnr"].min() - 2, points["psnr"].max() + 2)  # wide intervals may leave the panel
        panel.axhline(0, color="0.4", linewidth=0.8)
        panel.axhline(evidence.criteria.enough_gain, color="0.4", linewidth=0.8, linestyle=":")
        shown = table[(table["operator"] == operator) & table["critic"].isin(("none", critic))]
        reached = shown.loc[learned, f"gain_{critic}"]  # each critic has a range of its own
        panel.set_ylim(min(reached.min(), 0) - 0.05, max(reached.max(), evidence.criteria.enough_gain) + 0.05)
        for network, family in shown.groupby("network", sort=False):
            _draw_family(panel, str(network), family, critic, color)
        panel.set_title(f"{labels.operator_label(operator)}, critic: {critic}")
    for panel in axes[-1]:
        panel.set_xlabel("PSNR to the operator's target (dB)")
    for panel in axes[:, 0]:
        panel.set_ylabel("critic's gain over the target")
    legend_below(figure, axes, columns=3 if axes.size > 1 else 2)
    figure.colorbar(color, ax=axes, shrink=0.7, extend="both", label="gain by the judge that likes it least")
    return figure


def _draw_family(panel: Axes, network: str, family: pd.DataFrame, critic: str, color: ScalarMappable) -> None:
    """One family: its ladder (a rival's: all of it) as a line, every configuration as a point with intervals."""
    look, gain, rival = look_of(network), f"gain_{critic}", network in RIVALS
    ladder = family if rival else family[(family["gamma"] > 0) & (family["fidelity"] == "l2")]
    ladder = ladder.sort_values("psnr")
    panel.plot(ladder["psnr"], ladder[gain], "--" if rival else "-", color=look.color, marker=look.marker, lw=1.1,
               label=labels.network_label(network))  # fmt: skip
    if rival:
        return
    panel.errorbar(family["psnr"], family[gain], error_bars(family, gain), error_bars(family, "psnr"), fmt="none",
                   ecolor="0.6", elinewidth=0.8, zorder=2)  # fmt: skip
    faces = color.to_rgba(family["lowest"].to_numpy())
    points = panel.scatter(family["psnr"], family[gain], s=42, c=faces, marker=look.marker, edgecolors=look.color,
                           zorder=3)  # fmt: skip
    points.set_urls(["#" + point_name(row) for _, row in family.iterrows()])


@mpl.rc_context(STYLE)
def gamma_figure(evidence: Evidence, operator: str) -> Figure:
    """What each weight gains and costs: gains of critic and judges above the PSNR, the chosen weight marked.

    Columns are networks, pairs of rows critics. On the test photographs, or, where these saw the chosen weights alone,
    on those that choose.
    """
    ladder, choices, where = _weights(evidence, operator), evidence.choices, ""
    if len(ladder) and ladder.groupby(["network", "critic"]).size().max() == 1:
        choosing = evidence.scores[evidence.scores["split"] == "validation"].assign(split="test")
        on_these = _weights(replace(evidence, scores=choosing), operator)
        ladder, where = (on_these, "\n(photographs that choose)") if len(on_these) > len(ladder) else (ladder, "")
    networks = list(dict.fromkeys(require(ladder, f"ladder of weights for {operator}")["network"]))
    critics = list(dict.fromkeys(ladder["critic"]))
    heights = [1.5, 1.0] * len(critics)
    figure, axes = new_figure(2 * len(critics), len(networks), 3.5, 1.9, sharex=True,
                              gridspec_kw={"height_ratios": heights})  # fmt: skip
    for (row, critic), (column, network) in product(enumerate(critics), enumerate(networks)):
        above, below = axes[2 * row, column], axes[2 * row + 1, column]
        rows = ladder[(ladder["network"] == network) & (ladder["critic"] == critic)].sort_values("gamma")
        _draw_gains(above, rows, critic, evidence.judges)
        look = look_of(network)
        below.errorbar(rows["gamma"], rows["psnr"], error_bars(rows, "psnr"), color=look.color, marker=look.marker)
        chosen = choices.query("operator == @operator and network == @network and critic == @critic")
        for panel, gamma in product((above, below), chosen["gamma"]):
            panel.axvline(gamma, color="0.4", linewidth=1.0, linestyle=":")
        above.set_xscale("log")
        above.set_title(f"{labels.network_label(network)}, critic: {critic}")
    for row in range(0, 2 * len(critics), 2):
        axes[row, 0].set_ylabel(f"gain over the target{where}")
        axes[row + 1, 0].set_ylabel("PSNR (dB)")
    for panel in axes[-1]:
        panel.set_xlabel("weight gamma (dotted: chosen)")
    legend_below(figure, axes)
    return figure


def _weights(evidence: Evidence, operator: str) -> pd.DataFrame:
    table = evidence.frontier
    return table[(table["operator"] == operator) & (table["gamma"] > 0) & (table["fidelity"] == "l2")]


def _draw_gains(panel: Axes, rows: pd.DataFrame, critic: str, judges: Sequence[str]) -> None:
    lines = [(f"gain_{critic}", "critic in training", TRAINED_COLOR, "-")]
    lines += [(f"gain_{name}", f"judge: {name}", look_of(name).color, "--") for name in judges]
    for column, label, color, style in lines:
        panel.plot(rows["gamma"], rows[column], style, color=color, marker=".", label=label, linewidth=1.2)
        panel.fill_between(rows["gamma"], rows[f"{column}_low"], rows[f"{column}_high"], color=color, alpha=0.12, lw=0)
    panel.axhline(0, color="0.4", linewidth=0.8)
    reached = rows[[column for column, *_ in lines]]
    panel.set_ylim(min(reached.min().min(), 0) - 0.1, max(reached.max().max(), 0) + 0.1)  # not of wide intervals


@mpl.rc_context(STYLE)
def claim_figure(compared: pd.DataFrame, claim: str, slack: float) -> Figure:
    """Every difference that `claim` rests on with its interval across photos: a row per case, a panel per measure.

    `compared`: `evidence.comparisons`. Right of zero is in favor of the critic; a judge may lose `slack` at most
    (dotted), and how near a rendition is to a person's matters outside of the margin (gray). Several marks in a row are
    the fidelities or baselines that were compared.
    """
    rows = require(compared[compared["claim"] == claim], f"comparison for {claim}")
    cases = [tuple(case) for case in rows[["operator", "network", "critic"]].drop_duplicates().to_numpy()]
    measures, variants = (list(dict.fromkeys(rows[column])) for column in ("measure", "against"))
    critics = [name for name in measures if name.removeprefix("gain_") in set(rows["critic"])]
    panels = (["the critic itself"] if critics else []) + [name for name in measures if name not in critics]
    width = 1.4 + 3.0 / len(panels)  # the names of the cases take as much as two panels
    figure, axes = new_figure(1, len(panels), width, 0.8 + 0.2 * len(cases), sharey=True)
    colors = shades(variants) if len(variants) > 1 else {variants[0]: TRAINED_COLOR}
    for panel, measure in zip(axes[0], panels, strict=True):
        shown = rows[rows["measure"].isin(critics if measure == "the critic itself" else [measure])]
        heights = np.array([cases.index(tuple(case)) for case in shown[["operator", "network", "critic"]].to_numpy()])
        for place, variant in enumerate(variants):
            of = (shown["against"] == variant).to_numpy()
            offset = 0.5 * (place + 0.5) / len(variants) - 0.25
            bars = error_bars(
                shown[of].rename(columns={"low": "difference_low", "high": "difference_high"}), "difference"
            )
            panel.errorbar(shown["difference"][of], heights[of] + offset, xerr=bars, fmt="o", ms=3.5, lw=1,
                           color=colors[variant], label=f"against {labels.fidelity_label(variant)}")  # fmt: skip
        panel.axvline(0, color="0.4", linewidth=0.8)
        title = measure.replace("gain_", "judge: ")
        if measure.startswith(NEARER):
            judge = JUDGES[measure.removeprefix(NEARER)]
            panel.axvspan(-judge.margin, judge.margin, color="0.9", zorder=0)
            title = f"nearer:\n{judge.label}"
        else:
            panel.axvline(slack, color="0.4", linewidth=0.8, linestyle=":")
        panel.xaxis.set_major_locator(MaxNLocator(2))
        panel.set_title(title)
    names = [f"{labels.operator_label(o)}, {labels.network_label(n)}, {c}" for o, n, c in cases]
    axes[0, 0].set_yticks(range(len(cases)), names)
    axes[0, 0].invert_yaxis()
    if len(variants) > 1:
        legend_below(figure, axes)
    return figure


@mpl.rc_context(STYLE)
def training_figure(logs: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """The distance to the target during training, one panel per operator and network, one line per run.

    `logs`: `results.read_logs`. Each line is a running median over SMOOTHED rows of the log, divided by its first
    value, because the fidelities have units of their own. A line that still falls says that its run was stopped too
    early.
    """
    curves = logs[["run", "step", "fidelity"]].dropna().merge(runs.drop(columns="fidelity"), on="run")
    curves = require(curves, "training log").merge(runs[["run", "fidelity"]], on="run", suffixes=("_term", ""))
    operators, networks = (list(dict.fromkeys(curves[column])) for column in ("operator", "network"))
    figure, axes = new_figure(len(operators), len(networks), 3.6, 2.7, sharex="col", sharey="row")
    colors = shades(list(labels.FIDELITIES))
    for (row, operator), (column, network) in product(enumerate(operators), enumerate(networks)):
        panel = axes[row, column]
        panel.set_title(f"{labels.operator_label(operator)}, {labels.network_label(network)}")
        for _, run in curves[(curves["operator"] == operator) & (curves["network"] == network)].groupby("run"):
            fidelity, gamma = run.iloc[0][["fidelity", "gamma"]]
            term = run["fidelity_term"].rolling(SMOOTHED, min_periods=1).median()
            color, label = (
                (TRAINED_COLOR, "with NIMA") if gamma else (colors[fidelity], labels.fidelity_label(fidelity))
            )
            panel.plot(run["step"], term / term.iloc[0], color=color, linewidth=0.9, alpha=0.8, label=label)
        panel.set_yscale("log")
    for panel in axes[-1]:
        panel.set_xlabel("step")
    for panel in axes[:, 0]:
        panel.set_ylabel("fidelity term / its first value")
    legend_below(figure, axes, columns=6)
    return figure


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
