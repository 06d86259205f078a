"""What the training of a critic keeps between steps, and between starts."""

from __future__ import annotations

import copy
import json
import logging
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor, nn

from lpie.critic.nima import NIMA
from lpie.records import read_tensors, write_csv, write_tensors
from lpie.vocabulary import Photo

if TYPE_CHECKING:
    from lpie.critic_training.distillation import Distillation

log = logging.getLogger(__name__)

LOSS_SCALE = 1024.0  # by which a loss is multiplied before its backward pass, which half precision would round to 0
USUAL_WEIGHT = 0.05  # root mean square of the weights for which a learning rate is meant


class State:
    """The student, the running mean of its weights, Adam's moments, the steps and seconds spent, and the log.

    Batch norm is folded into the weights, so that channels of one layer differ in scale a hundredfold and biases are
    large: the same step would leave some as they are and shake others. So Adam moves weights and biases in units of
    their own (see `weight_units`), in which they are alike, as they were when batch norm kept their scales.
    """

    def __init__(self, settings: Distillation, teacher: NIMA, squares: Photo, folder: Path) -> None:
        """From the teacher's or other weights, or from what an earlier start left in `folder`.

        `squares` are a few photos from which the units of the biases are read.
        """
        self.settings, self.folder = settings, folder
        device = teacher.mean.device
        student = NIMA("mobilenet_v1", "antialiased", settings.input_size)
        start = NIMA.from_pretrained(settings.initial) if settings.initial else teacher
        student.network.load_state_dict(start.network.state_dict())
        self.student = student.to(device).eval()  # eval: no dropout
        self.parameters: list[Tensor] = list(student.network.parameters())
        self.units = weight_units(student, squares)
        self.scaled = [
            (weight.detach() / unit).requires_grad_() for weight, unit in zip(self.parameters, self.units, strict=True)
        ]
        self.optimizer = torch.optim.AdamW(
            self.scaled, settings.learning_rate, weight_decay=settings.weight_decay, fused=device.type == "cuda"
        )
        self.average = copy.deepcopy(student).freeze()
        self.step, self.spent = 0, 0.0
        self.rows: list[dict[str, float]] = []
        self._saved = time.monotonic()
        if (folder / "state.safetensors").exists():
            self._restore()

    def progress(self, started: float) -> float:
        """Share of the time that is used up."""
        return (self.spent + time.monotonic() - started) / (60 * self.settings.minutes)

    def set_rate(self, progress: float) -> None:
        """The learning rate: a linear rise, then a cosine to zero."""
        shape = min(1.0, progress / self.settings.warm_up) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * shape

    def update(self, loss: Tensor) -> None:
        """One step down, and the running mean after it; slopes that overflow in half precision count as 0."""
        slopes = torch.autograd.grad(LOSS_SCALE * loss, self.parameters)
        slopes = torch._foreach_div(slopes, LOSS_SCALE)
        length = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(slopes)))
        share = torch.where(length.isfinite(), 1 / length.clamp_min(1.0), 0.0)
        for scaled, slope, unit in zip(self.scaled, slopes, self.units, strict=True):
            scaled.grad = (slope * unit * share).nan_to_num(0.0, 0.0, 0.0)
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_copy_(self.parameters, torch._foreach_mul(self.scaled, self.units))
        self.step += 1
        decay = min(self.settings.average, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.network.parameters()), [p.detach() for p in self.parameters], 1 - decay)

    def record(self, progress: float, values: dict[str, float]) -> None:
        """Add to the log's last line if it is this step's, else begin one."""
        if not self.rows or self.rows[-1]["step"] != self.step:
            self.rows.append({"step": float(self.step)})
        self.rows[-1].update(minutes=progress * self.settings.minutes, **values)
        log.info("step %d, %s", self.step, ", ".join(f"{name} {value:.3f}" for name, value in values.items()))

    def is_due(self) -> bool:
        """Whether a minute has passed since the state was last saved."""
        return time.monotonic() - self._saved > 60

    def save(self, started: float) -> None:
        """Everything that the next start needs, and the log."""
        tensors = {f"scaled.{index}": tensor for index, tensor in enumerate(self.scaled)}
        tensors |= {f"unit.{index}": tensor for index, tensor in enumerate(self.units)}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.network.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{name}": tensor for name, tensor in moments.items()}
        spent = self.spent + time.monotonic() - started
        position = {"step": self.step, "spent": spent}
        write_tensors(self.folder / "state.safetensors", tensors, {"position": json.dumps(position)})
        write_csv(self.folder / "log.csv", pd.DataFrame(self.rows))
        self._saved = time.monotonic()

    def _restore(self) -> None:
        tensors, metadata = read_tensors(self.folder / "state.safetensors")
        own = {name.removeprefix("average."): value for name, value in tensors.items() if name.startswith("average.")}
        self.average.network.load_state_dict(own)
        with torch.no_grad():
            for number, (weight, scaled, unit) in enumerate(zip(self.parameters, self.scaled, self.units, strict=True)):
                scaled.copy_(tensors[f"scaled.{number}"])
                unit.copy_(tensors[f"unit.{number}"])
                weight.copy_(scaled * unit)
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("adam."):
                _, index, moment = name.split(".")
                moments.setdefault(int(index), {})[moment] = tensor
        self.optimizer.load_state_dict({"state": moments, "param_groups": self.optimizer.state_dict()["param_groups"]})
        position = json.loads(metadata["position"])
        self.step, self.spent = position["step"], position["spent"]
        if (self.folder / "log.csv").exists():
            self.rows = pd.read_csv(self.folder / "log.csv").to_dict("records")  # type: ignore[assignment]
        log.info("Going on from step %d after %.1f minutes.", self.step, self.spent / 60)


@torch.no_grad()
def weight_units(nima: NIMA, squares: Photo) -> list[Tensor]:
    """For each parameter, a tensor of its shape: what 1 means to the optimizer.

    In a channel whose weights have a root mean square r it is r / `USUAL_WEIGHT`; for a bias, the deviation over
    `squares` of what it is added to. Channels that do next to nothing count as a tenth of their layer's median.
    """
    convolutions = [module for module in nima.network.modules() if isinstance(module, nn.Conv2d)]
    deviations: dict[nn.Module, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda module, _, output: deviations.update({module: output.std((0, 2, 3))}))
        for module in convolutions
    ]
    nima(squares)
    for hook in hooks:
        hook.remove()
    units: dict[Tensor, Tensor] = {}
    for module in convolutions:
        sizes = module.weight.flatten(1).square().mean(1).sqrt() / USUAL_WEIGHT
        units[module.weight] = _floored(sizes).view(-1, 1, 1, 1).expand_as(module.weight).clone()
        units[module.bias] = _floored(deviations[module])  # type: ignore[index]
    for weight in nima.network.parameters():
        if weight not in units:  # the last layer, which no batch norm followed
            size = weight.square().mean().sqrt() / USUAL_WEIGHT if weight.ndim > 1 else weight.new_ones(())
            units[weight] = size.expand_as(weight).clone()
    return [units[weight] for weight in nima.network.parameters()]


def _floored(sizes: Tensor) -> Tensor:
    return sizes.clamp_min(0.1 * sizes.median()).clamp_min(1e-6)
