"""Train a NIMA on people's ratings and say how well it agrees with people about photographs it never saw.

The folder of results gets `weights.safetensors`, `predictions.csv` and `agreement.csv` for the held-out photographs,
and `state.safetensors`, from which the same command goes on to the same bytes. With folds, each of them is predicted
by a network that saw none of its groups; then all photographs train the weights.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold

from lpie.critic.nima import NIMA
from lpie.critic_training.agreement import agreement, mean_of, standard_deviation_of
from lpie.critic_training.processes import Processes
from lpie.critic_training.ratings import READERS, RatedPhotographs
from lpie.critic_training.settings import RatingTraining
from lpie.critic_training.training import new_network, predict, train
from lpie.records import write_csv, write_tensors
from lpie.weights import int8_channels

log = logging.getLogger(__name__)


def learn_ratings(settings: RatingTraining, dataset: str, data: Path, out: Path, device: str) -> None:
    """Read the dataset, train, and write weights and agreement to `out`; prints the agreement."""
    with Processes(device) as processes:
        rated = READERS[dataset](data)
        learned = (learn_by_folds if settings.folds else learn)(settings, rated, out, processes)
        if processes.writes:
            _write(settings, dataset, *learned, out)


def learn(
    settings: RatingTraining, rated: RatedPhotographs, out: Path, processes: Processes
) -> tuple[NIMA, RatedPhotographs, np.ndarray]:
    """Train on the split `train`, predict `test`."""
    nima = train(settings, new_network(settings), rated.of("train"), out / "state.safetensors", processes)
    held_out = rated.of("test")
    return nima, *_decoded(held_out, predict(nima, held_out, processes))


def learn_by_folds(
    settings: RatingTraining, rated: RatedPhotographs, out: Path, processes: Processes
) -> tuple[NIMA, RatedPhotographs, np.ndarray]:
    """Predict each photograph by a network that saw none of its group, then train on all."""
    predicted = np.zeros((len(rated), 10), np.float32)
    folds = GroupKFold(settings.folds, shuffle=True, random_state=settings.seed)
    for number, (seen, unseen) in enumerate(folds.split(rated.distributions, groups=rated.groups)):
        state = out / f"fold{number}.safetensors"
        nima = train(settings, new_network(settings), rated.take(seen), state, processes)
        predicted[unseen] = predict(nima, rated.take(unseen), processes)
        log.info("fold %d of %d", number + 1, settings.folds)
    nima = train(settings, new_network(settings), rated, out / "state.safetensors", processes)
    return nima, *_decoded(rated, predicted)


def _decoded(rated: RatedPhotographs, predicted: np.ndarray) -> tuple[RatedPhotographs, np.ndarray]:
    """Without the photographs that turned out not to be readable."""
    kept = np.flatnonzero(np.isfinite(predicted).all(1))
    if len(kept) < len(rated):
        log.warning("%d of %d held-out photographs could not be decoded.", len(rated) - len(kept), len(rated))
    return rated.take(kept), predicted[kept]


def _write(
    settings: RatingTraining, dataset: str, nima: NIMA, held_out: RatedPhotographs, predicted: np.ndarray, out: Path
) -> None:
    notes = {name: str(value) for name, value in asdict(settings).items() if name not in ("backbone", "input_size")}
    tensors = nima.network.state_dict()
    stored = int8_channels(tensors) if settings.int8 else {name: tensor.half() for name, tensor in tensors.items()}
    write_tensors(out / "weights.safetensors", stored, {**nima.metadata(), "ratings": dataset, **notes})
    columns: dict[str, list[str] | np.ndarray] = {"photo": [path.name for path in held_out.paths]}
    for who, distributions in (("rated", held_out.distributions), ("predicted", predicted)):
        columns |= {f"{who}_mean": mean_of(distributions), f"{who}_deviation": standard_deviation_of(distributions)}
    write_csv(out / "predictions.csv", pd.DataFrame(columns))
    table = agreement(predicted, held_out.distributions)
    write_csv(out / "agreement.csv", table)
    print(table.to_string(index=False, float_format="%.3f"), flush=True)
