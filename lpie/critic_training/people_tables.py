"""Does NIMA rank photographs as people do? The committed tables of agreement and calibration.

The AVA network on the 25,548 photographs of AVA that its authors held out, by their published predictions, and each
network on the 620 photographs of OASIS. One that was trained on them is represented by its cross-validated
predictions.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lpie.critic_training.agreement import agreement, calibration
from lpie.critic_training.processes import Processes
from lpie.critic_training.ratings import read_oasis
from lpie.critic_training.tables import PUBLISHED, available_critics
from lpie.critic_training.training import predict
from lpie.records import write_csv
from lpie.registry import fetch

log = logging.getLogger(__name__)


def write_people_tables(out: Path, device: str) -> pd.DataFrame:
    """Write `critic_agreement.csv` and `critic_calibration.csv` to `out`, and return the former."""
    agreements, calibrations = [], []
    for dataset, network, predicted, rated in predictions(device):
        agreements.append(_named(agreement(predicted, rated), dataset, network))
        calibrations.append(_named(calibration(predicted, rated), dataset, network))
    folds = PUBLISHED / "oasis_agreement.csv"  # what training by folds wrote
    if folds.exists():
        agreements.append(_named(pd.read_csv(folds), "OASIS", "oasis (5-fold)"))
    write_csv(out / "critic_calibration.csv", pd.concat(calibrations))
    write_csv(out / "critic_agreement.csv", pd.concat(agreements))
    return pd.concat(agreements)


def predictions(device: str) -> Iterator[tuple[str, str, NDArray[np.float64], NDArray[np.float64]]]:
    """Dataset, network, predicted and rated distributions."""
    stored = np.load(fetch("nima/ava_test_idealo_predictions.npz"))
    yield "AVA test", "ava", stored["predictions"].astype(float), stored["labels"].astype(float)
    rated = read_oasis(fetch("oasis_beauty/ratings.csv").parent)
    for name, critic in available_critics().items():
        log.info("%s on OASIS", name)
        yield "OASIS", name, predict(critic.to(device), rated, Processes(device)), rated.distributions


def _named(table: pd.DataFrame, dataset: str, network: str) -> pd.DataFrame:
    return pd.DataFrame({"dataset": dataset, "network": network, **table})
