"""Tables of a small invented study whose truth is known: every gain is a stated mean plus noise of the photo."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lpie.evidence.results import RUN_COLUMNS
from lpie.losses import FIDELITIES

CRITICS = ("compact", "ava")  # of `labels.CRITICS`, those that this study has
JUDGES = ("technical", "niqe")
TRANSFORMATIONS = ("jpeg90", "half", "shift", "blur")
PHOTOS = {"validation": 8, "test": 14}


def invent_study(
    networks: Sequence[str] = ("can32", "parameters"),
    operators: Sequence[str] = ("tone", "dehaze"),
    seeds: int = 3,
    rivals: bool = True,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs and scores; `parameters` enhances (judges follow the critic, all survives), other networks attack."""
    records: list[dict[str, object]] = []
    tables: list[pd.DataFrame] = []

    def add(run: str, *, psnr: float, gain: float, honest: bool, **columns: object) -> None:
        known = {"fidelity": "none", "critic": "none", "gamma": 0.0, "seed": 0, "steps": 10, "seconds": 1.5}
        device = {"parameters": 1000, "validation_psnr": psnr, "device": "cpu", "objective": run}
        records.append({**known, **device, **columns, "run": run})
        tables.append(_scores(run, str(columns["operator"]), psnr, gain, honest))

    for operator in operators:
        add(f"{operator}-input", psnr=22.0, gain=-0.4, honest=True, operator=operator, network="input")
        add(f"{operator}-target", psnr=np.inf, gain=0.0, honest=True, operator=operator, network="target")
        for network in networks:
            honest = network == "parameters"
            base = {"operator": operator, "network": network, "honest": honest}
            for fidelity in FIDELITIES:
                for seed in range(seeds):
                    name = f"{operator}-{network}-{fidelity}-s{seed}"
                    add(name, psnr=38.0, gain=0.0, fidelity=fidelity, seed=seed, **{**base, "objective": fidelity})  # type: ignore[arg-type]
            for critic in CRITICS:
                for rung, gamma in enumerate((1e-3, 1e-2, 1e-1)):
                    for fidelity in ("l2", "l1") if rung == 1 else ("l2",):
                        for seed in range(seeds if rung == 1 else 1):
                            objective = f"{fidelity}+{gamma:g}{critic}"
                            labels = {"fidelity": fidelity, "critic": critic, "gamma": gamma, "seed": seed}
                            gain = (0.1, 0.45, 0.7)[rung]
                            name = f"{operator}-{network}-{objective}-s{seed}"
                            add(name, psnr=(36.0, 29.0, 21.0)[rung], gain=gain, **base, **labels, objective=objective)  # type: ignore[arg-type]
        for kind in ("trivial", "universal", "perturbation") if rivals else ():
            for critic in CRITICS:
                for decibels in (24, 28, 36):
                    gain = (40 - decibels) * (0.006 if kind == "trivial" else 0.05)
                    name = f"{operator}-{kind}-{critic}-{decibels}dB"
                    labels = {"operator": operator, "network": kind, "critic": critic}
                    add(name, psnr=decibels - 0.1, gain=gain, honest=kind == "trivial", **labels)
    return pd.DataFrame(records, columns=RUN_COLUMNS), pd.concat(tables, ignore_index=True)


def _scores(run: str, operator: str, psnr: float, gain: float, honest: bool) -> pd.DataFrame:
    """One row per photo; noise comes from the run's name, so that the same study is invented each time."""
    random = np.random.default_rng(list(run.encode()))
    photos = [(split, f"{operator}-{split}-{index}") for split, count in PHOTOS.items() for index in range(count)]
    content = np.array([np.random.default_rng(list(name.encode())).normal(5, 0.5) for _, name in photos])
    table = pd.DataFrame({"run": run, "photo": [name for _, name in photos], "split": [split for split, _ in photos]})

    def noise(scale: float) -> np.ndarray:
        return random.normal(0, scale, len(photos)) if not run.endswith("target") else np.zeros(len(photos))

    table["psnr"] = psnr + noise(0.5)
    table["psnr_truth"] = np.nan
    table["ssim"], table["ms_ssim"] = 0.95 + noise(0.005), 0.97 + noise(0.005)
    table["color_shift"], table["detail_energy"] = 2 + np.abs(noise(0.5)), (1.0 if honest else 1.6) + noise(0.05)
    for octave in range(6):
        table[f"change_{octave + 1}"] = 1e-5 * (2**octave if honest else 2 ** (5 - octave)) * np.exp(noise(0.2))
    for critic in CRITICS:
        gained = gain + noise(0.03)
        table[f"score_{critic}"] = content + gained
        for transformation in TRANSFORMATIONS:
            share = 0.97 if honest else 0.4
            table[f"survives_{critic}_{transformation}"] = content - 0.05 + share * gained + noise(0.004)
    for judge in JUDGES:
        table[f"score_{judge}"] = content + (0.25 if honest else -0.4) * gain + noise(0.02)
    seen = (table["split"] == "test") & (not honest)  # validation photos do not show it, or no weight would be chosen
    table["unexplained"] = np.where(seen, 0.4, 0.01) + np.abs(noise(0.005))
    table["lpips"] = 0.05 + noise(0.005)
    return table
