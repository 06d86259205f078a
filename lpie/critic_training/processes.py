"""One process or several that share each batch: its photographs, and the masks of dropout."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor, distributed, nn

from lpie.imaging.color import to_uint8
from lpie.imaging.resampling import resize
from lpie.photos.photographs import read_photo

log = logging.getLogger(__name__)

KEPT_IN_MEMORY = 4 << 30  # bytes of reduced photographs that are not read twice


class Processes:
    """The processes that torchrun started, or this one alone; each takes every n-th photograph of a batch."""

    def __init__(self, device: str = "cpu") -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        index = f":{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" else ""
        self.device = torch.device(device + index)

    @property
    def writes(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def rows(self, batch: int) -> slice:
        """This process's rows of a batch of that size; never none, or the others would wait."""
        return slice(self.rank, None, self.count) if self.rank < batch else slice(0, 1)

    def share(self, batch: Tensor) -> Tensor:
        """This process's rows of a batch."""
        return batch[self.rows(len(batch))]

    def __enter__(self) -> Processes:
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        if self.count > 1:
            distributed.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
        return self

    def __exit__(self, *_: object) -> None:
        if self.count > 1:
            distributed.destroy_process_group()


class ReducedPhotographs:
    """Photographs reduced to `side` x `side` px, read by several threads; one that cannot be decoded is black."""

    def __init__(self, paths: tuple[Path, ...], side: int) -> None:
        self.paths, self.side = paths, side
        self.broken: set[int] = set()
        self._kept: dict[int, Tensor] = {}
        self._most_kept = KEPT_IN_MEMORY // (3 * side * side)

    def batches(self, batches: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Each batch of positions as uint8 (B, 3, side, side), and which could be read; reads one batch ahead."""
        with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as readers:
            wanted = [batch.tolist() for batch in batches]
            coming = [readers.map(self._read, positions) for positions in wanted[:1]]
            for number, positions in enumerate(wanted):
                coming += [readers.map(self._read, following) for following in wanted[number + 1 : number + 2]]
                photos = torch.stack(list(coming.pop(0)))
                yield photos, torch.tensor([position not in self.broken for position in positions])

    def _read(self, position: int) -> UInt8[Tensor, "3 side side"]:
        if position in self._kept:
            return self._kept[position]
        try:
            photo = to_uint8(resize(read_photo(self.paths[position]), self.side, self.side))[0]
        except (OSError, ValueError) as error:
            if position not in self.broken:
                log.warning("Left out, %d so far: %s", len(self.broken) + 1, error)
            self.broken.add(position)
            photo = torch.zeros(3, self.side, self.side, dtype=torch.uint8)
        if len(self._kept) < self._most_kept:
            self._kept[position] = photo
        return photo


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


def share_dropout(network: nn.Module) -> list[SharedDropout]:
    """Put a SharedDropout in the place of every dropout of `network`; returns them."""
    shared = []
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Dropout):
                shared.append(SharedDropout(child.p))
                setattr(parent, name, shared[-1].train(child.training))
    return shared
