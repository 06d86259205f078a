"""Train a critic that is hard to fool: a student repeats the scores of the AVA network, also under attack.

The student starts from the AVA network's own weights (Apache-2.0) and sees each view on fewer pixels. Views are crops,
mixtures and strong photographic variations of the training photographs. A second copy of each is changed in ways that
should not matter (half size and back, JPEG, a shift by a pixel), then attacked: moved, within `epsilon` a pixel, to
where the student's mean score is highest or lowest. Its scores must stay those of the teacher and of the first copy.
The distance between the copies is measured in standard deviations of the student's scores, because in points it would
be smallest if all photographs scored alike. The student also repeats the teacher's last features, cell by cell: ten
scores alone would let it memorize so few photographs. `epsilon` rises in the first part of the training.

The folder of results gets `critic.safetensors` (half precision), `log.csv`, `measures.json` and `state.safetensors`,
written every minute, from which the same command goes on; once `minutes` are used up it only measures again.

Source: adversarial training, Madry et al., ICLR 2018, with clean and moved views side by side and held together as in
TRADES, Zhang et al., ICML 2019; the teacher's features as targets of both, Schlarmann et al., Robust CLIP, ICML 2024.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeAlias, cast

import pandas as pd
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lpie.critic.backbones import MobileNetV1
from lpie.critic.nima import NIMA, mean_score
from lpie.critic_training.measures import measure_critic, measured_photographs, quick_measures
from lpie.critic_training.settings import Distillation
from lpie.critic_training.variations import draw_views, training_photographs
from lpie.imaging.resampling import resize
from lpie.judges.robustness import ATTACKED_SIZE, half_size_and_back, jpeg
from lpie.losses.fidelity import earth_movers_distance
from lpie.records import read_tensors, write_csv, write_json, write_tensors
from lpie.study.resuming import going_on, optimizer_tensors, restore_optimizer
from lpie.vocabulary import PerPhoto, Photo, ScoreDistribution

log = logging.getLogger(__name__)

SAVE_EVERY = 60  # s
VIEW = 320  # px, the side of a view before teacher and student see it reduced
WARM_UP = 0.05  # share of the time over which the learning rate rises
ATTACK_FROM, ATTACK_FULL = 0.03, 0.4  # shares of the time: no attack before, its full strength after
UNMOVED = 0.1  # share of the second views that are not attacked
WORSE_FEATURES = 0.1  # weight of the features of the second views beside those of the first
LOGGED = ("loss", "adversarial_loss", "shift", "error", "unexplained")
Rated: TypeAlias = tuple[ScoreDistribution, Float[Tensor, "n features _ _"]]  # scores, and features for each 32 px


def distill_critic(settings: Distillation, out: Path, device: str, more: Sequence[Path] = (), limit: int = 0) -> None:
    """Train, and write the critic and its measures to `out`; uses `limit` photographs of each set, 0 for all."""
    teacher = NIMA.from_pretrained("ava").to(device)
    photographs = training_photographs(more, device, limit)
    log.info("%d training photographs on %s; %s", len(photographs), device, settings)
    held_out = measured_photographs("validation", device, limit or 100)
    critic = distill(settings, teacher, photographs, held_out, out)
    notes = {name: str(value) for name, value in asdict(settings).items() if name != "input_size"}
    critic.save(out / "critic.safetensors", torch.float16, **notes)
    critic = NIMA.from_pretrained(out / "critic.safetensors").to(device)
    learned_on = measured_photographs("train", device, limit or 100)
    measures = measure_critic(critic, teacher, held_out, learned_on, universal_steps=5 if limit else 100)
    write_json(out / "measures.json", {**asdict(settings), **measures})


def distill(
    settings: Distillation,
    teacher: NIMA,
    photographs: Sequence[UInt8[Tensor, "3 _ _"]],
    held_out: list[Tensor],
    out: Path,
) -> NIMA:
    """The running mean of the student's weights, frozen, on the teacher's device.

    Goes on from `out/state.safetensors` if it is there. On `held_out` it is measured every minute, for the log.
    """
    state = State(settings, teacher, out)
    torch.manual_seed(settings.seed + state.step)
    sides = (ATTACKED_SIZE, ATTACKED_SIZE, settings.input_size, 256, VIEW)
    totals: list[Tensor] = []
    while (progress := state.progress()) < 1:
        state.set_rate(progress)
        views = draw_views(photographs, settings.batch, VIEW)
        side = sides[state.step % len(sides)]
        epsilon = settings.epsilon * min(1.0, max(0.0, (progress - ATTACK_FROM) / (ATTACK_FULL - ATTACK_FROM)))
        losses = _losses(settings, state.student, teacher, views, side, epsilon)
        total = losses["loss"] + losses["adversarial_loss"] + settings.consistency * losses["shift"]
        state.update(total)
        totals.append(torch.stack([losses[name] for name in LOGGED]).detach())
        if len(totals) == 50 or state.progress() >= 1:  # the one place where the GPU is waited for
            means = dict(zip(LOGGED, torch.stack(totals).mean(0).tolist(), strict=True))
            totals.clear()
            due = time.monotonic() - state.saved > SAVE_EVERY or state.progress() >= 1
            if due:
                means |= quick_measures(state.averaged(), teacher, held_out)
            state.record(progress, {"epsilon": 255 * epsilon, **means})
            if due:
                state.save()
    return state.averaged()


def _losses(
    settings: Distillation, student: NIMA, teacher: NIMA, views: Photo, side: int, epsilon: float
) -> dict[str, Tensor]:
    """The losses of one batch: of its clean views, of the attacked ones, and of the distance between both."""
    seen, second = (resize(photo, side, side) for photo in (views, made_worse(views)))
    with torch.no_grad():
        wanted = scores_and_features(teacher, resize(views, teacher.input_size, teacher.input_size))
    moved = attack(student, second, epsilon, settings.attack_steps, UNMOVED) if epsilon else second
    clean = scores_and_features(student, seen)
    attacked = scores_and_features(student, moved)
    weights = (settings.features, settings.features * WORSE_FEATURES)
    loss, adversarial = (
        earth_movers_distance(rated[0], wanted[0], r=2).mean()
        + settings.correlation * _decorrelation(rated[0], wanted[0])
        + weight * unexplained_variance(rated[1], wanted[1])
        for rated, weight in zip((clean, attacked), weights, strict=True)
    )
    scores = mean_score(clean[0])
    return {
        "loss": loss,
        "adversarial_loss": adversarial,
        "shift": relative_shift(scores, mean_score(attacked[0])),
        "error": (scores - mean_score(wanted[0])).abs().mean(),
        "unexplained": unexplained_variance(clean[1], wanted[1]),
    }


def made_worse(photo: Photo) -> Photo:
    """Changes that should hardly move a score: a shift by a pixel; half size and back for some; JPEG for others."""
    worse = photo.roll((int(torch.randint(3, ())) - 1, int(torch.randint(3, ())) - 1), (2, 3))
    worse[::2] = half_size_and_back(worse[::2])
    worse[1::3] = jpeg(worse[1::3].clamp(0, 1), int(torch.randint(80, 98, ())))
    return worse.clamp(0, 1)


def scores_and_features(critic: NIMA, photo: Photo) -> Rated:
    """The score distributions, and the maps of features whose means they are read from; bfloat16 on a GPU."""
    network = cast(MobileNetV1, critic.network)
    scaled = (critic.square(photo) - critic.mean) / critic.standard_deviation
    with torch.autocast(photo.device.type, torch.bfloat16, enabled=photo.is_cuda):
        maps = network.maps(scaled)
    maps = maps.float()
    return network.fc(maps.mean((2, 3))).softmax(1), maps


def attack(student: NIMA, photo: Photo, epsilon: float, steps: int, unmoved: float = 0.0) -> Photo:
    """Photos moved within `epsilon`, from a random start, to a higher mean score, or a lower one for a quarter of them.

    A random share `unmoved` of the photos stays as it is. No weight gets a gradient.
    """
    trained = next(student.parameters()).requires_grad
    student.requires_grad_(False)
    direction = torch.where(torch.rand(len(photo), device=photo.device) < 0.75, 1.0, -1.0)
    reach = epsilon * (torch.rand(len(photo), 1, 1, 1, device=photo.device) >= unmoved)
    lowest, highest = (photo - reach).clamp(0, 1), (photo + reach).clamp(0, 1)
    moved = (photo + reach * (2 * torch.rand_like(photo) - 1)).clamp(0, 1)
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        score = (direction * mean_score(scores_and_features(student, moved)[0])).sum()
        (gradient,) = torch.autograd.grad(score, moved)
        moved = torch.clamp(moved.detach() + min(1.25, 2 / steps) * reach * gradient.sign(), lowest, highest)
    student.requires_grad_(trained)
    return moved.detach()


def relative_shift(scores: PerPhoto, moved: PerPhoto) -> Tensor:
    """Mean distance between the scores, in their standard deviation over the batch: shrinking both does not help."""
    return (moved - scores).abs().mean() / scores.std().clamp_min(1e-3)


def unexplained_variance(maps: Tensor, wanted: Tensor) -> Tensor:
    """The share of the variance of the features `wanted`, over photos and cells, that `maps` leave unexplained."""
    wanted = F.interpolate(wanted, maps.shape[2:], mode="bilinear", antialias=True)
    variance = (wanted - wanted.mean((0, 2, 3), keepdim=True)).square().sum()
    return (maps - wanted).square().sum() / variance.clamp_min(1e-9)


def _decorrelation(estimate: ScoreDistribution, wanted: ScoreDistribution) -> Tensor:
    scores = torch.stack([mean_score(estimate), mean_score(wanted)])
    scores = scores - scores.mean(1, keepdim=True)
    return 1 - scores.prod(0).sum() / (scores.square().sum(1).prod() + 1e-9).sqrt()


class State:
    """A training: student, running mean of its weights, optimizer, steps and seconds spent, and the log."""

    def __init__(self, settings: Distillation, teacher: NIMA, folder: Path) -> None:
        """From the teacher's weights, or from what an earlier start left in `folder`."""
        self.settings, self.path = settings, folder / "state.safetensors"
        self._origin = json.dumps(asdict(settings) | {"minutes": "any"})
        student = NIMA("mobilenet_v1", "antialiased", settings.input_size)
        student.network.load_state_dict(teacher.network.state_dict())
        self.student = student.to(teacher.mean.device).eval()  # eval: no dropout
        # not fused: that one refuses gradients of 1 x 1 and depthwise kernels, whose strides differ from the weights'
        self.optimizer = torch.optim.AdamW(student.network.parameters(), settings.learning_rate, weight_decay=0.0)
        self.average = AveragedModel(student.network, multi_avg_fn=get_ema_multi_avg_fn(settings.average))
        self.step, self.spent = 0, 0.0
        self.rows: list[dict[str, float]] = []
        if self.path.exists():
            self._restore()
        self._started = self.saved = time.monotonic()

    def progress(self) -> float:
        """Share of the time that is used up."""
        return (self.spent + time.monotonic() - self._started) / (60 * self.settings.minutes)

    def set_rate(self, progress: float) -> None:
        """The learning rate: a linear rise, then a cosine to zero."""
        shape = min(1.0, progress / WARM_UP) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * shape

    def update(self, loss: Tensor) -> None:
        """One step down a gradient of length 1 at most, and the running mean after it.

        Raises FloatingPointError where the gradient is not finite.
        """
        self.optimizer.zero_grad()
        loss.backward()
        length = torch.nn.utils.clip_grad_norm_(self.student.network.parameters(), 1.0)
        if not length.isfinite():
            raise FloatingPointError(f"The gradient is not finite at step {self.step}: lower the learning rate.")
        self.optimizer.step()
        self.step += 1
        self.average.update_parameters(self.student.network)

    def averaged(self) -> NIMA:
        """A frozen critic with the running mean of the weights."""
        critic = NIMA("mobilenet_v1", "antialiased", self.settings.input_size)
        critic.network.load_state_dict(self.average.module.state_dict())
        return critic.to(self.student.mean.device).freeze()

    def record(self, progress: float, values: dict[str, float]) -> None:
        """Add a line to the log."""
        self.rows.append({"step": float(self.step), "minutes": progress * self.settings.minutes, **values})
        log.info("step %d, %s", self.step, ", ".join(f"{name} {value:.3f}" for name, value in values.items()))

    def save(self) -> None:
        """Everything that the next start needs, and the log."""
        tensors = {f"student.{name}": tensor for name, tensor in self.student.network.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        position = {"step": self.step, "spent": self.spent + time.monotonic() - self._started}
        notes = {"position": json.dumps(position), "origin": self._origin}
        write_tensors(self.path, tensors | optimizer_tensors(self.optimizer), notes)
        write_csv(self.path.with_name("log.csv"), pd.DataFrame(self.rows))
        self.saved = time.monotonic()

    def _restore(self) -> None:
        tensors, metadata = read_tensors(self.path)
        with going_on(self.path, metadata.get("origin"), self._origin):
            for prefix, module in (("student.", self.student.network), ("average.", self.average)):
                own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
                module.load_state_dict(own)
            restore_optimizer(self.optimizer, tensors)
            position = json.loads(metadata["position"])
            self.step, self.spent = int(position["step"]), float(position["spent"])
        if self.path.with_name("log.csv").exists():
            self.rows = pd.read_csv(self.path.with_name("log.csv")).to_dict("records")  # type: ignore[assignment]
        log.info("Going on from step %d after %.1f minutes.", self.step, self.spent / 60)
