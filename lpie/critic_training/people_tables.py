"""Does NIMA rank photographs as people do? The committed tables of agreement and calibration.

    LPIE_DATA=FOLDER python -m lpie.critic_training.people_tables [--out results/published]

writes `critic_agreement.csv` and `critic_calibration.csv`: the AVA network on the 25,548 photographs of AVA that its
authors held out, by their published predictions; and each network on the 620 photographs of OASIS. The OASIS judge is
represented by its cross-validated predictions, `oasis_predictions.csv`, which `rating_training` writes.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from lpie.critic_training.critic_tables import PUBLISHED, available_critics
from lpie.critic_training.rating_loop import Crew, predict
from lpie.critic_training.rating_measures import agreement, calibration
from lpie.critic_training.ratings import read_oasis
from lpie.records import write_csv
from lpie.registry import fetch

log = logging.getLogger(__name__)


def predictions(device: str) -> Iterator[tuple[str, str, NDArray[np.float64], NDArray[np.float64]]]:
    """Dataset, network, predicted and rated distributions."""
    stored = np.load(fetch("nima/ava_test_idealo_predictions.npz"))
    yield "AVA test", "ava", stored["predictions"].astype(float), stored["labels"].astype(float)
    rated = read_oasis(fetch("oasis_beauty/ratings.csv").parent)
    for name, critic in available_critics().items():
        if name != "oasis":  # it has seen them all: its cross-validation stands for it
            log.info("%s on OASIS", name)
            yield "OASIS", name, predict(critic.to(device), rated, Crew(device)), rated.distributions


def people_tables(device: str, folds: pd.DataFrame | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Agreement and calibration of every network; `folds` is the agreement of the cross-validated OASIS judge."""
    agreements, calibrations = [], []
    for dataset, network, predicted, rated in predictions(device):
        columns = {"dataset": dataset, "network": network}
        agreements.append(agreement(predicted, rated).assign(**columns))
        calibrations.append(calibration(predicted, rated).assign(**columns))
    if folds is not None:
        agreements.append(folds.assign(dataset="OASIS", network="oasis (5-fold)"))
    first = ["dataset", "network"]
    tables = (pd.concat(tables, ignore_index=True) for tables in (agreements, calibrations))
    agreed, calibrated = (table[first + [column for column in table if column not in first]] for table in tables)
    return agreed, calibrated


def main() -> None:
    """Write both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=PUBLISHED)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folds = PUBLISHED / "oasis_agreement.csv"
    agreed, calibrated = people_tables(given.device, pd.read_csv(folds) if folds.exists() else None)
    write_csv(given.out / "critic_agreement.csv", agreed)
    write_csv(given.out / "critic_calibration.csv", calibrated)
    print(agreed.to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    main()
