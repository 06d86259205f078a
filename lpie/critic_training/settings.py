"""How critics are trained: every setting, its default and, for `lpie critic --help`, what it means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class RatingTraining:
    """How a NIMA learns from people's ratings."""

    backbone: Annotated[str, "mobilenet_v1, mobilenet_v2, vgg16 or inception_v3"] = "mobilenet_v1"
    initial: Annotated[str, "a NIMA to start from: a name that `NIMA.from_pretrained` knows, or a file"] = ""
    imagenet: Annotated[bool, "start from torchvision's ImageNet weights instead"] = False
    input_size: Annotated[int, "px; 0 for the backbone's own"] = 0
    batch: Annotated[int, "photographs a step"] = 96
    head_epochs: Annotated[int, "while only the last layer learns"] = 5
    head_rate: Annotated[float, "learning rate of those epochs"] = 1e-3
    all_epochs: Annotated[int, "while all layers learn"] = 9
    all_rate: Annotated[float, "learning rate of those epochs"] = 3e-5
    weight_decay: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Distillation:
    """How a critic learns to repeat the AVA network; `minutes` count from the first step."""

    input_size: Annotated[int, "px of the square that the student sees"] = 160
    minutes: float = 9.0
    batch: Annotated[int, "views"] = 192
    learning_rate: Annotated[float, "at its peak; falls to zero along a cosine"] = 1e-4
    epsilon: Annotated[float, "largest change of a pixel by the attack; 0 trains without one"] = 2.25 / 255
    attack_steps: int = 3
    consistency: Annotated[float, "weight of the distance between the mean scores of the two views of a photograph"] = (
        0.3
    )
    correlation: Annotated[float, "weight of 1 - Pearson correlation of the mean scores within the batch"] = 1.0
    features: Annotated[float, "weight of the share of the teacher's feature variance that is not explained"] = 1.0
    average: Annotated[float, "decay of the running mean of the weights, which is what is kept"] = 0.999
    seed: int = 0

    def __post_init__(self) -> None:
        if self.input_size % 32:
            raise ValueError(f"input_size must be a multiple of 32 px, got {self.input_size}.")
