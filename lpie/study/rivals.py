"""What a learned critic must beat, and what it must not be: a trivial edit, and an open attack, at equal fidelity.

Both change the operator's target until its PSNR to itself falls to a given value. The trivial edit turns three knobs,
the same for every photo: any gain it reaches needs no learned operator. The attacks raise the critic's score and mean
nothing by it: a gain that looks like theirs (in survival, spectrum, transfer to judges) is one.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lpie.critic.nima import NIMA
from lpie.evidence.results import is_gathered
from lpie.imaging.color import from_uint8, quantize, to_uint8
from lpie.imaging.resampling import resize
from lpie.judges.full_reference import psnr
from lpie.judges.robustness import Score as Judge
from lpie.judges.robustness import universal_perturbation
from lpie.operators import adjustments
from lpie.records import sharing
from lpie.study.experiments import Results, reported
from lpie.study.settings import Profile
from lpie.study.targets import Scene, load_scenes
from lpie.study.training import default_device
from lpie.vocabulary import Photo

log = logging.getLogger(__name__)

LADDERS: dict[str, tuple[int, ...]] = {
    "trivial": tuple(range(16, 41, 3)),
    "universal": (24, 30, 36),
    "perturbation": (24, 30, 36),
}
"""The PSNR to the target, in dB, at which each rival is made."""

CPU_LADDERS: dict[str, tuple[int, ...]] = {"trivial": (18, 28)}  # attacks are learned on a GPU
DIRECTIONS = 32  # in the space of three knobs
FITTING_STEPS = 4
TUNING_SCENES = 32  # validation photos on which the knobs are turned
TUNING_SIDE = 256  # px, square, at which the critic sees them: a global edit changes neither detail nor shape
FITTING_SIDE = 96  # px, square, at which the PSNR is taken


@dataclass(frozen=True)
class GlobalEdit:
    """One setting of three photographer's knobs, those of `operators.adjustments`; the default changes nothing."""

    exposure: float = 0.0  # stops
    contrast: float = 1.0  # gradient at middle gray, 0.5 to 1.5
    saturation: float = 1.0  # factor

    def __call__(self, photo: Photo) -> Photo:
        """The photo, edited and clipped to [0, 1]."""
        toned = adjustments.contrast(adjustments.exposure(photo, self.exposure), self.contrast)
        return adjustments.saturation(toned, self.saturation).clamp(0, 1)


@torch.inference_mode()
def tune_trivial_edit(
    scenes: Sequence[Scene], critic: Judge, decibels: float, device: str, directions: int = DIRECTIONS
) -> GlobalEdit:
    """The edit of the targets that `critic` likes best on average, of those with a mean PSNR of `decibels` to them.

    Tried: `directions` quasi-uniform ratios of the three knobs, each turned until the PSNR fits:
    the error grows nearly in proportion to the turn, so a few corrections suffice.
    """
    targets = [from_uint8(scene.target[None]).to(device) for scene in scenes[:TUNING_SCENES]]
    sides = (TUNING_SIDE, FITTING_SIDE)
    photos, small = (torch.cat([resize(target, side, side) for target in targets]) for side in sides)

    def fidelity(edit: GlobalEdit) -> float:
        return float(psnr(edit(small), small).clamp_max(100.0).mean())

    def score(edit: GlobalEdit) -> float:
        return float(critic(quantize(edit(photos))).mean())

    edits = []
    for direction in _sphere(directions):
        amount = 10 ** (-decibels / 20)
        for _ in range(FITTING_STEPS):
            amount = min(3.0, amount * 10 ** ((fidelity(_turned(direction, amount)) - decibels) / 20))
        edits.append(_turned(direction, amount))
    return max(edits, key=score)


def _turned(direction: np.ndarray, amount: float) -> GlobalEdit:
    exposure, contrast, saturation = (amount * direction).tolist()
    return GlobalEdit(exposure, min(max(1 + contrast, 0.5), 1.5), math.exp(saturation))


def _sphere(count: int) -> np.ndarray:
    """`count` points on the unit sphere, evenly spread: a Fibonacci lattice."""
    height = 1 - (2 * np.arange(count) + 1) / count
    turn = np.pi * (3 - np.sqrt(5)) * np.arange(count)
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=1)


class Perturbation(nn.Module):
    """A small network that adds to each photo what it was trained to add, at a fixed root mean square."""

    def __init__(self, decibels: float, width: int = 16) -> None:
        super().__init__()
        self.amplitude = 10 ** (-decibels / 20)
        layers: list[nn.Module] = []
        for dilation, channels in ((1, 3), (2, width), (4, width), (8, width)):
            convolution = nn.Conv2d(channels, width, 3, dilation=dilation, padding=dilation, padding_mode="replicate")
            layers += [convolution, nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 3, 1))

    def forward(self, photo: Photo) -> Photo:
        """The photo with the perturbation, in [0, 1]; PSNR to the photo is the chosen one, or higher by clipping."""
        return _add(photo, self.layers(photo - 0.5), self.amplitude)


def train_perturbation(
    photos: Photo, critic: Judge, decibels: float, *, steps: int = 300, batch: int = 8, learning_rate: float = 1e-3
) -> Perturbation:
    """The perturbation network that raises `critic` most on `photos`: gradient ascent, nothing else asked for."""
    torch.manual_seed(0)
    network = Perturbation(decibels).to(photos.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    order = torch.randint(len(photos), (steps, batch))
    for chosen in order:
        loss = -critic(network(photos[chosen])).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return network.eval()


def add_universal(photo: Photo, perturbation: Float[Tensor, "1 3 height width"], decibels: float) -> Photo:
    """The photo plus one perturbation for all photos, enlarged to its size and scaled to the PSNR."""
    fitted = F.interpolate(perturbation, photo.shape[-2:], mode="bilinear", align_corners=False, antialias=True)
    return _add(photo, fitted, 10 ** (-decibels / 20))


def _add(photo: Photo, change: Float[Tensor, "#n 3 h w"], amplitude: float) -> Photo:
    scale = change.square().mean(dim=(1, 2, 3), keepdim=True).add(1e-12).sqrt()
    return (photo + amplitude * change / scale).clamp(0, 1)


def run_rivals(
    profile: Profile,
    operator: str,
    folder: Path,
    critics: Sequence[str] | None = None,
    device: str | None = None,
    ladders: Mapping[str, Sequence[int]] | None = None,
) -> None:
    """Evaluate every rival of `operator` at every rung, as pseudo-runs `<operator>-<kind>-<critic>-<n>dB`, each once.

    Edits are tuned on validation targets, attacks learned on training targets. `ladders`: PSNR in dB by kind of rival;
    LADDERS on a GPU, CPU_LADDERS elsewhere. `critics`: else the profile's. Published evidence stands as it is. Raises
    BlockingIOError where a run of notebooks has `folder` for itself.
    """
    if is_gathered(folder):
        return
    results = Results.of(profile, folder, device)
    device, critics = results.device, profile.critics if critics is None else critics
    ladders = ladders or (LADDERS if device.startswith("cuda") else CPU_LADDERS)
    scenes = load_scenes(profile, operator, results.folder / "targets")
    with sharing(results.folder):
        for name in (name for name in critics if name in results.judges):
            critic = NIMA.from_pretrained(name).to(device).mean_score
            for kind, decibels in ((kind, decibels) for kind, ladder in ladders.items() for decibels in ladder):
                run = f"{kind}-{name}-{decibels}dB"
                if results.have(f"{operator}-{run}"):
                    continue
                change = make_rival(kind, scenes, critic, float(decibels), device)
                with torch.inference_mode():
                    changed = [change(from_uint8(scene.target[None]).to(device)) for scene in reported(scenes)]
                outputs = [to_uint8(photo)[0].cpu() for photo in changed]
                settings = asdict(change) if isinstance(change, GlobalEdit) else {}
                record = {"network": kind, "critic": name, "decibels": decibels, **settings}
                results.add(operator, run, outputs, reported(scenes), **record)
                log.info("%s-%s is evaluated", operator, run)


def rival_names(operator: str, critics: Sequence[str], device: str | None = None) -> list[str]:
    """The pseudo-runs that `run_rivals` evaluates."""
    ladders = LADDERS if (device or default_device()).startswith("cuda") else CPU_LADDERS
    rungs = [(kind, rung) for kind, ladder in ladders.items() for rung in ladder]
    return [f"{operator}-{kind}-{critic}-{rung}dB" for critic in critics for kind, rung in rungs]


def make_rival(
    kind: str, scenes: Sequence[Scene], critic: Judge, decibels: float, device: str
) -> Callable[[Photo], Photo]:
    """The change of a target that is the rival `kind` (trivial, universal or perturbation) at `decibels`."""
    if kind == "trivial":
        return tune_trivial_edit([s for s in scenes if s.split == "validation"], critic, decibels, device)
    photos = _stack_of_one_size([scene for scene in scenes if scene.split == "train"]).to(device)
    if kind == "universal":
        common = universal_perturbation(critic, photos, epsilon=10 ** (-decibels / 20))
        return lambda photo: add_universal(photo, common, decibels)
    return train_perturbation(photos, critic, decibels)


def _stack_of_one_size(scenes: Sequence[Scene], count: int = 64) -> Tensor:
    """Up to `count` targets of the size that most scenes have: (N, 3, H, W) in [0, 1]."""
    size, _ = Counter(tuple(scene.target.shape) for scene in scenes).most_common(1)[0]
    return from_uint8(torch.stack([scene.target for scene in scenes if tuple(scene.target.shape) == size][:count]))
