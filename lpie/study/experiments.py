"""Trains and evaluates the rows of a table, each once, whatever interrupts it; several processes may share the work.

A run's folder holds all that is known of it, so that nothing else needs to know how the work was divided.

    lpie study train study --stage fidelity -p operators=tone -p networks=grid --output FOLDER
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from lpie import registry
from lpie.evidence import Evidence
from lpie.evidence.gains import Criteria
from lpie.evidence.results import collect_results, is_gathered, read_results, read_scores
from lpie.judges import JUDGES, available_raters, available_references, load_rater
from lpie.judges.robustness import Score as Judge
from lpie.records import atomic_path, read_json, sharing, write_csv, write_json
from lpie.study.evaluation import measure, render
from lpie.study.measuring import Measuring, measuring, spare_processes
from lpie.study.settings import Profile, Study, fidelity_studies, headline_studies, ladder_studies, preview_studies
from lpie.study.targets import Scene, load_scenes, target_settings
from lpie.study.training import default_device, is_trained, load_network, train

log = logging.getLogger(__name__)

CROP = 224  # px, square: what of a photo is kept to be shown in figures
CROPS = 3  # photos of which a crop is kept, by the first seed of every study
TOGETHER = 8  # studies that train at once on a GPU; a CPU takes one


def run_studies(
    profile: Profile, studies: Sequence[Study], folder: Path, device: str | None = None, together: int = TOGETHER
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train and evaluate each of `studies` that is not finished in `folder`; then the tables of all results there.

    The tables are those of `results.read_results`: runs, and scores with one row per run and photo of the validation
    and test splits. The operators' inputs and targets are evaluated once, as the pseudo-runs `<operator>-input` and
    `<operator>-target`. Where `folder` holds published evidence, it is read as it stands: nothing is trained. Raises
    FloatingPointError, once all others are evaluated, for networks that diverged; BlockingIOError where a run of
    notebooks has `folder` for itself; ValueError where `folder` holds results for other targets.
    """
    if is_gathered(folder):
        log.info("%s holds gathered tables: read, nothing is trained", folder)
        return read_results(folder)
    folder, device = Path(folder), device or default_device()
    judges = load_judges(profile, device)
    with sharing(folder):
        if diverged := _run_missing(profile, studies, folder, device, judges, together):
            raise FloatingPointError(" ".join(diverged))
        return collect_results(folder)


def _run_missing(
    profile: Profile, studies: Sequence[Study], folder: Path, device: str, judges: Mapping[str, Judge], together: int
) -> list[str]:
    """What `run_studies` has to do; returns what is to be said of networks that diverged."""
    diverged: list[str] = []
    for operator in dict.fromkeys(study.operator for study in studies):
        asked = [study for study in studies if study.operator == operator]
        _one_target(profile, operator, asked, folder)
        pending = [study for study in asked if not is_evaluated(folder, study.name, judges)]
        references = [name for name in ("input", "target") if not is_evaluated(folder, f"{operator}-{name}", judges)]
        log.info("%s: %d of %d runs to do", operator, len(pending), len(asked))
        if not pending and not references:
            continue
        scenes = load_scenes(profile, operator, folder / "targets")
        for name in references:
            reference_run(profile, operator, name, scenes, folder, device, judges)
        on_gpu = device.startswith("cuda")
        at_once, processes = (together, spare_processes()) if on_gpu else (1, 0)
        with measuring(tuple(judges), processes) if processes > 0 else nullcontext() as beside:
            for start in range(0, len(pending), at_once):
                try:
                    train_and_evaluate(pending[start : start + at_once], scenes, folder, device, judges, beside)
                except FloatingPointError as error:
                    diverged.append(str(error))
    return diverged


def train_and_evaluate(
    studies: Sequence[Study],
    scenes: Sequence[Scene],
    folder: Path,
    device: str,
    judges: Mapping[str, Judge],
    beside: Measuring | None = None,
) -> None:
    """Train `studies` together into `folder/runs` and evaluate each, `beside` where given; raises as `train`."""
    try:
        train(studies, scenes, folder / "runs", device)
    finally:
        reported = [scene for scene in scenes if scene.split != "train"]
        for study in (study for study in studies if is_trained(study, folder / "runs")):
            network = load_network(study, folder / "runs").to(device)
            _evaluate_run(folder, study, network, reported, judges, device, beside)


def reference_run(
    profile: Profile,
    operator: str,
    name: str,
    scenes: Sequence[Scene],
    folder: Path,
    device: str,
    judges: Mapping[str, Judge],
) -> None:
    """Evaluate the operator's `input` or `target`, whichever `name` says, as a pseudo-run."""
    reported = [scene for scene in scenes if scene.split != "train"]
    outputs = [scene.photo if name == "input" else scene.target for scene in reported]
    targets = target_settings(profile, operator)
    save_pseudo_run(folder, operator, name, outputs, reported, judges, device, targets=targets)


def _one_target(profile: Profile, operator: str, studies: Sequence[Study], folder: Path) -> None:
    """Raises ValueError where `studies` do not share their targets with each other, `profile` and what `folder` holds.

    Gains over two targets cannot stand in one table.
    """
    if {study.settings for study in studies} - {profile.settings_of(operator)}:
        raise ValueError(f"Studies of {operator} have other settings than the profile: give both the same.")
    asked, record = target_settings(profile, operator), folder / "runs" / f"{operator}-target" / "run.json"
    before = read_json(record).get("targets", asked) if record.exists() else asked
    if before != asked:
        raise ValueError(f"{folder} holds {operator} results of targets of {before}, not {asked}: name another folder.")


def load_judges(profile: Profile, device: str) -> dict[str, Judge]:
    """The profile's critics and judges that can be loaded now, on `device`; the log names those that cannot.

    Where the profile asks for LPIPS, its weights are downloaded too; where that fails, the log says why.
    """
    if profile.lpips:
        try:
            registry.fetch(JUDGES["lpips"].file)
        except (OSError, ValueError) as error:  # no network; not the bytes that were promised
            log.warning("without LPIPS: %s", error)
    wanted = dict.fromkeys((*profile.critics, *profile.judges))
    missing = [name for name in wanted if name not in available_raters()]
    if missing:
        log.warning("not available here, so without their scores: %s", ", ".join(missing))
    return {name: load_rater(name, device) for name in wanted if name not in missing}


def is_evaluated(folder: Path, run: str, judges: Mapping[str, Judge]) -> bool:
    """Whether `run` is finished, scored by every one of `judges`, and measured by LPIPS where that can be done."""
    place = folder / "runs" / run
    if not (place / "scores.csv").exists() or not (place / "run.json").exists():
        return False
    first = read_scores(place, rows=1)
    measured = "lpips" in first and (first["lpips"].notna().all() or "lpips" not in available_references())
    return bool(measured) and all(f"score_{name}" in first for name in judges)


def _evaluate_run(
    folder: Path,
    study: Study,
    network: nn.Module,
    scenes: list[Scene],
    judges: Mapping[str, Judge],
    device: str,
    beside: Measuring | None,
) -> None:
    began = time.monotonic()
    place = folder / "runs" / study.name
    outputs = render(network, scenes, device)
    if study.seed == 0:
        save_crops(place, outputs, scenes)
    if beside:
        beside.submit(place / "scores.csv", study.name, outputs, scenes)
        return
    table = measure(study.name, outputs, scenes, judges, device)
    write_csv(place / "scores.csv", table)
    scores = ", ".join(f"{name} {table[f'score_{name}'].mean():.3f}" for name in judges)
    log.info("%s: %.2f dB; %s (%.1f s)", study.name, table["psnr"].mean(), scores, time.monotonic() - began)


def save_pseudo_run(
    folder: Path,
    operator: str,
    name: str,
    outputs: Sequence[Tensor],
    scenes: Sequence[Scene],
    judges: Mapping[str, Judge],
    device: str,
    **columns: Any,
) -> None:
    """Evaluate `outputs` that no study made and keep them as the run `<operator>-<name>`, `columns` in its record."""
    run = f"{operator}-{name}"
    place = folder / "runs" / run
    save_crops(place, outputs, scenes)
    write_csv(place / "scores.csv", measure(run, outputs, scenes, judges, device))
    write_json(place / "run.json", {"run": run, "operator": operator, "network": name, "objective": name} | columns)


def save_crops(place: Path, outputs: Sequence[Tensor], scenes: Sequence[Scene]) -> None:
    """Keep the telling window of some test photos as `place/crops/<photo>.png`, the same window for every run."""
    for index in shown_scenes(scenes):
        top, left = crop_corner(scenes[index])
        window = outputs[index][:, top : top + CROP, left : left + CROP].permute(1, 2, 0).contiguous().numpy()
        with atomic_path(place / "crops" / f"{scenes[index].name}.png") as temporary:
            Image.fromarray(window).save(temporary)


def shown_scenes(scenes: Sequence[Scene]) -> list[int]:
    """Indices of the photos whose crops are kept: spread evenly over the test split, or over its public photos."""
    test = [index for index, scene in enumerate(scenes) if scene.split == "test"]
    test = [index for index in test if scenes[index].public] or test
    return sorted({test[int((place + 0.5) * len(test) / CROPS)] for place in range(CROPS)}) if test else []


def crop_corner(scene: Scene) -> tuple[int, int]:
    """Top and left of the window in which the operator changes the photo most, on a lattice of 16 px."""
    change = (scene.target.float() - scene.photo.float()).square().mean(dim=0)
    window = [min(CROP, side) for side in change.shape]
    means = avg_pool2d(change[None, None], window, stride=16)[0, 0]
    row, column = divmod(int(means.argmax()), means.shape[1])
    return 16 * row, 16 * column


def learn(profile: Profile, operator: str, folder: Path) -> Evidence:
    """Train and evaluate every network and fidelity, and a first look at the critic; the operator's results.

    Raises as `run_studies`.
    """
    studies = [*fidelity_studies(profile, operator), *preview_studies(profile, operator)]
    runs, scores = run_studies(profile, studies, folder)
    ours = runs[runs["operator"] == operator]
    return Evidence(ours, scores[scores["run"].isin(ours["run"])], folder, Criteria.read(folder))


def run_ladder(profile: Profile, folder: Path) -> Evidence:
    """Train and evaluate every network and critic at each weight, for every operator; raises as `run_studies`."""
    studies = [study for operator in profile.operators for study in ladder_studies(profile, operator)]
    return Evidence(*run_studies(profile, studies, folder), folder, Criteria.read(folder))


def run_headline(profile: Profile, folder: Path) -> Evidence:
    """Train and evaluate the weights that validation chooses, at every seed; raises as `run_studies`."""
    studies = [study for operator in profile.operators for study in chosen_studies(profile, operator, folder)]
    return Evidence(*run_studies(profile, studies, folder), folder, Criteria.read(folder))


def chosen_studies(profile: Profile, operator: str, folder: Path) -> tuple[Study, ...]:
    """The headline of those networks and critics of `profile` whose weights the results in `folder` choose."""
    choices = Evidence.read(folder).choices
    of_profile = choices["network"].isin(profile.networks) & choices["critic"].isin(profile.critics)
    chosen = choices[(choices["operator"] == operator) & of_profile]
    weights = chosen[["network", "critic", "gamma"]].itertuples(index=False, name=None)
    return tuple(study for weight in weights for study in headline_studies(profile, operator, *weight))
