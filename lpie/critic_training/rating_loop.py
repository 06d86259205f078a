"""The loop that trains a NIMA on ratings, alone or as one of several processes that share each batch."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from lpie.critic.nima import NIMA
from lpie.critic_training.ratings import RatedPhotographs
from lpie.imaging.pixels import from_uint8, to_uint8
from lpie.imaging.resampling import resize
from lpie.losses.fidelity import earth_movers_distance
from lpie.photos.photographs import read_photo
from lpie.records import read_tensors, write_tensors

if TYPE_CHECKING:
    from lpie.critic_training.rating_training import RatingTraining

log = logging.getLogger(__name__)

ENLARGED = 8 / 7  # side of the squares from which crops are taken over that of the crops: 256 to 224
KEPT_IN_MEMORY = 4 << 30  # bytes of squares that are not read twice
SAVE_EVERY = 500  # steps


class Crew:
    """The processes that torchrun started, or this one alone; each takes every n-th photograph of a batch."""

    def __init__(self, device: str = "cpu") -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        index = f":{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" else ""
        self.device = torch.device(device + index)

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def rows(self, count: int) -> slice:
        """This process's rows of a batch of `count`; never none, or the others would wait."""
        return slice(self.rank, None, self.size) if self.rank < count else slice(0, 1)

    def share(self, batch: Tensor) -> Tensor:
        """This process's rows of a batch."""
        return batch[self.rows(len(batch))]

    def __enter__(self) -> Crew:
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        if self.size > 1:
            distributed.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.size > 1:
            distributed.destroy_process_group()


class Squares:
    """Photographs as squares of `side` px, read by many threads; one that cannot be decoded is black and counted."""

    def __init__(self, paths: tuple[Path, ...], side: int) -> None:
        self.paths, self.side = paths, side
        self.broken: set[int] = set()
        self._kept: dict[int, Tensor] = {}
        self._room = KEPT_IN_MEMORY // (3 * side * side)
        self._readers = ThreadPoolExecutor(min(16, os.cpu_count() or 1))

    def batches(self, batches: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Each batch of positions as squares, uint8 (B, 3, side, side), and which could be read; reads one ahead."""
        with ThreadPoolExecutor(1) as ahead:
            coming = [ahead.submit(self._batch, positions) for positions in batches[:1]]
            for following in batches[1:]:
                coming.append(ahead.submit(self._batch, following))
                yield coming.pop(0).result()
            yield from (last.result() for last in coming)

    def _batch(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        wanted = positions.tolist()
        squares = torch.stack(list(self._readers.map(self._square, wanted)))
        return squares, torch.tensor([position not in self.broken for position in wanted])

    def _square(self, position: int) -> UInt8[Tensor, "3 side side"]:
        if position in self._kept:
            return self._kept[position]
        try:
            square = to_uint8(resize(read_photo(self.paths[position]), self.side, self.side))[0]
        except (OSError, ValueError) as error:
            if position not in self.broken:
                log.warning("Left out, %d so far: %s", len(self.broken) + 1, error)
            self.broken.add(position)
            square = torch.zeros(3, self.side, self.side, dtype=torch.uint8)
        if len(self._kept) < self._room:
            self._kept[position] = square
        return square


class SharedDropout(nn.Dropout):
    """Dropout whose mask is drawn for the whole batch, of which a process takes its rows."""

    draws: torch.Generator
    total = 1
    rows = slice(None)

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        drawn = torch.rand(self.total, *input.shape[1:], generator=self.draws)[self.rows]
        return input * (drawn >= self.p).to(input) / (1 - self.p)


def train(settings: RatingTraining, nima: NIMA, rated: RatedPhotographs, state: Path, crew: Crew) -> NIMA:
    """`nima` trained on `rated` and frozen; goes on from the file `state` if it is there, and leaves it."""
    if not len(rated):
        raise ValueError("No rated photograph to train on: is the folder of photographs where the reader looks?")
    nima.to(crew.device).unfreeze().train()
    dropouts = _share_dropout(nima.network)
    squares = Squares(rated.paths, round(nima.input_size * ENLARGED))
    targets = torch.from_numpy(rated.distributions).to(crew.device)
    progress = _Progress(settings, nima, len(rated), state)
    for epoch in range(progress.step // progress.steps_an_epoch, settings.head_epochs + settings.all_epochs):
        model, optimizer = progress.begin(epoch, crew)
        order = torch.randperm(len(rated), generator=torch.Generator().manual_seed(settings.seed * 1000 + epoch))
        batches = list(order.split(settings.batch))[progress.step - epoch * progress.steps_an_epoch :]
        started, distance = time.monotonic(), torch.zeros((), device=crew.device)
        for batch, (photos, readable) in zip(batches, squares.batches([crew.share(b) for b in batches]), strict=True):
            draws = torch.Generator().manual_seed((settings.seed << 32) + progress.step)
            crops = crew.share(_crops(len(batch), squares.side - nima.input_size + 1, draws))
            for dropout in dropouts:
                dropout.draws, dropout.total, dropout.rows = draws, len(batch), crew.rows(len(batch))
            photos = cropped(photos.to(crew.device), crops.to(crew.device), nima.input_size)
            with torch.autocast(crew.device.type, torch.bfloat16, enabled=crew.device.type == "cuda"):
                estimated = model(photos)
            counted = readable.to(crew.device) & (crew.rank < len(batch))
            distances = earth_movers_distance(estimated, targets[crew.share(batch).to(crew.device)], r=2)
            loss = (distances * counted).sum() / len(batch)
            progress.set_rate(optimizer)
            optimizer.zero_grad()
            (loss * crew.size).backward()  # gradients are averaged over processes, each of which has a share
            optimizer.step()
            distance += loss.detach()
            progress.step += 1
            if crew.leads and (progress.step % SAVE_EVERY == 0 or progress.step % progress.steps_an_epoch == 0):
                progress.save(optimizer)
        if len(squares.broken) == len(rated):
            raise ValueError(f"None of {len(rated)} photographs could be decoded, such as {rated.paths[0]}.")
        if crew.leads and batches:
            spent = time.monotonic() - started
            log.info("epoch %d: EMD %.4f, %.1f s", epoch + 1, distance.item() / len(batches) * crew.size, spent)
    return nima.freeze()


@torch.inference_mode()
def predict(nima: NIMA, rated: RatedPhotographs, crew: Crew, batch: int = 64) -> Float[np.ndarray, "n 10"]:
    """Score distributions of the whole photographs; NaN where one could not be decoded."""
    predicted = torch.zeros(len(rated), 10, device=crew.device)
    batches = list(torch.arange(len(rated)).split(batch))[crew.rank :: crew.size]
    squares = Squares(rated.paths, nima.input_size)
    for positions, (photos, readable) in zip(batches, squares.batches(batches), strict=True):
        estimated = nima(from_uint8(photos.to(crew.device)))
        predicted[positions.to(crew.device)] = estimated.masked_fill(~readable.to(crew.device)[:, None], torch.nan)
    if crew.size > 1:
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
        self._moments: dict[int, dict[str, Tensor]] = {}
        if state.exists():
            tensors, counts = read_tensors(state)
            own = {name.removeprefix("nima."): t for name, t in tensors.items() if name.startswith("nima.")}
            nima.network.load_state_dict(own)
            for name in (name for name in tensors if name.startswith("adam.")):
                _, index, moment = name.split(".")
                self._moments.setdefault(int(index), {})[moment] = tensors[name]
            self.step = int(counts["step"])
            log.info("Going on from step %d.", self.step)

    def begin(self, epoch: int, crew: Crew) -> tuple[nn.Module, torch.optim.Optimizer]:
        """The model and optimizer of an epoch: new ones when its phase begins."""
        phase = int(epoch >= self.settings.head_epochs)
        if phase == self._phase:
            return self._model, self._optimizer
        self._phase = phase
        _keep_batch_norm(self.nima)
        head = [layer for layer in self.nima.network.modules() if isinstance(layer, nn.Linear)][-1]
        self.nima.requires_grad_(phase == 1)
        head.requires_grad_(True)
        trained = [parameter for parameter in self.nima.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(trained, weight_decay=self.settings.weight_decay)
        first = phase * self.settings.head_epochs * self.steps_an_epoch
        if self._moments and self.step > first:
            groups = self._optimizer.state_dict()["param_groups"]
            self._optimizer.load_state_dict({"state": self._moments, "param_groups": groups})
        devices = [crew.device] if crew.device.type == "cuda" else None
        self._model = DistributedDataParallel(self.nima, devices) if crew.size > 1 else self.nima
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
        for index, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{name}": tensor for name, tensor in moments.items()}
        write_tensors(self.state, tensors, {"step": str(self.step)})


def cropped(
    squares: UInt8[Tensor, "n 3 side side"], crops: Int[Tensor, "n 3"], size: int
) -> Float[Tensor, "n 3 size size"]:
    """From each square `size` px from the row and column of `crops`; its third number is 1 for a mirrored one."""
    steps = torch.arange(size, device=squares.device)
    rows = crops[:, :1] + steps
    columns = crops[:, 1:2] + torch.where(crops[:, 2:] > 0, steps.flip(0), steps)
    photograph = torch.arange(len(squares), device=squares.device)[:, None, None]
    return from_uint8(squares[photograph, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2))


def _crops(count: int, positions: int, draws: torch.Generator) -> Int[Tensor, "count 3"]:
    places = torch.randint(positions, (count, 2), generator=draws)
    return torch.cat([places, torch.randint(2, (count, 1), generator=draws)], dim=1)


def _share_dropout(network: nn.Module) -> list[SharedDropout]:
    shared = []
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Dropout):
                shared.append(SharedDropout(child.p))
                setattr(parent, name, shared[-1].train(child.training))
    return shared


def _keep_batch_norm(nima: NIMA) -> None:
    for layer in nima.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.eval()
