"""Training material on the device: whole photographs as bytes, batches of one shape on demand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lpie.operators.nonlocal_dehazing import Dehazed
from lpie.study.settings import Schedule
from lpie.study.targets import Scene

VALIDATION_SCENES = 16  # enough to see a run converge; choosing uses the whole split


class Batch(NamedTuple):
    """Photos and their targets, (N, 3, H, W) in [0, 1], and for dehazing what the operator estimated."""

    photo: Tensor
    target: Tensor
    estimate: Dehazed | None


@dataclass(frozen=True)
class Frame:
    """Every training photograph of one shape: (N, H, W, C) uint8 tensors."""

    photos: Tensor
    targets: Tensor
    transmissions: Tensor | None
    airlights: Tensor | None

    @property
    def side(self) -> int:
        """The shorter side, in px."""
        return min(self.photos.shape[1:3])

    def batch(self, chosen: Tensor, mirrored: Tensor) -> Batch:
        """The photographs `chosen` (indices), those turned left to right where `mirrored` is 1; channels-last."""
        photo, target = (_turned(stack, chosen, mirrored) for stack in (self.photos, self.targets))
        if self.transmissions is None or self.airlights is None:
            return Batch(photo, target, None)
        transmission = _turned(self.transmissions, chosen, mirrored)
        return Batch(photo, target, Dehazed(target, transmission, self.airlights.index_select(0, chosen)))


class PhotographPool:
    """All scenes of the training and validation splits on the device."""

    def __init__(self, scenes: Sequence[Scene], estimates: bool, device: torch.device) -> None:
        shapes: dict[tuple[int, ...], list[Scene]] = defaultdict(list)
        for scene in scenes:
            if scene.split == "train":
                shapes[tuple(scene.photo.shape[-2:])].append(scene)
        if not shapes:
            raise ValueError("Expected scenes of the training split, got none: check the profile's photographs.")
        self.frames = [_frame(shapes[shape], estimates, device) for shape in sorted(shapes)]
        kept = [scene for scene in scenes if scene.split == "validation"][:VALIDATION_SCENES]
        if not kept:
            raise ValueError("Expected scenes of the validation split, got none: check the profile's photographs.")
        self._validation = [_frame([scene], estimates, device) for scene in kept]

    def validation(self) -> list[Batch]:
        """The first validation scenes, whole, one by one."""
        return [frame.batch(*frame.photos.new_zeros(2, 1, dtype=torch.long)) for frame in self._validation]


class Draws(NamedTuple):
    """What each step is shown: the frame, and for each place of its batch a photograph of it and whether mirrored."""

    frames: list[int]
    photos: Tensor  # (steps, batch), int64
    mirrored: Tensor  # (steps, batch), int64


def draw_photographs(seed: int, schedule: Schedule, frames: Sequence[tuple[int, int]]) -> Draws:
    """The draws of every step of a run. `frames`: (side in px, number of photographs) of each frame.

    Every side of the schedule is drawn as often; within a side every photograph is. Raises ValueError where a side has
    no photograph.
    """
    generator = torch.Generator().manual_seed(seed)
    counts = torch.tensor([count for _, count in frames], dtype=torch.float64)
    chance = torch.zeros_like(counts)
    for side in schedule.sides:
        here = torch.tensor([side == other for other, _ in frames])
        if not here.any():
            known = sorted({other for other, _ in frames})
            raise ValueError(f"No training photograph has a shorter side of {side} px: choose among {known}.")
        chance += torch.where(here, counts / counts[here].sum(), 0.0)
    drawn = torch.multinomial(chance, schedule.steps, replacement=True, generator=generator)
    place = torch.rand((schedule.steps, schedule.batch), generator=generator, dtype=torch.float64)
    photos = (place * counts[drawn][:, None]).long()
    mirrored = torch.randint(2, photos.shape, generator=generator)
    return Draws(drawn.tolist(), photos, mirrored)


def _frame(scenes: Sequence[Scene], estimates: bool, device: torch.device) -> Frame:
    transmissions = airlights = None
    if estimates:
        transmissions = _stacked([_known(scene.transmission, scene) for scene in scenes], device)
        airlights = torch.stack([_known(scene.airlight, scene) for scene in scenes]).to(device)
    photos, targets = ([getattr(scene, part) for scene in scenes] for part in ("photo", "target"))
    return Frame(_stacked(photos, device), _stacked(targets, device), transmissions, airlights)


def _stacked(tensors: list[Tensor], device: torch.device) -> Tensor:
    return torch.stack([tensor.permute(1, 2, 0) for tensor in tensors]).contiguous().to(device)


def _turned(stack: Tensor, chosen: Tensor, mirrored: Tensor) -> Tensor:
    pixels = stack.index_select(0, chosen)
    pixels = torch.where(mirrored[:, None, None, None] == 1, pixels.flip(2), pixels)
    return pixels.permute(0, 3, 1, 2).float() / 255


def _known(tensor: Tensor | None, scene: Scene) -> Tensor:
    if tensor is None:
        raise ValueError(f"Scene {scene.name} has no estimate of its haze, which this network needs.")
    return tensor
