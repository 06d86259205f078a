"""Training of a NIMA on people's ratings, by one process or several, and how well it agrees with unseen ones.

Several processes share each batch and average their gradients. What is random (order, crops, dropout) is drawn for
the whole batch from the seed, the epoch and the step, so that their number changes nothing but rounding; a training
that was stopped goes on from its checkpoint to the same bytes.

Source: Talebi & Milanfar, NIMA, TIP 2018, section III: earth mover's distance with r = 2; a dropout of 0.75; random
224-px crops of 256-px photographs, mirrored at random; the last layer learns faster than the others.
Differs: Adam, 1e-3 while only the last layer learns and 3e-5 for all layers, each along a cosine to zero, because the
published rates for SGD do not converge; batch norm, where a backbone has it, keeps its statistics.
"""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from lpie.critic.nima import NIMA, mean_score, score_standard_deviation
from lpie.critic_training.agreement import agreement
from lpie.critic_training.processes import Processes, ReducedPhotographs, share_dropout
from lpie.critic_training.ratings import READERS, RatedPhotographs
from lpie.critic_training.settings import RatingTraining
from lpie.imaging.color import from_uint8
from lpie.losses.fidelity import earth_movers_distance
from lpie.records import read_tensors, write_csv, write_tensors
from lpie.study.resuming import going_on, optimizer_tensors, restore_optimizer

log = logging.getLogger(__name__)

ENLARGED = 8 / 7  # side of the photographs from which crops are taken over that of the crops: 256 to 224
SAVE_EVERY = 500  # steps


def learn_ratings(settings: RatingTraining, dataset: str, data: Path, out: Path, device: str) -> None:
    """Train on a dataset's split `train` and print how well people's ratings of its split `test` are predicted.

    `out` gets `weights.safetensors`, `predictions.csv` and `agreement.csv` of the test photographs, and
    `state.safetensors`, from which the same command goes on to the same bytes.
    """
    with Processes(device) as processes:
        rated = READERS[dataset](data)
        nima = train(settings, new_network(settings), rated.of("train"), out / "state.safetensors", processes)
        held_out = rated.of("test")
        predicted = predict(nima, held_out, processes)
        if not processes.writes:
            return
    decoded = np.flatnonzero(np.isfinite(predicted).all(1))
    if len(decoded) < len(held_out):
        log.warning("%d of %d test photographs could not be decoded.", len(held_out) - len(decoded), len(held_out))
    held_out, predicted = held_out.take(decoded), predicted[decoded]
    notes = {name: str(value) for name, value in asdict(settings).items() if name not in ("backbone", "input_size")}
    nima.save(out / "weights.safetensors", torch.float16, ratings=dataset, **notes)
    columns: dict[str, Any] = {"photo": [path.name for path in held_out.paths]}
    for who, distributions in (("rated", held_out.distributions), ("predicted", predicted)):
        known = torch.from_numpy(distributions)
        columns |= {f"{who}_mean": mean_score(known), f"{who}_standard_deviation": score_standard_deviation(known)}
    write_csv(out / "predictions.csv", pd.DataFrame(columns))
    table = agreement(predicted, held_out.distributions)
    write_csv(out / "agreement.csv", table)
    print(table.to_string(index=False, float_format="%.3f"), flush=True)


def new_network(settings: RatingTraining) -> NIMA:
    """A trainable NIMA to begin with; the last layer's weights, when it starts from a NIMA, are kept."""
    torch.manual_seed(settings.seed)
    if settings.initial:
        start = NIMA.from_pretrained(settings.initial)
        nima = NIMA(start.backbone, "antialiased", settings.input_size or start.input_size)
        nima.network.load_state_dict(start.network.state_dict())
        return nima
    return NIMA(settings.backbone, "antialiased", settings.input_size or None, settings.imagenet)  # type: ignore[arg-type]


def train(settings: RatingTraining, nima: NIMA, rated: RatedPhotographs, state: Path, processes: Processes) -> NIMA:
    """`nima` trained on `rated` and frozen; goes on from the file `state` if it is there, and leaves it.

    Raises ValueError if there is no photograph, or none that can be decoded.
    """
    if not len(rated):
        raise ValueError("No rated photograph to train on: is the folder of photographs where the reader looks?")
    nima.to(processes.device).unfreeze().train()
    dropouts = share_dropout(nima.network)
    photographs = ReducedPhotographs(rated.paths, round(nima.input_size * ENLARGED))
    wanted = torch.from_numpy(rated.distributions).to(processes.device)
    progress = _Progress(settings, nima, len(rated), state)
    for epoch in range(progress.step // progress.steps_an_epoch, settings.head_epochs + settings.all_epochs):
        model, optimizer = progress.begin(epoch, processes)
        order = torch.randperm(len(rated), generator=torch.Generator().manual_seed(settings.seed * 1000 + epoch))
        batches = list(order.split(settings.batch))[progress.step - epoch * progress.steps_an_epoch :]
        started, distance = time.monotonic(), torch.zeros((), device=processes.device)
        shares = photographs.batches([processes.share(batch) for batch in batches])
        for batch, (photos, readable) in zip(batches, shares, strict=True):
            draws = torch.Generator().manual_seed((settings.seed << 32) + progress.step)
            crops = processes.share(_draw_crops(len(batch), photographs.side - nima.input_size + 1, draws))
            for dropout in dropouts:
                dropout.draws, dropout.total, dropout.rows = draws, len(batch), processes.rows(len(batch))
            photos = cropped(photos.to(processes.device), crops, nima.input_size)
            with torch.autocast(processes.device.type, torch.bfloat16, enabled=processes.device.type == "cuda"):
                estimated = model(photos)
            counted = readable.to(processes.device) & (processes.rank < len(batch))
            distances = earth_movers_distance(estimated, wanted[processes.share(batch).to(processes.device)], r=2)
            loss = (distances * counted).sum() / len(batch)
            progress.set_rate(optimizer)
            optimizer.zero_grad()
            (loss * processes.count).backward()  # gradients are averaged over processes, each of which has a share
            optimizer.step()
            distance += loss.detach()
            progress.step += 1
            if processes.writes and (progress.step % SAVE_EVERY == 0 or progress.step % progress.steps_an_epoch == 0):
                progress.save(optimizer)
        if len(photographs.broken) == len(rated):
            raise ValueError(f"None of {len(rated)} photographs could be decoded, such as {rated.paths[0]}.")
        if processes.writes and batches:
            spent = time.monotonic() - started
            log.info("epoch %d: EMD %.4f, %.1f s", epoch + 1, distance.item() / len(batches) * processes.count, spent)
    return nima.freeze()


@torch.inference_mode()
def predict(nima: NIMA, rated: RatedPhotographs, processes: Processes, batch: int = 64) -> Float[np.ndarray, "n 10"]:
    """Score distributions of the whole photographs; NaN where one could not be decoded."""
    predicted = torch.zeros(len(rated), 10, device=processes.device)
    batches = list(torch.arange(len(rated)).split(batch))[processes.rank :: processes.count]
    photographs = ReducedPhotographs(rated.paths, nima.input_size)
    for positions, (photos, readable) in zip(batches, photographs.batches(batches), strict=True):
        estimated = nima(from_uint8(photos.to(processes.device)))
        unreadable = ~readable.to(processes.device)[:, None]
        predicted[positions.to(processes.device)] = estimated.masked_fill(unreadable, torch.nan)
    if processes.count > 1:
        distributed.all_reduce(predicted)
    return predicted.cpu().numpy()


class _Progress:
    """The step, what is kept of it on disk, and what each of the two phases trains."""

    def __init__(self, settings: RatingTraining, nima: NIMA, photographs: int, state: Path) -> None:
        self.settings, self.nima, self.state = settings, nima, state
        self.steps_an_epoch = math.ceil(photographs / settings.batch)
        self.step = 0
        self._phase: int | None = None
        self._model: nn.Module = nima
        self._optimizer: torch.optim.Optimizer = torch.optim.SGD(nima.parameters())
        self._stored: dict[str, Tensor] = {}
        self._origin = json.dumps({**asdict(settings), "photographs": photographs})
        if state.exists():
            self._stored, counts = read_tensors(state)
            with going_on(state, counts.get("origin"), self._origin):
                torch.set_num_threads(int(counts["threads"]))  # another number would add up in another order
                own = {name.removeprefix("nima."): t for name, t in self._stored.items() if name.startswith("nima.")}
                nima.network.load_state_dict(own)
                self.step = int(counts["step"])
            log.info("Going on from step %d.", self.step)

    def begin(self, epoch: int, processes: Processes) -> tuple[nn.Module, torch.optim.Optimizer]:
        """The model and optimizer of an epoch: new ones when its phase begins."""
        phase = int(epoch >= self.settings.head_epochs)
        if phase == self._phase:
            return self._model, self._optimizer
        self._phase = phase
        for layer in self.nima.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.eval()
        head = [layer for layer in self.nima.network.modules() if isinstance(layer, nn.Linear)][-1]
        self.nima.requires_grad_(phase == 1)
        head.requires_grad_(True)
        trained = [parameter for parameter in self.nima.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(trained, weight_decay=self.settings.weight_decay)
        if self.step > phase * self.settings.head_epochs * self.steps_an_epoch:
            restore_optimizer(self._optimizer, self._stored)
        devices = [processes.device] if processes.device.type == "cuda" else None
        self._model = DistributedDataParallel(self.nima, devices) if processes.count > 1 else self.nima
        return self._model, self._optimizer

    def set_rate(self, optimizer: torch.optim.Optimizer) -> None:
        """A cosine from the phase's rate to zero at its end."""
        settings = self.settings
        head_steps = settings.head_epochs * self.steps_an_epoch
        if self._phase:
            done, rate = (self.step - head_steps) / (settings.all_epochs * self.steps_an_epoch), settings.all_rate
        else:
            done, rate = self.step / head_steps, settings.head_rate
        for group in optimizer.param_groups:
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * done))

    def save(self, optimizer: torch.optim.Optimizer) -> None:
        """Weights, Adam's moments and the step."""
        tensors = {f"nima.{name}": tensor for name, tensor in self.nima.network.state_dict().items()}
        counts = {"step": str(self.step), "origin": self._origin, "threads": str(torch.get_num_threads())}
        write_tensors(self.state, tensors | optimizer_tensors(optimizer), counts)


def cropped(
    photos: UInt8[Tensor, "n 3 side side"], crops: Int[Tensor, "n 3"], size: int
) -> Float[Tensor, "n 3 size size"]:
    """From each photo `size` px from the row and column of `crops`; its third number is 1 for a mirrored one."""
    places = zip(photos, crops.tolist(), strict=True)
    parts = [(photo[:, top : top + size, left : left + size], mirrored) for photo, (top, left, mirrored) in places]
    return from_uint8(torch.stack([part.flip(2) if mirrored else part for part, mirrored in parts]))


def _draw_crops(count: int, positions: int, draws: torch.Generator) -> Int[Tensor, "count 3"]:
    places = torch.randint(positions, (count, 2), generator=draws)
    return torch.cat([places, torch.randint(2, (count, 1), generator=draws)], dim=1)
