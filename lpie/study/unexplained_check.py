"""Does unexplained change find damage, and does it let enhancements pass?

    python -m lpie.study.unexplained_check results/published [network ...]

Asked on photographs of which some chose the constants of `judges.unexplained` and the others are reported. Writes
`unexplained.csv`, a row per photograph and rendition, where a run that was stopped goes on, and
`unexplained_summary.csv`. Further networks, such as one known to weave, are safetensors files for tone.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from scipy import stats
from tqdm import tqdm

from lpie import registry
from lpie.evidence.statistics import paired_interval, rank_correlation
from lpie.imaging.color import quantize
from lpie.imaging.resampling import within
from lpie.judges import JUDGES
from lpie.judges.full_reference import NO_DIFFERENCE, cvvdp
from lpie.judges.unexplained import unexplained_change
from lpie.operators import OPERATORS
from lpie.photos.enhancement import enhance
from lpie.photos.photographs import read_photo
from lpie.records import write_csv
from lpie.study.damage import DAMAGES, STRENGTHS, damaged
from lpie.study.dark_channel import dark_channel_dehaze
from lpie.study.instruments import LONGEST_SIDE
from lpie.vocabulary import Photo
from lpie.weights import shipped_names

HALVES = ("chosen on", "reported")
COLUMNS = ["half", "photo", "rendition", "strength", "jod", "unexplained"]
Row = tuple[str, float, float, float]  # rendition, strength of the damage, what it costs in JOD, unexplained change


def rows_of(photo: Photo, place: int, operator: str, networks: Sequence[str]) -> Iterator[Row]:
    """The operator's rendition, those of others, and the operator's with every damage at two strengths."""
    hazy = OPERATORS[operator].estimate is not None
    whole = quantize(enhance(photo, operator=operator, weights="operator"))
    yield operator, 0.0, 0.0, float(unexplained_change(photo, whole, hazy=hazy))
    for network in networks:
        rendition = quantize(enhance(photo, operator=operator, weights=network))
        yield Path(network).stem, 0.0, 0.0, float(unexplained_change(photo, rendition, hazy=hazy))
    if hazy:
        other = quantize(dark_channel_dehaze(photo).photo)
        yield "dark channel", 0.0, 0.0, float(unexplained_change(photo, other, hazy=True))
    for kind in DAMAGES if place % 2 or place % 8 == 0 else ():  # those that choose are asked for the bound above all
        for strength in (STRENGTHS[place % 3], STRENGTHS[-1 - place % 2]):
            harmed = damaged(whole, kind, strength, seed=place)
            loss = NO_DIFFERENCE - float(cvvdp(harmed, whole))
            yield kind, strength, loss, float(unexplained_change(photo, harmed, hazy=hazy))


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """What share of the photographs is flagged, by rendition, and how well damage is ranked within a photograph.

    One row per half and question: share or rank correlation with its 95 % interval over photographs (Wilson's for
    shares, the bootstrap's for correlations). Flagged is what exceeds `plain` of the judge's row, which is `bound`.
    """
    found = []
    undamaged, harmed = rows[rows["strength"] == 0], rows[rows["strength"] > 0]
    for (half, name), group in undamaged.groupby(["half", "rendition"], sort=False):
        flagged = int((group["unexplained"] > JUDGES["unexplained"].plain).sum())
        low, high = stats.binomtest(flagged, len(group)).proportion_ci(method="wilson")
        found.append((half, f"{name}: flagged", flagged / len(group), low, high, len(group)))
    operators = undamaged.groupby("photo")["rendition"].first()
    for (half, operator), group in harmed.groupby(["half", harmed["photo"].map(operators)], sort=False):
        ranked = [rank_correlation(one["jod"], one["unexplained"]) for _, one in group.groupby("photo")]
        interval = paired_interval(ranked)
        text = f"damage after {operator}: rank correlation with its visibility"
        found.append((half, text, interval.mean, interval.low, interval.high, interval.n))
    return pd.DataFrame(found, columns=["half", "question", "value", "low", "high", "photographs"])


def main() -> None:
    """Measure and write both tables; print the summary."""
    parser = argparse.ArgumentParser(prog="python -m lpie.study.unexplained_check", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("networks", nargs="*", default=[])
    asked = parser.parse_args()
    shipped = {kind: [name for name in shipped_names() if name.startswith(f"{kind}-")] for kind in ("tone", "dehaze")}
    file = asked.folder / "unexplained.csv"
    table = pd.read_csv(file, dtype={"photo": str}) if file.exists() else pd.DataFrame(columns=COLUMNS)
    for place, path, operator in tqdm(photographs()):
        if path.stem in set(table["photo"]):
            continue
        photo = quantize(within(read_photo(path), LONGEST_SIDE))
        rows = rows_of(photo, place, operator, shipped[operator] + (asked.networks if operator == "tone" else []))
        found = pd.DataFrame([(HALVES[place % 2], path.stem, *row) for row in rows], columns=COLUMNS).round(4)
        table = pd.concat([table, found], ignore_index=True)
        write_csv(file, table)
    summarized = summary(table).round(3)
    write_csv(asked.folder / "unexplained_summary.csv", summarized)
    print(summarized.to_string(index=False))
    print(f"the bound by the rule is {bound(table):.2f}, in use is {JUDGES['unexplained'].plain:.2f}")


def photographs() -> list[tuple[int, Path, str]]:
    """Place, file and operator of every photograph; those at even places choose."""
    tone = [
        (place, path, "tone") for place, path in enumerate(registry.files_of("unsplash800")[2::4]) if place % 4 != 2
    ]
    hazy = [(place, path, "dehaze") for place, path in enumerate(registry.files_of("haze/real"))]
    return [*tone, *hazy]


def bound(rows: pd.DataFrame) -> float:
    """The smallest hundredth at which at most 5 % of the choosing half is flagged of each rendition without a critic.

    Of dehazing, `can24` does not count: it draws lattices into skies.
    """
    names = [
        "tone",
        "dehaze",
        "dehaze-parameters-plain",
        *(f"tone-{of}-plain" for of in ("can24", "grid", "parameters")),
    ]
    chosen = rows[(rows["half"] == HALVES[0]) & rows["rendition"].isin(names)]
    highest = chosen.groupby("rendition")["unexplained"].quantile(0.95, interpolation="higher").max()
    return math.ceil(100 * highest) / 100


if __name__ == "__main__":
    main()
