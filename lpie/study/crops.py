"""Training material on the device: whole scenes as bytes, crops of them on demand, no copy from the host in a step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lpie.operators.nonlocal_dehazing import Dehazed
from lpie.study.settings import Schedule
from lpie.study.targets import Scene

VALIDATION_SCENES = 16  # enough to see a run converge; choosing uses the whole split


class CropPool:
    """All scenes of the training and validation splits on the device, as padded uint8, ready to be cropped."""

    def __init__(self, scenes: Sequence[Scene], estimates: bool, device: torch.device) -> None:
        train = [scene for scene in scenes if scene.split == "train"]
        if not train:
            raise ValueError("Expected scenes of the training split, got none: check the profile's photographs.")
        self.train_sizes = torch.tensor([scene.photo.shape[-2:] for scene in train])
        self.photos = _stacked([scene.photo for scene in train], device)
        self.targets = _stacked([scene.target for scene in train], device)
        self.transmissions = self.airlights = None
        if estimates:
            self.transmissions = _stacked([_known(scene.transmission, scene) for scene in train], device)
            self.airlights = torch.stack([_known(scene.airlight, scene) for scene in train]).to(device)
        self._validation = [scene for scene in scenes if scene.split == "validation"][:VALIDATION_SCENES]
        self._estimates, self._device = estimates, device
        self._middle: tuple[Tensor, Tensor, Dehazed | None] | None = None

    def crops(self, draws: Tensor, crop: int) -> tuple[Tensor, Tensor, Dehazed | None]:
        """The crops that `draws` (batch, 4: scene, top, left, flip) names, float32 in [0, 1], channels-last."""
        scene, top, left, flip = draws.unbind(-1)
        along = torch.arange(crop, device=draws.device)
        rows = (top[:, None] + along)[:, :, None]
        columns = (left[:, None] + torch.where(flip[:, None] == 1, crop - 1 - along, along))[:, None, :]
        where = (scene[:, None, None], rows, columns)
        photo, target = (stack[where].permute(0, 3, 1, 2).float() / 255 for stack in (self.photos, self.targets))
        if self.transmissions is None or self.airlights is None:
            return photo, target, None
        transmission = self.transmissions[where].permute(0, 3, 1, 2).float() / 255
        return photo, target, Dehazed(target, transmission, self.airlights[scene])

    def validation(self, crop: int) -> tuple[Tensor, Tensor, Dehazed | None]:
        """The middle of the first validation scenes."""
        if self._middle is None:
            kept = [scene for scene in self._validation if min(scene.photo.shape[-2:]) >= crop]
            if not kept:
                raise ValueError(f"No validation scene is at least {crop} px wide and high: use a smaller crop.")
            photo, target = (
                torch.stack([_center(tensor, crop) for tensor in tensors]).to(self._device).float() / 255
                for tensors in ([scene.photo for scene in kept], [scene.target for scene in kept])
            )
            estimate = None
            if self._estimates:
                transmission = torch.stack([_center(_known(scene.transmission, scene), crop) for scene in kept])
                light = torch.stack([_known(scene.airlight, scene) for scene in kept])
                estimate = Dehazed(target, transmission.to(self._device).float() / 255, light.to(self._device))
            self._middle = (photo, target, estimate)
        return self._middle


def draw_crops(seed: int, schedule: Schedule, sizes: Tensor) -> Tensor:
    """Scene, top, left and flip for every crop of every step: int64 (steps, batch, 4).

    `sizes`: (scenes, 2) heights and widths. Scenes smaller than the crop are never drawn; if none is large
    enough, ValueError.
    """
    generator = torch.Generator().manual_seed(seed)
    large = torch.nonzero((sizes >= schedule.crop).all(dim=1))[:, 0]
    if len(large) == 0:
        raise ValueError(f"No scene is at least {schedule.crop} px wide and high: use a smaller crop.")
    shape = (schedule.steps, schedule.batch)
    scene = large[torch.randint(len(large), shape, generator=generator)]
    room = sizes[scene] - schedule.crop + 1
    corner = (torch.rand((*shape, 2), generator=generator, dtype=torch.float64) * room).long()
    flip = torch.randint(2, shape, generator=generator)
    return torch.cat([scene[..., None], corner, flip[..., None]], dim=-1)


def _stacked(tensors: list[Tensor], device: torch.device) -> Tensor:
    """(N, H, W, C) uint8, each tensor in the upper left corner."""
    height = max(tensor.shape[-2] for tensor in tensors)
    width = max(tensor.shape[-1] for tensor in tensors)
    padded = [F.pad(tensor, (0, width - tensor.shape[-1], 0, height - tensor.shape[-2])) for tensor in tensors]
    return torch.stack([tensor.permute(1, 2, 0) for tensor in padded]).contiguous().to(device)


def _center(tensor: Tensor, crop: int) -> Tensor:
    top, left = (tensor.shape[-2] - crop) // 2, (tensor.shape[-1] - crop) // 2
    return tensor[..., top : top + crop, left : left + crop]


def _known(tensor: Tensor | None, scene: Scene) -> Tensor:
    if tensor is None:
        raise ValueError(f"Scene {scene.name} has no estimate of its haze, which this network needs.")
    return tensor
