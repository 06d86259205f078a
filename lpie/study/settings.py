"""Everything that determines a result: what is trained, on what, how, and with which seed.

One `Study` is one trained network. A `Profile` says which studies, photographs and judges one pass of the
notebooks covers. Every default of the project's experiments stands here and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from typing import Literal

from lpie import losses, operators
from lpie.losses import FidelityName
from lpie.networks import NetworkName
from lpie.operators import OperatorName, ToneSettings

CriticName = Literal["none", "compact", "ava", "robust"]


@dataclass(frozen=True)
class HazeSettings:
    """The haze put on clear training photographs before non-local dehazing makes the target."""

    densities: tuple[float, float] = (0.6, 1.6)  # optical depth at the far end, drawn uniformly
    airlights: tuple[float, float] = (0.7, 0.95)  # mean brightness of the airlight, drawn uniformly


@dataclass(frozen=True)
class Schedule:
    """How long and on what a network trains: whole photographs, Adam with a cosine decay to zero.

    A step is shown photographs of one shape: `side` x 1.5 `side` px, across or upright, where `side` is drawn from
    `sides`. Networks that look at the whole photo (CAN normalizes by its statistics) must learn on whole photos.
    """

    steps: int = 3000
    batch: int = 4  # photographs a step
    sides: tuple[int, ...] = (512, 384, 256)  # px, shorter sides to which photographs are reduced, each as often
    learning_rate: float = 1e-3
    checkpoint_every: int = 500  # steps
    validate_every: int = 500  # steps


@dataclass(frozen=True)
class Study:
    """One trained network; two equal studies on one device give the same bytes."""

    operator: OperatorName = "tone"
    network: NetworkName = "can32"
    fidelity: FidelityName = "l2"
    critic: CriticName = "none"
    gamma: float = 0.0
    seed: int = 0
    photographs: str = "study"
    initial: str = ""  # weights to start from, shipped or a file; empty starts from the identity
    options: tuple[str, ...] = ()  # of the network, such as `mirrored`: see `networks.build`
    smoothness: float = 0.0  # weight of the roughness of a bilateral grid in the loss
    schedule: Schedule = field(default_factory=Schedule)
    tone: ToneSettings = field(default_factory=ToneSettings)
    haze: HazeSettings = field(default_factory=HazeSettings)

    def __post_init__(self) -> None:
        if self.gamma < 0:
            raise ValueError(f"gamma weighs a penalty and must be at least 0, got {self.gamma}.")
        if (self.gamma > 0) != (self.critic != "none"):
            raise ValueError(f"gamma and critic go together, got gamma={self.gamma} with critic={self.critic!r}.")

    @property
    def objective(self) -> str:
        """Short name of the loss, such as `l2` or `l2+0.001compact`."""
        return self.fidelity + (f"+{self.gamma:g}{self.critic}" if self.gamma else "")

    @property
    def digest(self) -> str:
        """Eight hex digits of everything that determines the result."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]

    @property
    def name(self) -> str:
        """Readable and unique: what is trained, then the digest of all settings."""
        return f"{self.operator}-{self.network}-{self.objective}-s{self.seed}-{self.digest}"


@dataclass(frozen=True)
class Profile:
    """One pass over the notebooks: which photographs, networks, seeds and judges."""

    name: str
    photographs: str
    networks: tuple[NetworkName, ...]
    seeds: tuple[int, ...]  # of L2 and L1, and of L2 with a critic
    fewer_seeds: tuple[int, ...]  # of the others
    schedule: Schedule  # of networks that own_schedules does not name
    gammas: tuple[float, ...]  # the ladder, and the candidates among which validation chooses
    critics: tuple[CriticName, ...]
    judges: tuple[str, ...]  # networks that took no part in training or choosing
    own_schedules: tuple[tuple[NetworkName, Schedule], ...] = ()
    initial: bool = False  # start from the shipped plain networks
    shortest_side: int = 0  # px to which photographs are reduced first; 0 keeps them
    tone: ToneSettings = field(default_factory=ToneSettings)
    haze: HazeSettings = field(default_factory=HazeSettings)
    lpips: bool = False  # measure it, for which AlexNet (233 MB) is downloaded


FIDELITIES: tuple[FidelityName, ...] = tuple(losses.FIDELITIES)
OPERATORS: tuple[OperatorName, ...] = tuple(operators.OPERATORS)

DEMO_SCHEDULE = Schedule(steps=24, batch=2, sides=(192, 176), checkpoint_every=12, validate_every=12)

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            name="smoke",
            photographs="demo",
            networks=("grid",),
            seeds=(0,),
            fewer_seeds=(0,),
            schedule=Schedule(steps=4, batch=2, sides=(176,), checkpoint_every=2, validate_every=2),
            gammas=(1e-3, 1e-2),
            critics=("compact",),
            judges=("oasis",),
            shortest_side=176,
        ),
        Profile(
            name="demo",
            photographs="demo",
            networks=("can24", "parameters"),
            seeds=(0,),
            fewer_seeds=(0,),
            schedule=DEMO_SCHEDULE,
            gammas=(1e-3, 1e-2),
            critics=("compact",),
            judges=("oasis", "niqe"),
            own_schedules=(("can24", replace(DEMO_SCHEDULE, learning_rate=2e-4)),),  # 1e-3 tears down what it learned
            initial=True,
        ),
        Profile(
            name="study",
            photographs="study",
            networks=("can24", "grid", "parameters"),
            seeds=(0, 1, 2, 3, 4),
            fewer_seeds=(0, 1, 2),
            schedule=Schedule(steps=600, learning_rate=2e-3),
            gammas=(1e-4, 2e-4, 3e-4, 1e-3, 2e-3, 3e-3, 1e-2, 2e-2, 3e-2, 1e-1),
            critics=("compact", "ava", "robust"),
            judges=("technical", "oasis", "niqe"),
            own_schedules=(
                ("can24", Schedule(steps=4000, checkpoint_every=1000)),
                ("grid", Schedule(steps=2000)),
            ),
            shortest_side=512,
            lpips=True,
        ),
        Profile(
            name="fivek",
            photographs="fivek",
            networks=("can32", "grid", "parameters"),
            seeds=(0, 1, 2),
            fewer_seeds=(0, 1, 2),
            schedule=Schedule(steps=20_000, checkpoint_every=1000, validate_every=1000),
            gammas=(1e-4, 1e-3, 1e-2, 1e-1, 1.0),
            critics=("compact", "ava", "robust"),
            judges=("technical", "oasis", "niqe"),
            lpips=True,
        ),
    )
}


def training_sides(profile: Profile) -> tuple[int, ...]:
    """The shorter sides, in px, at which a profile's networks see their training photographs; largest first."""
    schedules = (profile.schedule, *(schedule for _, schedule in profile.own_schedules))
    return tuple(sorted({side for schedule in schedules for side in schedule.sides}, reverse=True))


def find_profile(name: str) -> Profile:
    """The profile called `name`; raises ValueError that lists the known ones."""
    if name not in PROFILES:
        raise ValueError(f"Unknown profile {name!r}: choose one of {', '.join(PROFILES)}.")
    return PROFILES[name]


def baseline(profile: Profile, operator: OperatorName, network: NetworkName) -> Study:
    """The study from which a profile's others differ: L2, no critic, seed 0."""
    return Study(
        operator=operator,
        network=network,
        photographs=profile.photographs,
        tone=profile.tone,
        haze=profile.haze,
        schedule=dict(profile.own_schedules).get(network, profile.schedule),
        initial=f"{operator}-{network}-plain" if profile.initial else "",
    )


def fidelity_studies(profile: Profile, operator: OperatorName) -> tuple[Study, ...]:
    """The baselines without a critic: every network, fidelity and seed."""
    return tuple(
        replace(baseline(profile, operator, network), fidelity=fidelity, seed=seed)
        for network, fidelity in product(profile.networks, FIDELITIES)
        for seed in (profile.seeds if fidelity in ("l1", "l2") else profile.fewer_seeds)
    )


def ladder_studies(profile: Profile, operator: OperatorName) -> tuple[Study, ...]:
    """The weight gamma swept over its ladder: every network and critic, L2, the first seed."""
    return tuple(
        replace(baseline(profile, operator, network), critic=critic, gamma=gamma)
        for network, critic, gamma in product(profile.networks, profile.critics, profile.gammas)
    )
