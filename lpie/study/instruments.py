"""What each instrument is worth, and for what: critics, judges and measures of distance, asked before they speak.

Every question has an answer that does not depend on the instruments: people's ratings, what a person made of a photo,
a view without haze, damage that was put there. `answers` has one row per question, instrument and group (a scene, a
motif, a photo), `worth` an interval over groups beside the level of chance, `roles` what follows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from lpie import registry
from lpie.critic import CRITICS
from lpie.evidence.statistics import paired_interval, rank_correlation
from lpie.imaging.color import quantize
from lpie.imaging.resampling import within
from lpie.judges import JUDGES, Role, available_raters, available_references, load_nearness, load_rater
from lpie.judges.full_reference import NO_DIFFERENCE, cvvdp
from lpie.operators import ToneSettings
from lpie.operators.local_laplacian import local_laplacian
from lpie.photos.enhancement import enhance
from lpie.photos.photographs import demo_photographs, read_photo
from lpie.records import write_csv
from lpie.study.damage import DAMAGES, STRENGTHS, damaged
from lpie.study.settings import Profile
from lpie.vocabulary import Photo

log = logging.getLogger(__name__)

LONGEST_SIDE = 512  # px to which photographs are reduced before they are damaged or compared
DEMO_SIDE = 176  # px of the shorter side in the demo
APART = 0.5  # of a point in people's ratings: nearer renditions are not asked about
STRONGER = ToneSettings(alpha=0.3, beta=0.7, sigma_r=0.2)  # of the local Laplacian filter, without damage
PLAIN_JOD = 1.0  # damage that three of four people see
PHOTOGRAPHS = 8  # that are damaged in a study

Answer = tuple[str, str, str, float]  # question, instrument, group, value


@dataclass(frozen=True)
class Question:
    """What instruments are asked, and the role for which an answer is evidence."""

    text: str
    statistic: str
    chance: float
    enough: float
    """The lower bound of the interval must exceed this: chance, or what a role needs beyond it."""
    role: Role


QUESTIONS: Mapping[str, Question] = {
    "liked": Question(
        "which tone-mapped rendition of a scene did 126 people like better?", "pairs in order", 0.5, 0.5, "preference"
    ),
    "finished": Question(
        "a photo as it came, or as a retoucher finished it?", "finished preferred", 0.5, 0.5, "preference"
    ),
    "haze-free": Question("a hazy view, or the same without haze?", "clear preferred", 0.5, 0.5, "preference"),
    "degraded": Question(
        "how bad did 16 people find blur and JPEG?", "rank correlation", 0.0, 0.5, "visible difference"
    ),
    "damage ranked": Question("how plain is the damage, in JOD?", "rank correlation", 0.0, 0.5, "visible difference"),
    "damage seen": Question(
        "which is plainly damaged, this or an undamaged rendition?", "pairs in order", 0.5, 0.75, "veto"
    ),
    "person": Question(
        "which of the two is nearer to a retoucher's, the damaged one or the other?",
        "pairs in order",
        0.5,
        0.75,
        "human reference",
    ),
}
"""A role needs every question of its kind that an instrument can answer, and one at least. Of an instrument without
a reference, how bad blur and JPEG are is asked as damage."""


def ask_instruments(profile: Profile, folder: Path) -> pd.DataFrame:
    """`worth` of the `answers` that a profile's photographs allow, also written to instruments.csv of `folder`."""
    table = worth(answers(profile))
    write_csv(folder / "instruments.csv", table)
    return table


def answers(profile: Profile) -> pd.DataFrame:
    """One row per question, instrument and group: columns question, instrument, group, value.

    Where a profile's photographs are the demo's, only damage to those is asked about; else every set of the registry
    is, and those that cannot be found or downloaded are named in the log.
    """
    demo = all(rows.set == "demo" for rows in profile.photographs)
    raters = {name: load_rater(name) for name in available_raters()}
    references = {name: load_nearness(name) for name in available_references()}
    asked: list[Callable[..., Iterator[Answer]]] = [_about_damage]
    if not demo:
        asked += [_about_renditions, _about_degraded, _about_pairs, _about_persons]
    rows: list[Answer] = []
    for ask in asked:
        log.info("instruments: %s", ask.__name__.removeprefix("_about_"))
        try:
            rows += ask(raters, references, demo)
        except (FileNotFoundError, ConnectionError) as error:
            log.warning("not asked about %s: %s", ask.__name__.removeprefix("_about_"), error)
    return pd.DataFrame(rows, columns=["question", "instrument", "group", "value"])


def worth(answered: pd.DataFrame) -> pd.DataFrame:
    """One row per question and instrument: mean over groups with its interval, the level of chance, what it shows.

    `shows` is whether the interval lies above what the question's role needs.
    """
    rows = []
    for names, group in answered.groupby(["question", "instrument"], sort=False):
        question, instrument = map(str, names)
        alone = instrument in CRITICS or not JUDGES[instrument].needs_reference
        role: Role = "veto" if alone and question == "degraded" else QUESTIONS[question].role
        asked, interval = QUESTIONS[question], paired_interval(group.groupby("group")["value"].mean())
        rows.append(
            {
                "question": question,
                "instrument": instrument,
                "label": JUDGES[instrument].label if instrument in JUDGES else CRITICS[instrument].label,
                "statistic": asked.statistic,
                "value": interval.mean,
                "low": max(interval.low, 2 * asked.chance - 1),  # shares and correlations end as far below chance
                "high": min(interval.high, 1.0),  # as they do above it; Student's interval of few groups does not
                "groups": interval.n,
                "chance": asked.chance,
                "role": role,
                "shows": bool(interval.low > asked.enough),
            }
        )
    order = {name: place for place, name in enumerate(QUESTIONS)}
    return pd.DataFrame(rows).sort_values("question", key=lambda names: names.map(order), kind="stable")


def roles(table: pd.DataFrame) -> dict[str, tuple[Role, ...]]:
    """The roles in which each judge of `worth` may speak: all questions of the role answered well, and no critic."""
    judged = table[~table["instrument"].isin(CRITICS)]
    shown = judged.groupby(["instrument", "role"], sort=False, as_index=False)["shows"].all()
    return {
        name: tuple(shown.loc[(shown["instrument"] == name) & shown["shows"], "role"])
        for name in judged["instrument"].unique()
    }


def _about_renditions(raters: Mapping, _references: Mapping, _demo: bool) -> Iterator[Answer]:
    ratings, folder = _ratings("people/tone_mapping")
    for scene, rows in ratings.groupby("scene"):
        photos = [read_photo(folder / "images" / file) for file in rows["file"]]
        for name, rate in raters.items():
            scores = [float(rate(photo)) for photo in photos]
            for (liked, score), (other, its_score) in combinations(zip(rows["mean"], scores, strict=True), 2):
                if abs(liked - other) > APART:
                    yield "liked", name, str(scene), _in_order(liked - other, score - its_score)


def _about_degraded(raters: Mapping, references: Mapping, _demo: bool) -> Iterator[Answer]:
    ratings, folder = _ratings("people/degraded")
    for (motif, _), rows in ratings.groupby(["motif", "distortion"]):
        worst_first = rows.sort_values("level")
        *photos, best = [read_photo(folder / "images" / file) for file in worst_first["file"]]
        people = worst_first["mean"].to_numpy()
        for name, rate in raters.items():
            scores = [float(rate(photo)) for photo in (*photos, best)]
            yield "degraded", name, str(motif), rank_correlation(people, scores)
        for name, near in references.items():
            nearness = [float(near(photo, best)) for photo in photos]
            yield "degraded", name, str(motif), rank_correlation(people[:-1], nearness)


def _about_pairs(raters: Mapping, _references: Mapping, _demo: bool) -> Iterator[Answer]:
    for question, pairs in (("finished", finished_pairs()), ("haze-free", clear_pairs())):
        for group, before, after in pairs:
            photos = [within(read_photo(path), LONGEST_SIDE) for path in (before, after)]
            for name, rate in raters.items():
                yield question, name, group, _in_order(1, float(rate(photos[1])) - float(rate(photos[0])))


def _about_damage(raters: Mapping, references: Mapping, demo: bool) -> Iterator[Answer]:
    """The operator's rendition of each photo, damaged in every way at two strengths that change from photo to photo.

    It is compared with itself undamaged, and with a much stronger rendition: whoever takes change for damage is wrong.
    """
    for place, (group, photo) in enumerate(damage_photographs(demo).items()):
        photo = quantize(within(photo, LONGEST_SIDE))
        whole = quantize(enhance(photo, operator="tone", weights="operator"))
        losses: list[float] = []
        nearness: dict[str, list[float]] = {name: [] for name in references}
        stronger = quantize(local_laplacian(photo, **asdict(STRONGER)))
        unharmed = {name: [float(rate(one)) for one in (whole, stronger)] for name, rate in raters.items()}
        unharmed |= {name: [float(near(one, photo)) for one in (whole, stronger)] for name, near in references.items()}
        for kind in DAMAGES:
            for strength in (STRENGTHS[place % 3], STRENGTHS[-1 - place % 2]):
                harmed = damaged(whole, kind, strength, seed=place)
                losses.append(NO_DIFFERENCE - float(cvvdp(harmed, whole)))
                to_photo = {name: float(near(harmed, photo)) for name, near in references.items()}
                for name, near in references.items():
                    known = name == "unexplained"  # it compares with the photo, the others with the undamaged rendition
                    nearness[name].append(to_photo[name] if known else float(near(harmed, whole)))
                if losses[-1] >= PLAIN_JOD:
                    scored = {name: float(rate(harmed)) for name, rate in raters.items()} | to_photo
                    for name, score in scored.items():
                        for other in unharmed[name]:
                            yield "damage seen", name, group, _in_order(1, other - score)
        for name, near_to in nearness.items():
            if name != "cvvdp":  # which defines the scale
                yield "damage ranked", name, group, rank_correlation(-np.array(losses), near_to)


def _about_persons(_raters: Mapping, references: Mapping, _demo: bool) -> Iterator[Answer]:
    for place, (group, before, after) in enumerate(finished_pairs()):
        photo, finished = (quantize(within(read_photo(path), LONGEST_SIDE)) for path in (before, after))
        height, width = (min(sides) for sides in zip(photo.shape[-2:], finished.shape[-2:], strict=True))
        photo, finished = photo[..., :height, :width], finished[..., :height, :width]  # some differ by a pixel or two
        whole = quantize(enhance(photo, operator="tone", weights="operator"))
        for kind in [kind for turn, kind in enumerate(DAMAGES) if turn % 3 == place % 3]:
            harmed = damaged(whole, kind, 1.0, seed=place)
            if NO_DIFFERENCE - float(cvvdp(harmed, whole)) < PLAIN_JOD:
                continue
            for name, near in references.items():
                if name != "unexplained":  # it asks about the photo, not about another person's rendition
                    nearer = float(near(whole, finished)) - float(near(harmed, finished))
                    yield "person", name, group, _in_order(1, nearer)


def damage_photographs(demo: bool) -> dict[str, Photo]:
    """The photographs that are damaged, by name: three of the demo's, or some of Kodak's and of `unsplash800`."""
    if demo:
        return dict(list(demo_photographs(DEMO_SIDE).items())[:3])
    kodak, others = registry.files_of("kodak24"), registry.files_of("unsplash800")
    half = PHOTOGRAPHS // 2
    paths = [*kodak[:: len(kodak) // half][:half], *others[:: len(others) // half][:half]]
    return {f"{path.parent.name}-{path.stem}": read_photo(path) for path in paths}


def finished_pairs() -> list[tuple[str, Path, Path]]:
    """Photos as they came and as a retoucher finished them: name, before, after; one pair of each photo."""
    pairs: dict[str, tuple[Path, Path]] = {}
    for folder in ("fivek/local_laplacian", "fivek/expert_c_pairs", *(f"pairs/fivek_{of}" for of in _FIVEK)):
        before, after = (registry.files_of(f"{folder}/{side}") for side in ("input", "expert_c"))
        pairs |= {first.name[:5]: (first, second) for first, second in zip(before, after, strict=True)}
    return [(name, *paths) for name, paths in pairs.items()]


def clear_pairs() -> list[tuple[str, Path, Path]]:
    """Hazy views and the same without haze: name of the scene, before, after."""
    pairs = []
    for folder in _HAZE:
        before, after = (registry.files_of(f"{folder}/{side}") for side in ("input", "truth"))
        pairs += [(f"{folder}-{a.stem}", a, b) for a, b in zip(before, after, strict=True)]
    truths = {path.stem: path for path in registry.files_of("haze/sots_pairs/gt")}
    for path in registry.files_of("haze/sots_pairs/hazy"):
        pairs.append((f"sots-{path.stem.split('_')[0]}", path, truths[path.stem.split("_")[0]]))
    return pairs


_FIVEK = ("uegan", "curl", "deeplpf")
_HAZE = ("pairs/ohaze_full", "pairs/revide_xjtu", "pairs/densehaze_oculins", "pairs/sots_outdoor_sej07")


def _ratings(folder: str) -> tuple[pd.DataFrame, Path]:
    registry.files_of(f"{folder}/images")
    path = registry.fetch(f"{folder}/ratings.csv")
    return pd.read_csv(path), path.parent


def _in_order(truth: float, said: float) -> float:
    """1 where both have the same sign, 0 where not, one half where nothing is said."""
    return 0.5 if said == 0 else float((truth > 0) == (said > 0))
