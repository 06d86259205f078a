"""Train a NIMA on people's ratings, and say how well it agrees with those it never saw.

    python -m lpie.critic_training.rating_training ava --data AVA --out OUT --backbone vgg16 --imagenet
    torchrun --nproc-per-node 4 -m lpie.critic_training.rating_training ava --data AVA --out OUT
    python -m lpie.critic_training.rating_training oasis --data OASIS --out OUT --initial technical --folds 5

Without `--folds` the published split is used. OUT gets `weights.safetensors`, `predictions.csv` and `agreement.csv`
for the held-out photographs, and `state.safetensors`, from which the same command goes on to the same bytes. With
folds, each of them is predicted by a network that saw none of its groups; then all photographs train the weights.

Several processes share each batch and average their gradients. What is random (order, crops, dropout) is drawn for
the whole batch from the seed, the epoch and the step, so that their number changes nothing but rounding.

Source: Talebi & Milanfar, NIMA, TIP 2018, section III: earth mover's distance with r = 2; a dropout of 0.75; random
224-px crops of 256-px squares, mirrored at random; the last layer learns faster than the others.
Differs: Adam, 1e-3 while only the last layer learns and 3e-5 for all layers, each along a cosine to zero, because the
published rates for SGD do not converge; batch norm, where a backbone has it, keeps its statistics.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import GroupKFold

from lpie.critic.nima import NIMA
from lpie.critic_training.rating_loop import Crew, predict, train
from lpie.critic_training.rating_measures import agreement, deviation_of, mean_of
from lpie.critic_training.ratings import READERS, RatedPhotographs
from lpie.critic_training.settings_options import add_settings
from lpie.records import write_csv, write_tensors
from lpie.weights import int8_channels

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RatingTraining:
    """How a NIMA learns ratings."""

    backbone: str = "mobilenet_v1"
    initial: str = ""  # a NIMA to start from: a name that `NIMA.from_pretrained` knows, or a file
    imagenet: bool = False  # start from torchvision's ImageNet weights instead
    input_size: int = 0  # px; 0 for the backbone's own
    batch: int = 96
    head_epochs: int = 5
    head_rate: float = 1e-3
    all_epochs: int = 9
    all_rate: float = 3e-5
    weight_decay: float = 0.0
    folds: int = 0
    seed: int = 0
    int8: bool = False  # store the weights as eight-bit integers with a scale for each output channel

    def network(self) -> NIMA:
        """A trainable NIMA to begin with; the head's weights, when it starts from a NIMA, are kept."""
        torch.manual_seed(self.seed)
        if self.initial:
            start = NIMA.from_pretrained(self.initial)
            nima = NIMA(start.backbone, "antialiased", self.input_size or start.input_size)
            nima.network.load_state_dict(start.network.state_dict())
            return nima
        return NIMA(self.backbone, "antialiased", self.input_size or None, self.imagenet)  # type: ignore[arg-type]


def main() -> None:
    """Read the ratings, train, and write weights and agreement."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("ratings", choices=list(READERS))
    parser.add_argument("--data", type=Path, required=True, help="folder of the dataset as it is distributed")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add_settings(parser, RatingTraining)
    given = vars(parser.parse_args())
    ratings, data, out, device = (given.pop(name) for name in ("ratings", "data", "out", "device"))
    settings = RatingTraining(**given)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    with Crew(device) as crew:
        rated = READERS[ratings](data)
        nima, held_out, predicted = (learn_by_folds if settings.folds else learn)(settings, rated, out, crew)
        if crew.leads:
            write_results(settings, ratings, nima, held_out, predicted, out)


def learn(
    settings: RatingTraining, rated: RatedPhotographs, out: Path, crew: Crew
) -> tuple[NIMA, RatedPhotographs, np.ndarray]:
    """Train on the split `train`, predict `test`."""
    nima = train(settings, settings.network(), rated.of("train"), out / "state.safetensors", crew)
    held_out = rated.of("test")
    return nima, *_decoded(held_out, predict(nima, held_out, crew))


def learn_by_folds(
    settings: RatingTraining, rated: RatedPhotographs, out: Path, crew: Crew
) -> tuple[NIMA, RatedPhotographs, np.ndarray]:
    """Predict each photograph by a network that saw none of its group, then train on all."""
    predicted = np.zeros((len(rated), 10), np.float32)
    folds = GroupKFold(settings.folds, shuffle=True, random_state=settings.seed)
    for number, (seen, unseen) in enumerate(folds.split(rated.distributions, groups=rated.groups)):
        nima = train(settings, settings.network(), rated.take(seen), out / f"fold{number}.safetensors", crew)
        predicted[unseen] = predict(nima, rated.take(unseen), crew)
        log.info("fold %d of %d", number + 1, settings.folds)
    nima = train(settings, settings.network(), rated, out / "state.safetensors", crew)
    return nima, *_decoded(rated, predicted)


def _decoded(rated: RatedPhotographs, predicted: np.ndarray) -> tuple[RatedPhotographs, np.ndarray]:
    """Without the photographs that turned out not to be readable."""
    kept = np.flatnonzero(np.isfinite(predicted).all(1))
    if len(kept) < len(rated):
        log.warning("%d of %d held-out photographs could not be decoded.", len(rated) - len(kept), len(rated))
    return rated.take(kept), predicted[kept]


def write_results(
    settings: RatingTraining, ratings: str, nima: NIMA, held_out: RatedPhotographs, predicted: np.ndarray, out: Path
) -> None:
    """Weights, predictions and agreement; prints the agreement."""
    notes = {name: str(value) for name, value in asdict(settings).items() if name not in ("backbone", "input_size")}
    tensors = nima.network.state_dict()
    stored = int8_channels(tensors) if settings.int8 else {name: tensor.half() for name, tensor in tensors.items()}
    write_tensors(out / "weights.safetensors", stored, {**nima.metadata(), "ratings": ratings, **notes})
    table = agreement(predicted, held_out.distributions)
    columns = {"photo": [path.name for path in held_out.paths], "rated_mean": mean_of(held_out.distributions)}
    columns |= {"predicted_mean": mean_of(predicted), "rated_deviation": deviation_of(held_out.distributions)}
    columns |= {"predicted_deviation": deviation_of(predicted)}
    write_csv(out / "predictions.csv", pd.DataFrame(columns))
    write_csv(out / "agreement.csv", table)
    print(table.to_string(index=False, float_format="%.3f"), flush=True)


if __name__ == "__main__":
    main()
