"""What a study would train, on what and about how long here, and what would stop it, before anything is computed."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lpie.study.settings import Profile, Schedule, Study, every_study, ladder_studies
from lpie.study.sources import find_sources, refuse_overlaps

if TYPE_CHECKING:
    from lpie.study.targets import Scene

ENOUGH = 10  # test photographs, below which no difference is decided
LARGEST_SIDE = 256  # px, of the photographs on which a step is timed
STEPS = 2  # of which the faster counts


def check_study(profile: Profile) -> tuple[list[str], list[str]]:
    """What is to be said of a study, line by line, and what is wrong with its photographs and networks.

    Other mistakes are found when the file is read.
    """
    from lpie.study.pairs import find_mismatches
    from lpie.study.targets import all_makings

    lines: list[str] = []
    problems: list[str] = []
    for operator in profile.operators:
        try:
            sources = find_sources(profile, operator)
            counts = Counter(source.split for source in sources)
            lines.append(f"{operator}: " + ", ".join(f"{counts[s]} {s}" for s in ("train", "validation", "test")))
            if counts["test"] < ENOUGH:
                lines.append(f"warning: fewer than {ENOUGH} test photographs decide nothing: add some")
            problems.extend(find_mismatches(sources))
            refuse_overlaps(sources)
            all_makings(profile, operator, sources)
        except (ValueError, OSError) as error:
            problems.extend(str(error).splitlines())
    if problems:
        return lines, list(dict.fromkeys(problems))
    schedules = (profile.schedule, *profile.own_schedules.values(), *profile.first_phases.values())
    if rare := [one for one in schedules if one.validate_every > one.steps]:
        lines.append(f"warning: validate_every is above steps = {rare[0].steps}: validated once, at the end")
    studies = _studies(profile)
    listed = {study for operator in profile.operators for study in every_study(profile, operator)}
    trained = len(listed.intersection(studies))
    several = f" of {len(listed)} that `lpie study train --list` names, by the weight that validation chooses"
    lines.append(f"{trained} networks ({', '.join(profile.networks)})" + (several if trained < len(listed) else ""))
    try:
        lines.append(f"training them takes about {_spoken(seconds_of(studies))}, by two steps of each kind timed here")
    except ValueError as error:
        problems.append(str(error))
    return lines, problems


def _studies(profile: Profile) -> list[Study]:
    """What is trained if validation chooses the middle of the weights, first phases among it."""
    middle = replace(profile, gammas=profile.gammas[len(profile.gammas) // 2 :][:1])
    studies = [
        study
        for operator in profile.operators
        for study in (*every_study(middle, operator), *ladder_studies(profile, operator))
    ]
    return list(dict.fromkeys([*(study.first for study in studies if study.first), *studies]))


def seconds_of(studies: list[Study]) -> float:
    """About how long training takes on this machine: two steps of each kind, scaled by the size of the photographs.

    Raises ValueError for a network that cannot learn its operator.
    """
    measured: dict[tuple[str, ...], float] = {}
    total = 0.0
    for study in studies:
        plain = (study.operator, study.network)
        for key in (plain, (*plain, study.critic)):
            if key not in measured:
                measured[key] = _seconds_of_step(study, with_critic=key != plain and study.gamma > 0)
        sides = study.schedule.sides
        larger = sum(side**2 for side in sides) / len(sides) / _timed_side(study) ** 2
        critic = max(0.0, measured[(*plain, study.critic)] - measured[plain]) if study.gamma else 0.0
        total += study.schedule.steps * study.schedule.batch * (larger * measured[plain] + critic)
    return total


def _seconds_of_step(study: Study, with_critic: bool) -> float:
    """A step on one photograph of random colors, of which nothing is kept; one before it is not counted."""
    import torch

    from lpie.study.training import Run, default_device

    side = _timed_side(study)
    timed = Schedule(steps=STEPS + 2, batch=1, sides=(side,))  # the last would be followed by a validation
    study = replace(study, schedule=timed, first_phase=None)
    if not with_critic:
        study = replace(study, critic="none", gamma=0.0)
    run = Run(study, _scenes(side), Path("nowhere"), default_device(), {})
    run.advance()
    times = []
    for _ in range(STEPS):
        began = time.perf_counter()
        run.advance()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return min(times)


def _timed_side(study: Study) -> int:
    return min(LARGEST_SIDE, max(study.schedule.sides))


def _scenes(side: int) -> list[Scene]:
    import torch

    from lpie.study.targets import Scene, frame_length

    photo = torch.randint(256, (3, side, frame_length(side)), dtype=torch.uint8)
    airlight, transmission = torch.full((3,), 0.8), torch.full((1, *photo.shape[1:]), 128, dtype=torch.uint8)
    return [Scene(split, split, photo, photo, airlight, transmission) for split in ("train", "validation")]


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < 172800 else f"{seconds / 86400:.0f} days (it wants a GPU)"
