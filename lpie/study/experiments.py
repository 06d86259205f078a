"""Trains and evaluates the rows of a table, each once, whatever interrupts it; several processes may share the work.

A run's folder holds all that is known of it, so that nothing else needs to know how the work was divided.

    lpie study train study --stage fidelity -p operators=tone -p networks=grid --output FOLDER
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image
from torch import Tensor
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


@dataclass(frozen=True)
class Results:
    """A folder of results, the judges that score every run there, and the device that they and networks run on."""

    folder: Path
    judges: Mapping[str, Judge]
    device: str

    @classmethod
    def of(cls, profile: Profile, folder: Path | str, device: str | None = None) -> Results:
        """Those of a profile, with its judges as `load_judges` finds them, on a GPU where there is one."""
        device = device or default_device()
        return cls(Path(folder), load_judges(profile, device), device)

    def have(self, run: str) -> bool:
        """Whether `run` is finished, scored by every judge, and measured by LPIPS where that can be done."""
        place = self.folder / "runs" / run
        if not (place / "scores.csv").exists() or not (place / "run.json").exists():
            return False
        first = read_scores(place, rows=1)
        measured = "lpips" in first and (first["lpips"].notna().all() or "lpips" not in available_references())
        return bool(measured) and all(f"score_{name}" in first for name in self.judges)

    def add_trained(self, studies: Sequence[Study], scenes: Sequence[Scene], beside: Measuring | None = None) -> None:
        """Train `studies` together and evaluate each, `beside` where given; raises as `train`."""
        runs = self.folder / "runs"
        try:
            train(studies, scenes, runs, self.device)
        finally:
            for study in (study for study in studies if is_trained(study, runs)):
                self._evaluate(study, reported(scenes), beside)

    def _evaluate(self, study: Study, scenes: list[Scene], beside: Measuring | None) -> None:
        began = time.monotonic()
        place = self.folder / "runs" / study.name
        outputs = render(load_network(study, self.folder / "runs"), scenes, self.device)
        if study.seed == 0:
            save_crops(place, outputs, scenes)
        if beside:
            beside.submit(place / "scores.csv", study.name, outputs, scenes)
            return
        table = measure(study.name, outputs, scenes, self.judges, self.device)
        write_csv(place / "scores.csv", table)
        scores = ", ".join(f"{name} {table[f'score_{name}'].mean():.3f}" for name in self.judges)
        log.info("%s: %.2f dB; %s (%.1f s)", study.name, table["psnr"].mean(), scores, time.monotonic() - began)

    def add_reference(self, profile: Profile, operator: str, name: str, scenes: Sequence[Scene]) -> None:
        """Evaluate the operator's `input` or `target`, whichever `name` says, as a pseudo-run."""
        outputs = [scene.photo if name == "input" else scene.target for scene in reported(scenes)]
        self.add(operator, name, outputs, reported(scenes), targets=target_settings(profile, operator))

    def add(self, operator: str, name: str, outputs: Sequence[Tensor], scenes: Sequence[Scene], **columns: Any) -> None:
        """Evaluate `outputs` that no study made as the run `<operator>-<name>`, with `columns` in its record."""
        run = f"{operator}-{name}"
        place = self.folder / "runs" / run
        save_crops(place, outputs, scenes)
        write_csv(place / "scores.csv", measure(run, outputs, scenes, self.judges, self.device))
        write_json(place / "run.json", {"run": run, "operator": operator, "network": name, "objective": name} | columns)


def reported(scenes: Sequence[Scene]) -> list[Scene]:
    """The scenes on which runs are evaluated: all that do not train."""
    return [scene for scene in scenes if scene.split != "train"]


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
    results = Results.of(profile, folder, device)
    with sharing(results.folder):
        if diverged := _run_missing(profile, studies, results, together):
            raise FloatingPointError(" ".join(diverged))
        return collect_results(results.folder)


def _run_missing(profile: Profile, studies: Sequence[Study], results: Results, together: int) -> list[str]:
    """What `run_studies` has to do; returns what is to be said of networks that diverged."""
    diverged: list[str] = []
    for operator in dict.fromkeys(study.operator for study in studies):
        asked = [study for study in studies if study.operator == operator]
        _one_target(profile, operator, asked, results.folder)
        pending = [study for study in asked if not results.have(study.name)]
        references = [name for name in ("input", "target") if not results.have(f"{operator}-{name}")]
        log.info("%s: %d of %d runs to do", operator, len(pending), len(asked))
        if not pending and not references:
            continue
        scenes = load_scenes(profile, operator, results.folder / "targets")
        for name in references:
            results.add_reference(profile, operator, name, scenes)
        at_once, processes = (together, spare_processes()) if results.device.startswith("cuda") else (1, 0)
        with measuring(tuple(results.judges), processes) if processes > 0 else nullcontext() as beside:
            for start in range(0, len(pending), at_once):
                try:
                    results.add_trained(pending[start : start + at_once], scenes, beside)
                except FloatingPointError as error:
                    diverged.append(str(error))
    return diverged


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
