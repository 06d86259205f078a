"""What a study would train, on what and about how long, and what would stop it, said before anything is computed."""

from __future__ import annotations

from collections import Counter

from lpie.study.settings import Profile, Study, every_study
from lpie.study.sources import Source, find_overlaps, find_sources

STEP = {"can24": 1.6, "can32": 2.6, "grid": 0.35, "parameters": 4.0}
"""Seconds that a step of each family takes for a megapixel of photographs, forward and back, on two cores."""

CRITIC = 0.15
"""Seconds that a critic adds to a step for each photograph."""

EVALUATION = 1.5
"""Seconds that one photograph takes to be rendered and measured."""


def check_study(profile: Profile) -> tuple[list[str], list[str]]:
    """What is to be said of a study, line by line, and what is wrong with its photographs.

    Other mistakes are found when the file is read.
    """
    lines: list[str] = []
    problems: list[str] = []
    photographs: dict[str, Counter[str]] = {}
    for operator in profile.operators:
        try:
            sources = find_sources(profile, operator)
        except (ValueError, OSError) as error:
            problems.append(str(error))
            continue
        counts: Counter[str] = Counter(source.split for source in sources)
        photographs[operator] = counts
        lines.append(f"{operator}: " + ", ".join(f"{counts[s]} {s}" for s in ("train", "validation", "test")))
        problems += _overlaps([source for source in sources if not source.registered])
    studies = every_study(profile)
    first = [study for study in studies if study.fidelity == "l2" or study.gamma == 0]
    lines.append(
        f"{len(first)} networks or fewer ({', '.join(profile.networks)}), the critics at every weight included"
    )
    hours = sum(seconds_of(study, photographs.get(study.operator, Counter())) for study in first) / 3600
    lines.append(f"about {hours:.1f} hours on two cores at most; a GPU takes a fiftieth of that")
    return lines, list(dict.fromkeys(problems))


def seconds_of(study: Study, photographs: Counter[str]) -> float:
    """About how long training and evaluating one network takes on two cores."""
    sides = study.schedule.sides
    megapixels = sum(1.5 * side**2 for side in sides) / len(sides) * study.schedule.batch / 1e6
    step = STEP.get(study.network, 2.0) * megapixels + (CRITIC * study.schedule.batch if study.gamma else 0)
    return study.schedule.steps * step + EVALUATION * (photographs["validation"] + photographs["test"])


def _overlaps(sources: list[Source]) -> list[str]:
    return [
        f"{one.name} ({one.split}) and {other.name} ({other.split}) show the same photograph: keep one of them."
        for one, other in find_overlaps(sources)
    ]
