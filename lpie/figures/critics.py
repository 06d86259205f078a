"""Figures of critics, from tables alone: calibration, where they fail, and where in the spectrum they pull."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lpie.figures.style import STYLE, legend_below, look_of, new_figure, require, shades

SPLIT_MARKERS = {"train": "^", "validation": "o", "test": "s"}
AIMED_AGREEMENT = 0.85  # of a critic that is hard to fool: rank correlation with the AVA network
AIMED_GAIN = 0.2  # the same: gain of an attack, as a share of the AVA network's


@mpl.rc_context(STYLE)
def calibration_figure(table: pd.DataFrame) -> Figure:
    """Mean rating against predicted mean, in ten equal groups of photographs: one panel a dataset.

    `table`: columns `dataset, network, predicted, rated, low, high`; bars are Student-t intervals of a group's mean.
    """
    datasets = list(dict.fromkeys(require(table, "calibration")["dataset"]))
    figure, axes = new_figure(1, len(datasets), 3.6, 3.4)
    for panel, dataset in zip(axes[0], datasets, strict=True):
        shown = table[table["dataset"] == dataset]
        ends = [shown[["predicted", "rated"]].min().min() - 0.2, shown[["predicted", "rated"]].max().max() + 0.2]
        panel.plot(ends, ends, color="0.6", linewidth=0.8, label="perfect")
        for network, rows in shown.groupby("network", sort=False):
            bars = np.stack([rows["rated"] - rows["low"], rows["high"] - rows["rated"]])
            panel.errorbar(rows["predicted"], rows["rated"], bars, marker="o", ms=4, lw=1.1,
                           color=_color(network), label=network)  # fmt: skip
        panel.set(title=dataset, xlabel="predicted mean score", aspect="equal")
    axes[0, 0].set_ylabel("mean rating by people")
    legend_below(figure, axes)
    return figure


@mpl.rc_context(STYLE)
def failure_figure(curves: pd.DataFrame) -> Figure:
    """Change of the score against what is done to the photographs: NIMA above, in points, NIQE below.

    `curves`: columns `judge, variation, strength, photo, change`. Thin lines are photographs, thick ones their mean.
    A judge that sees the damage falls; where its line rises, it likes the damage.
    """
    variations = list(dict.fromkeys(require(curves, "curves")["variation"]))
    rows = [names for names in (_judges(curves, niqe=False), _judges(curves, niqe=True)) if names]
    figure, axes = new_figure(len(rows), len(variations), 2.3, 2.3, sharey="row", sharex="col")
    for line, names in enumerate(rows):
        for panel, variation in zip(axes[line], variations, strict=True):
            panel.axhline(0, color="0.4", linewidth=0.8)
            for name in names:
                shown = curves[(curves["judge"] == name) & (curves["variation"] == variation)]
                single = shown.pivot_table(index="strength", columns="photo", values="change")
                panel.plot(single.index, single, color=_color(name), lw=0.5, alpha=0.3)
                panel.plot(single.index, single.mean(axis=1), color=_color(name), lw=2, label=name)
            if line == len(rows) - 1:
                panel.set_xlabel(variation)
        axes[line, 0].set_ylabel("change of minus NIQE" if names == ["niqe"] else "change of mean score")
    legend_below(figure, axes)
    return figure


@mpl.rc_context(STYLE)
def octave_figure(table: pd.DataFrame) -> Figure:
    """Share of the gradient's energy in each octave of spatial frequency, a line a critic.

    `table`: columns `critic, cycles_per_pixel, share`. A critic that pulls hardest at the right end asks for noise.
    """
    figure, axes = new_figure(1, 1, 4.6, 3.2)
    panel = axes[0, 0]
    for critic, rows in require(table, "gradients").groupby("critic", sort=False):
        ordered = rows.sort_values("cycles_per_pixel")
        panel.plot(ordered["cycles_per_pixel"], ordered["share"], marker="o", color=_color(critic), label=critic)
    ends = sorted(table["cycles_per_pixel"].unique())
    panel.set_xscale("log", base=2)
    panel.set_xticks(ends, [f"1/{round(1 / end)} - 1/{round(0.5 / end)}" for end in ends])
    panel.minorticks_off()
    panel.set(xlabel="spatial frequency (cycles per pixel)", ylabel="share of the gradient's energy", ylim=(0, None))
    legend_below(figure, axes, columns=3)
    return figure


@mpl.rc_context(STYLE)
def price_figure(table: pd.DataFrame) -> Figure:
    """The price of being hard to fool: agreement with the teacher against the gain of an attack.

    `table`: columns `critic, split, learned_from, srcc_clean, attack_in_standard_deviations` and
    `ava_attack_in_standard_deviations`, a row for each critic and set of photographs. A color says from how many
    photographs a critic learned, a marker on which it was measured. Shipped critics are named; the teacher,
    which agrees with itself, is a star; gray is the aim.
    """
    rows = require(table.dropna(subset=["srcc_clean", "attack_in_standard_deviations"]), "variants")
    figure, axes = new_figure(1, 1, 5.4, 5.4)
    panel = axes[0, 0]
    colors = shades(sorted(rows["learned_from"].unique()))
    for photographs, measured in rows.groupby("learned_from"):
        panel.plot([], [], color=colors[photographs], lw=4, label=f"learned from {photographs:,} photographs")
        for split, marker in SPLIT_MARKERS.items():
            one = measured[measured["split"] == split]
            panel.plot(one["attack_in_standard_deviations"], one["srcc_clean"], marker, color=colors[photographs], ms=6)
    shown = rows[rows["split"] != "validation"]
    shipped = shown["critic"].str.extract(r"shipped as (\w+)", expand=False)
    for name, gain, agreement in zip(shipped, shown["attack_in_standard_deviations"], shown["srcc_clean"], strict=True):
        if isinstance(name, str):
            panel.annotate(name, (gain, agreement), (0, -13), textcoords="offset points", ha="center", fontsize=8)
    ava_gain = rows["ava_attack_in_standard_deviations"].mean()
    panel.plot(ava_gain, 1, "*", color="0.2", ms=11, label="AVA network")
    panel.fill_between([0.1, ava_gain * AIMED_GAIN], AIMED_AGREEMENT, 2, color="0.9", zorder=0, label="the aim")
    for split, marker in SPLIT_MARKERS.items():
        panel.plot([], [], marker, color="0.5", label=f"measured on {split} photographs")
    panel.set_xscale("log")
    ticks = (0.5, 1, 2, 3, 5, 10, 20)
    panel.set_xticks(ticks, map(str, ticks))
    panel.minorticks_off()
    panel.set(
        xlabel="gain of an attack, in standard deviations of the critic's scores",
        ylabel="rank correlation with the AVA network",
        xlim=(0.4, 20),
        ylim=(0.5, 1.05),
    )
    legend_below(figure, axes, columns=2)
    return figure


def _judges(curves: pd.DataFrame, niqe: bool) -> list[str]:
    return [name for name in dict.fromkeys(curves["judge"]) if (name == "niqe") == niqe]


def _color(name: object) -> str:
    return look_of(str(name).split(" ")[0]).color
