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

from lpie.aesthetics.nima import NIMA
from lpie.records import read_tensors, write_csv, write_tensors

if TYPE_CHECKING:
    from lpie.aesthetics.distillation import Distillation

log = logging.getLogger(__name__)


class State:
    """The student, the running mean of its weights, Adam's moments, the steps and seconds spent, and the log."""

    def __init__(self, settings: Distillation, teacher: NIMA, folder: Path) -> None:
        """From the teacher's or other weights, or from what an earlier start left in `folder`."""
        self.settings, self.folder = settings, folder
        device = teacher.mean.device
        student = NIMA("mobilenet_v1", "antialiased", settings.input_size)
        start = NIMA.from_pretrained(settings.initial) if settings.initial else teacher
        student.network.load_state_dict(start.network.state_dict())
        self.student = student.to(device).eval()  # eval: no dropout
        self.parameters = list(student.network.parameters())
        self.optimizer = torch.optim.AdamW(
            self.parameters, settings.learning_rate, weight_decay=settings.weight_decay, fused=device.type == "cuda"
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
        """One step down, and the running mean after it."""
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0, foreach=True)
        self.optimizer.step()
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
        """Whether half a minute has passed since the state was last saved."""
        return time.monotonic() - self._saved > 30

    def save(self, started: float) -> None:
        """Everything that the next start needs, and the log."""
        tensors = {f"student.{name}": tensor for name, tensor in self.student.network.state_dict().items()}
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
        for prefix, nima in (("student.", self.student), ("average.", self.average)):
            own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            nima.network.load_state_dict(own)
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
