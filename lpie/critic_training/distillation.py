"""Train a critic further until it is hard to fool: what the AVA network says, read from what survives small changes.

The student starts from the AVA network's own weights (Apache-2.0); both see the whole photo through an antialiased
filter, the student on fewer pixels. They look at crops, collages and strong photographic variations of the training
photographs. A second copy of each of the student's views is made worse by what should not matter (half size and back,
JPEG, a shift by a pixel) and then moved, pixel by pixel within `epsilon`, to where the student's mean score is highest
or lowest; it must be scored as if nothing had happened, and like the first, by a distance measured in deviations of the
student's own scores: in points, the quickest way is to call all photographs alike. The student repeats the teacher's
last features as well as its scores, cell by cell before they are averaged over the photo: with ten numbers each, or a
thousand, so few photographs are learned by heart. `epsilon` rises in the first part of the time.

    python -m lpie.critic_training.distillation --data FOLDER --out OUT

FOLDER has the layout of LPIE_DATA. OUT gets `critic.safetensors` (half precision), `log.csv`, `measures.json` and
`state.safetensors`, written every minute, from which the same command goes on; once `minutes` are used up it
only measures again. `--more FOLDER` adds photographs of any kind: teacher and student see only pixels. On a GPU both
run in half precision with kernels of their own (`depthwise_kernels`), in a third of the time that TF32 takes on an
H100 (`bench/nima.py`); what varies a photo takes longer, so that each photo gives several views.

Source: adversarial training, Madry et al., ICLR 2018, with clean and moved views side by side and held together as in
TRADES, Zhang et al., ICML 2019; the teacher's features as targets of both, Schlarmann et al., Robust CLIP, ICML 2024;
function matching with mixed photographs, Beyer et al., CVPR 2022.
"""

from __future__ import annotations

import argparse
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from lpie.critic.backbones import MobileNetV1
from lpie.critic.nima import NIMA, mean_score
from lpie.critic_training.critic_evaluation import (
    TEACHER,
    measure_critic,
    measured_photographs,
    print_measures,
    quick_measures,
)
from lpie.critic_training.distillation_state import State
from lpie.critic_training.distillation_views import draw_views, squares, training_album
from lpie.critic_training.settings_options import add_settings
from lpie.critic_training.views import Album
from lpie.judges.robustness import ATTACKED_SIZE
from lpie.records import write_json
from lpie.vocabulary import PerPhoto, Photo, ScoreDistribution

log = logging.getLogger(__name__)

ATTACK_SCALE = 64.0  # by which a photo's score is multiplied before its gradient is taken in half precision
LOGGED = ("loss", "adversarial_loss", "shift", "error", "missed")
Described: TypeAlias = tuple[ScoreDistribution, Float[Tensor, "n features _ _"]]  # a cell for each 32 px


@dataclass(frozen=True)
class Distillation:
    """How the critic is trained; `minutes` count from the first step."""

    initial: str = ""  # a critic to train further; empty starts from the teacher
    input_size: int = 160  # px of the square that the student sees
    minutes: float = 9.0
    batch: int = 192  # views
    crops: int = 4  # views of each photo
    learning_rate: float = 1e-4  # at its peak; falls to zero along a cosine
    weight_decay: float = 0.0
    warm_up: float = 0.05  # share of the time over which the rate rises
    epsilon: float = 2.25 / 255  # largest change of a pixel by the attack; 0 trains without one
    attack_steps: int = 3
    attack_from: float = 0.03  # share of the time before which there is no attack
    attack_full: float = 0.4  # share of the time after which it has its full strength
    spared: float = 0.1  # share of the second views that are not attacked
    adversarial: float = 1.0  # weight of the second views' loss beside the first views'
    consistency: float = 0.3  # weight of the distance between the two views' mean scores, in their deviations
    correlation: float = 1.0  # weight of 1 - Pearson correlation of the mean scores within the batch
    features: float = 1.0  # weight of the share of the teacher's feature variance that the first views miss
    worse_features: float = 0.1  # the same of the second views
    clean: float = 0.5  # share of views without variation
    whole: float = 0.3  # share of views of whole photographs; the others are crops
    mixed: float = 0.2  # share of views into which another is faded
    pasted: float = 0.2  # share of views with a rectangle of another
    average: float = 0.999  # decay of the running mean of the weights, which is what is kept
    seed: int = 0

    def __post_init__(self) -> None:
        if self.input_size % 32:
            raise ValueError(f"input_size must be a multiple of 32 px, got {self.input_size}.")
        if self.batch % self.crops:
            raise ValueError(f"batch must be a multiple of crops, got {self.batch} and {self.crops}.")


def main() -> None:
    """Train, keep the weights and print what they are worth."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the layout that LPIE_DATA has")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--more", type=Path, action="append", default=[], help="folder with further photographs")
    parser.add_argument("--photos", type=int, default=0, help="use only so many photographs of each set; 0 for all")
    add_settings(parser, Distillation)
    given = vars(parser.parse_args())
    data, out, device, more, limit = (given.pop(name) for name in ("data", "out", "device", "more", "photos"))
    settings = Distillation(**given)

    teacher = NIMA.from_pretrained(data / TEACHER).to(device)
    album = training_album(data, more, device, limit)
    log.info("%d training photographs on %s; %s", len(album), device, settings)
    photos = measured_photographs(data, "validation", device, limit or 100)
    critic = distill(settings, teacher, album, photos, out)

    notes = {name: str(value) for name, value in asdict(settings).items() if name != "input_size"}
    notes["initial"] = Path(settings.initial).name  # where it lay is of this machine alone
    critic.save(out / "critic.safetensors", torch.float16, **notes)
    critic = NIMA.from_pretrained(out / "critic.safetensors").to(device)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    learned_on = squares(album, limit or 200)
    measures = measure_critic(critic, teacher, photos, learned_on, universal_steps=5 if limit else 100)
    write_json(out / "measures.json", {**asdict(settings), **measures})
    print_measures(measures)


# Training ---------------------------------------------------------------------------------------------------------


def distill(settings: Distillation, teacher: NIMA, album: Album, photos: list[Tensor], out: Path) -> NIMA:
    """The running mean of the student's weights, on the teacher's device.

    Goes on from `out/state.safetensors` if it is there. `photos` only show, every minute, what it is worth.
    """
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    state = State(settings, teacher, squares(album, 128), out)
    student = state.student
    torch.manual_seed(settings.seed + state.step)
    started = time.monotonic()
    sides = (ATTACKED_SIZE, ATTACKED_SIZE, settings.input_size, 256, 320)
    totals: list[Tensor] = []
    while (progress := state.progress(started)) < 1:
        state.set_rate(progress)
        seen, worse, shown = draw_views(settings, album, sides[state.step % len(sides)])
        with torch.no_grad():
            wanted = describe(teacher, shown)
        epsilon = settings.epsilon * _ramp(progress, settings.attack_from, settings.attack_full)
        moved = attack(student, worse, epsilon, settings.attack_steps, settings.spared) if epsilon else worse
        both = describe(student, torch.cat([seen, moved]))
        clean, adversarial = ((both[0][part], both[1][part]) for part in (slice(len(seen)), slice(len(seen), None)))
        losses = torch.stack(
            [
                _loss(settings, clean, wanted, settings.features),
                _loss(settings, adversarial, wanted, settings.worse_features),
            ]
        )
        shift = _relative_shift(mean_score(clean[0]), mean_score(adversarial[0]))
        state.update(losses[0] + settings.adversarial * losses[1] + settings.consistency * shift)
        error = (mean_score(clean[0]) - mean_score(wanted[0])).abs().mean()
        totals.append(torch.stack([*losses, shift, error, _missed(clean[1], wanted[1])]).detach())
        if len(totals) == 50 or state.progress(started) >= 1:  # the one place where the GPU is waited for
            means = dict(zip(LOGGED, torch.stack(totals).mean(0).tolist(), strict=True))
            totals.clear()
            state.record(progress, {"epsilon": 255 * epsilon, **means})
            if state.is_due() or progress >= 1:
                state.record(progress, quick_measures(state.average, teacher, photos))
                state.save(started)
    state.save(started)
    return state.average


def _ramp(progress: float, start: float, full: float) -> float:
    """0 up to `start`, 1 from `full` on."""
    return min(1.0, max(0.0, (progress - start) / (full - start)))


def describe(critic: NIMA, photo: Photo) -> Described:
    """The scores' distribution, and the maps of features whose means it is read from."""
    network = cast(MobileNetV1, critic.network)
    square = (critic.square(photo) - critic.mean) / critic.deviation
    if square.is_cuda:
        from lpie.critic_training import mobilenet_gpu as depthwise_kernels  # Triton is not there on every machine

        maps = depthwise_kernels.maps(network, square).float()
    else:
        maps = network.maps(square)
    return network.fc(maps.mean((2, 3))).softmax(1), maps


def _loss(settings: Distillation, described: Described, wanted: Described, features: float) -> Tensor:
    scores = _earth_movers(described[0], wanted[0]) + settings.correlation * _decorrelation(described[0], wanted[0])
    return scores + features * _missed(described[1], wanted[1])


def _relative_shift(scores: PerPhoto, moved: PerPhoto) -> Tensor:
    """Mean distance between the scores, in their standard deviation over the batch: shrinking both does not help."""
    return (moved - scores).abs().mean() / scores.std().clamp_min(1e-3)


def attack(student: NIMA, photo: Photo, epsilon: float, steps: int, spared: float = 0.0) -> Photo:
    """Each photo moved within `epsilon`, from a random start, to where its mean score is higher or, for some, lower.

    A random share `spared` of the photos stays as it is.
    """
    trained = next(student.parameters()).requires_grad
    student.requires_grad_(False)  # the slopes by weights would be computed in vain
    direction = torch.where(torch.rand(len(photo), device=photo.device) < 0.75, 1.0, -1.0)
    reach = epsilon * (torch.rand(len(photo), 1, 1, 1, device=photo.device) >= spared)
    lowest, highest = (photo - reach).clamp(0, 1), (photo + reach).clamp(0, 1)
    moved = (photo + reach * (2 * torch.rand_like(photo) - 1)).clamp(0, 1)
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        score = (direction * mean_score(describe(student, moved)[0])).sum()
        (gradient,) = torch.autograd.grad(ATTACK_SCALE * score, moved)
        moved = torch.clamp(moved.detach() + min(1.25, 2 / steps) * reach * gradient.sign(), lowest, highest)
    student.requires_grad_(trained)
    return moved


def _earth_movers(estimate: ScoreDistribution, wanted: ScoreDistribution) -> Tensor:
    """Earth mover's distance with r = 2, averaged over photos; smooth where the two agree, unlike the root itself."""
    square = (estimate - wanted).cumsum(1).square().mean(1)
    return (square + 1e-6).sqrt().mean()


def _decorrelation(estimate: ScoreDistribution, wanted: ScoreDistribution) -> Tensor:
    scores = torch.stack([mean_score(estimate), mean_score(wanted)])
    scores = scores - scores.mean(1, keepdim=True)
    return 1 - scores.prod(0).sum() / (scores.square().sum(1).prod() + 1e-9).sqrt()


def _missed(maps: Tensor, wanted: Tensor) -> Tensor:
    """The share of the variance of the features `wanted`, over photos and cells, that `maps` leave unexplained."""
    wanted = F.interpolate(wanted, maps.shape[2:], mode="bilinear", antialias=True)
    variance = (wanted - wanted.mean((0, 2, 3), keepdim=True)).square().sum()
    return (maps - wanted).square().sum() / variance.clamp_min(1e-9)


if __name__ == "__main__":
    main()
