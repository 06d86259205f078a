"""Everything that determines a result: what is trained, on what, how, and with which seed.

One `Study` is one trained network. A `Profile` says which studies, photographs and judges one pass of the notebooks
covers: it is what a `study.toml` holds, field by field, and the built-in ones are such files in `profiles/`. Every
default of the project's experiments stands here, where it is declared, and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, field, replace
from itertools import product
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from lpie import losses, networks
from lpie.critic import CRITICS
from lpie.judges import JUDGES
from lpie.names import Row, find
from lpie.operators import OPERATORS

Split = Literal["train", "validation", "test", "confirmation"]
"""Which photographs train, which choose, which report, and which only a confirmation reads."""
SPLITS: tuple[Split, ...] = get_args(Split)
STUDIED: tuple[Split, ...] = ("train", "validation", "test")


def _row_of(table: Mapping[str, Any], what: str, *also: str) -> AfterValidator:
    def known(name: str) -> str:
        find({**table, **dict.fromkeys(also)}, name, what)
        return name

    return AfterValidator(known)


def _expect(is_right: Callable[[Any], bool], what: str) -> AfterValidator:
    def right(value: Any) -> Any:
        if not is_right(value):
            raise ValueError(f"expected {what}, got {list(value) if isinstance(value, tuple) else repr(value)}")
        return value

    return AfterValidator(right)


OperatorName = Annotated[str, _row_of(OPERATORS, "operator", "pairs", "module:function")]
NetworkName = Annotated[networks.NetworkName, _row_of(networks.FAMILIES, "network")]
FidelityName = Annotated[losses.FidelityName, _row_of(losses.FIDELITIES, "fidelity")]
CriticName = Annotated[str, _row_of(CRITICS, "critic")]
JudgeName = Annotated[str, _row_of(JUDGES, "judge")]
Side = Annotated[int, Field(ge=16)]  # px
ReducedSide = Annotated[int, _expect(lambda side: side == 0 or side >= 16, "at least 16 px, or 0 for no change")]
PlaceInResults = Annotated[
    str, _expect(re.compile(r"(?!\.\.?\Z)[^/\\\0]+").fullmatch, "a folder in results, not a path (for that, --output)")
]
Distinct = Annotated[tuple[Row, ...], _expect(lambda values: len(set(values)) == len(values), "each of them once")]
Several = Annotated[Distinct[Row], Field(min_length=1)]
Share = Annotated[float, Field(ge=0, le=1)]

STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=STRICT)
class HazeSettings:
    """The haze put on clear photographs before an operator that estimates haze makes the target."""

    densities: tuple[float, float] = (0.6, 1.6)  # optical depth at the far end, drawn uniformly
    airlights: tuple[float, float] = (0.7, 0.95)  # mean brightness of the airlight, drawn uniformly


@dataclass(frozen=True, config=STRICT)
class Schedule:
    """How long and on what a network trains: whole photographs, Adam with a cosine decay to zero.

    A step is shown photographs of one shape: `side` x 1.5 `side` px, across or upright, where `side` is drawn from
    `sides`. Networks that look at the whole photo (CAN normalizes by its statistics) must learn on whole photos.
    """

    steps: PositiveInt = 3000
    batch: PositiveInt = 4  # photographs a step
    sides: Annotated[tuple[Side, ...], Field(min_length=1)] = (512, 384, 256)  # px, shorter sides, each as often
    learning_rate: PositiveFloat = 1e-3
    checkpoint_every: PositiveInt = 500  # steps
    validate_every: PositiveInt = 500  # steps


@dataclass(frozen=True, config=STRICT)
class Study:
    """One trained network; two equal studies on one device give the same bytes."""

    operator: OperatorName = "tone"
    network: NetworkName = "can32"
    fidelity: FidelityName = "l2"
    critic: str = "none"
    gamma: float = 0.0
    seed: int = 0
    photographs: str = ""  # digest of where they come from
    initial: str = ""  # weights to start from, shipped or a file; empty starts from the identity
    options: tuple[str, ...] = ()  # of the network, such as `mirrored`: see `networks.build`
    smoothness: float = 0.0  # weight of the roughness of a bilateral grid in the loss
    schedule: Schedule = field(default_factory=Schedule)
    first_phase: Schedule | None = None  # with L2 alone; what is asked for goes on from there
    settings: Any = None  # of the operator; its defaults when left out
    haze: HazeSettings | None = None  # None where the operator knows no haze

    def __post_init__(self) -> None:
        if self.gamma < 0:
            raise ValueError(f"gamma weighs a penalty and must be at least 0, got {self.gamma}.")
        if (self.gamma > 0) != (self.critic != "none"):
            raise ValueError(f"gamma and critic go together, got gamma={self.gamma} with critic={self.critic!r}.")
        if self.settings is None:
            object.__setattr__(self, "settings", find(OPERATORS, self.operator, "operator").settings())

    @property
    def first(self) -> Study | None:
        """The network that this one goes on from, the same for every objective."""
        if self.first_phase is None:
            return None
        plain = replace(self, fidelity="l2", critic="none", gamma=0.0, smoothness=0.0)
        return replace(plain, schedule=self.first_phase, first_phase=None)

    @property
    def objective(self) -> str:
        """Short name of the loss, such as `l2` or `l2+0.001compact`."""
        return self.fidelity + (f"+{self.gamma:g}{self.critic}" if self.gamma else "")

    @property
    def digest(self) -> str:
        """Eight hex digits of everything that determines the result."""
        return digest_of(asdict(self))

    @property
    def name(self) -> str:
        """Readable and unique: what is trained, then the digest of all settings."""
        return f"{self.operator}-{self.network}-{self.objective}-s{self.seed}-{self.digest}"


@dataclass(frozen=True, config=STRICT)
class Lists:
    """Photographs of each split by name, without folder and suffix; those not listed are left out."""

    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    confirmation: tuple[str, ...] = ()


@dataclass(frozen=True, config=STRICT)
class Shares:
    """The share of photographs in each split; the order of the SHA-256 of their names deals them out."""

    train: Share = 0.7
    validation: Share = 0.15
    test: Share = 0.15
    confirmation: Share = 0.0

    def __post_init__(self) -> None:
        if abs(sum(asdict(self).values()) - 1) > 1e-6:
            raise ValueError(f"Shares add up to 1, got {asdict(self)}.")


def _split(given: Any) -> Any:
    """What is meant by the `split` of photographs: one split, lists of names, or shares."""
    if isinstance(given, str):
        return find(dict.fromkeys(SPLITS, given), given, "split") and given
    if isinstance(given, Mapping):
        return (Lists if any(isinstance(some, list | tuple) for some in given.values()) else Shares)(**given)
    return given


@dataclass(frozen=True, config=STRICT)
class Photographs:
    """One place that photographs come from: a set of the registry, a folder, or two folders of pairs.

    Folders may end in a pattern, such as `scans/*_before.tif`; $NAME is filled in from the environment.
    """

    set: str = ""  # demo (photographs inside scikit-image and scikit-learn), or a folder of the registry
    folder: str = ""
    input: str = ""  # a folder, or a folder of the registry; of the same photographs as `target`
    target: str = ""  # what pairs make of `input`; for dehazing, scenes without haze; else a person's renditions
    name: str = ""  # put before the names of its photographs; the folder's own when left out
    split: Annotated[Split | Lists | Shares, BeforeValidator(_split)] = field(default_factory=Shares)
    start: NonNegativeInt = 0  # the first of the sorted photographs that is taken
    stop: PositiveInt | None = None  # the first that is not
    hazy: bool = False  # the photographs are hazy as they are
    operators: tuple[str, ...] = ()  # only for these
    group: str = ""  # regular expression; photographs in whose name it finds the same text share their split

    def __post_init__(self) -> None:
        given = [name for name in ("set", "folder", "input") if getattr(self, name)]
        if len(given) != 1 or bool(self.input) != bool(self.target):
            raise ValueError("Photographs have either a set, or a folder, or both an input and a target.")


@dataclass(frozen=True, config=STRICT)
class Profile:
    """One pass over the notebooks: which photographs, operators, networks, objectives, seeds and judges."""

    photographs: Annotated[tuple[Photographs, ...], Field(min_length=1)]
    networks: Several[NetworkName]
    name: PlaceInResults = "study"  # of the folder in results; --output names one elsewhere
    operators: Several[OperatorName] = ("tone", "dehaze")
    settings: dict[str, dict[str, float]] = field(default_factory=dict)  # of operators, where not their defaults
    haze: HazeSettings = field(default_factory=HazeSettings)
    shortest_side: ReducedSide = 0  # px to which photographs are reduced first; 0 keeps them
    fidelities: Several[FidelityName] = ("l1", "l2", "ssim", "ms_ssim", "mix")
    critics: Distinct[CriticName] = ("compact",)
    gammas: Distinct[PositiveFloat] = (1e-3, 1e-2)  # the ladder, among which validation chooses
    seeds: Several[int] = (0,)  # of L2 and L1, and of L2 with a critic
    fewer_seeds: Distinct[int] | None = None  # of the others; as many when left out
    schedule: Schedule = field(default_factory=Schedule)
    own_schedules: dict[NetworkName, Schedule] = field(default_factory=dict)  # of some networks
    first_phases: dict[NetworkName, Schedule] = field(default_factory=dict)  # of networks that learn with L2 first
    options: dict[NetworkName, tuple[str, ...]] = field(default_factory=dict)  # of some networks, such as mirrored
    smoothness: Annotated[float, Field(ge=0)] = 0.0  # weight of the roughness of bilateral grids in their loss
    initial: bool = False  # start from the shipped plain networks
    judges: tuple[JudgeName, ...] = ("niqe",)  # took no part in training or choosing
    lpips: bool = False  # measure it, for which 10 MB are downloaded
    criteria: dict[str, Any] = field(default_factory=dict)  # of a recipe, where not those of `lpie.evidence.gains`
    modules: tuple[str, ...] = ()  # imported first: they may add rows to the tables

    def __post_init__(self) -> None:
        if self.critics and not self.gammas:
            raise ValueError("'gammas' is empty: give the critics weights, such as [0.001, 0.01], or set critics = [].")
        for operator, given in self.settings.items():
            find({name: OPERATORS[name] for name in self.operators}, operator, "operator of this study")
            known = asdict(OPERATORS[operator].settings())
            for name in given:
                find(known, name, f"setting of {operator}")
        for network, options in self.options.items():
            for option in options:
                find(dict.fromkeys(networks.FAMILIES[network].options), option, f"option of {network}")
        if self.criteria:
            from lpie.evidence.gains import Criteria

            for name in self.criteria:
                find(asdict(Criteria()), name, "criterion")

    def settings_of(self, operator: str) -> Any:
        """The operator's settings: its defaults, but for those that this profile sets."""
        return replace(find(OPERATORS, operator, "operator").settings(), **self.settings.get(operator, {}))

    @property
    def training_sides(self) -> tuple[int, ...]:
        """The shorter sides, in px, at which its networks see their training photographs; largest first."""
        schedules = (self.schedule, *self.own_schedules.values(), *self.first_phases.values())
        return tuple(sorted({side for schedule in schedules for side in schedule.sides}, reverse=True))

    @property
    def other_seeds(self) -> tuple[int, ...]:
        """The seeds of what needs fewer of them."""
        return self.seeds if self.fewer_seeds is None else self.fewer_seeds

    @property
    def digest(self) -> str:
        """Eight hex digits of every setting."""
        return digest_of(asdict(self))


def digest_of(parts: Any) -> str:
    """Eight hex digits of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]


def baseline(profile: Profile, operator: str, network: NetworkName) -> Study:
    """The study from which a profile's others differ: L2, no critic, seed 0."""
    return Study(
        operator=operator,
        network=network,
        photographs=digest_of([[asdict(rows) for rows in profile.photographs], profile.shortest_side]),
        settings=profile.settings_of(operator),
        haze=profile.haze if OPERATORS[operator].estimate else None,
        schedule=profile.own_schedules.get(network, profile.schedule),
        first_phase=profile.first_phases.get(network),
        options=profile.options.get(network, ()),
        smoothness=profile.smoothness if network == "grid" else 0.0,
        initial=f"{operator}-{network}-plain" if profile.initial else "",
    )


def fidelity_studies(profile: Profile, operator: str) -> tuple[Study, ...]:
    """The baselines without a critic: every network, fidelity and seed."""
    return tuple(
        replace(baseline(profile, operator, network), fidelity=fidelity, seed=seed)
        for network, fidelity in product(profile.networks, profile.fidelities)
        for seed in (profile.seeds if fidelity in ("l1", "l2") else profile.other_seeds)
    )


def ladder_studies(profile: Profile, operator: str) -> tuple[Study, ...]:
    """The weight gamma swept over its ladder: every network and critic, L2, the first seed."""
    return tuple(
        replace(baseline(profile, operator, network), critic=critic, gamma=gamma)
        for network, critic, gamma in product(profile.networks, profile.critics, profile.gammas)
    )


def headline_studies(
    profile: Profile, operator: str, network: NetworkName, critic: str, gamma: float
) -> tuple[Study, ...]:
    """L2 (every seed) and L1 (fewer seeds) with the critic at one weight."""
    plain = replace(baseline(profile, operator, network), critic=critic, gamma=gamma)
    l2 = [replace(plain, fidelity="l2", seed=seed) for seed in profile.seeds]
    l1 = [replace(plain, fidelity="l1", seed=seed) for seed in profile.other_seeds]
    return (*l2, *l1)


def headline_at(profile: Profile, operator: str) -> tuple[Study, ...]:
    """The headline of every network and critic of `profile` at each of its weights, whatever validation chose."""
    weights = product(profile.networks, profile.critics, profile.gammas)
    return tuple(study for weight in weights for study in headline_studies(profile, operator, *weight))


def every_study(profile: Profile, operator: str) -> tuple[Study, ...]:
    """All that the notebooks may train: the baselines, the ladder, and the headline at any weight of the ladder."""
    kinds = (fidelity_studies, ladder_studies, headline_at)
    return tuple(dict.fromkeys(study for kind in kinds for study in kind(profile, operator)))


def preview_studies(profile: Profile, operator: str) -> tuple[Study, ...]:
    """L2 and L1 with the first critic at the middle weight of the ladder: what the critic does, before choosing."""
    if not profile.critics or not profile.gammas:
        return ()
    critic, middle = profile.critics[0], profile.gammas[len(profile.gammas) // 2]
    plain = [replace(baseline(profile, operator, network), critic=critic, gamma=middle) for network in profile.networks]
    return tuple(replace(study, fidelity=fidelity) for study in plain for fidelity in ("l2", "l1"))
