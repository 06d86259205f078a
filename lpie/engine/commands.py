"""The commands `lpie study ...` and `lpie confirm`: write, check and run a study, and train parts of it."""

from __future__ import annotations

import ast
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lpie.names import ProblemsError, find

app = typer.Typer(no_args_is_help=True, help="Write, check and run a study, or train parts of it.")

StudyArgument = Annotated[str, typer.Argument(help="A study file, or smoke, demo, study, pairs or fivek.")]
OutputOption = Annotated[Path | None, typer.Option(help="Results folder; results/<name> when left out.")]
ParameterOption = Annotated[
    list[str] | None, typer.Option("--parameter", "-p", help="name=value instead of the study's, such as seeds=[0, 1].")
]
DeviceOption = Annotated[str | None, typer.Option(help="cpu or cuda; a GPU if there is one when left out.")]

Stage = Literal["fidelity", "ladder", "headline", "rivals"]
"""Parts of a study."""


@app.command()
def run(
    study: StudyArgument = "demo",
    output: OutputOption = None,
    parameter: ParameterOption = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Notebooks at a time; two on two cores or more.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Run what is unchanged too.")] = False,
    scheduler: Annotated[
        str | None, typer.Option(help="Train on a Dask cluster first: its address, local, local:4 or slurm:64.")
    ] = None,
) -> None:
    """Run the study's notebooks, each only if something it rests on changed."""
    from lpie.engine import run_all as runner

    given = dict(map(_parameter, parameter or ()))
    try:
        runner.run_all(study, output, given, workers=workers, force=force, scheduler=scheduler)
    except runner.StudyError as error:
        print(error, file=sys.stderr)  # its last line is the failed notebook's path
        raise typer.Exit(1) from error


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"Expected name=value for a parameter, got {text!r}.")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


@app.command()
def check(study: StudyArgument) -> None:
    """Say what would be trained, on what and about how long on this machine, and what is wrong with a study file."""
    from lpie.study.study_check import check_study
    from lpie.study.study_file import find_profile

    lines, problems = check_study(find_profile(study))
    print("\n".join(lines))
    if problems:
        raise ProblemsError(problems)


@app.command()
def init(
    folder: Annotated[
        Path, typer.Argument(help="A folder of photographs, or with a folder each of inputs, retouches.")
    ],
    retouches: Annotated[
        Path | None, typer.Argument(help="The folder of retouches, where the first one holds what they were made of.")
    ] = None,
) -> None:
    """Write a commented study.toml for a folder of photographs, or for photographs and retouches of them."""
    from lpie.study.study_init import init_study

    path = init_study(folder, retouches)
    typed = shlex.quote(str(path))
    print(f"{path}: edit it, then `lpie study check {typed}` and `lpie study run {typed}`")


@app.command()
def train(
    study: StudyArgument = "demo",
    name: Annotated[str, typer.Option(help="Only this network; the digest of its name may be left out.")] = "",
    stage: Annotated[Stage | None, typer.Option(help="Only this part of the study.")] = None,
    parameter: ParameterOption = None,
    output: OutputOption = None,
    device: DeviceOption = None,
    together: Annotated[int, typer.Option(min=1, help="Networks that train at once on a GPU.")] = 8,
    list_studies: Annotated[bool, typer.Option("--list", help="Print the names of the networks.")] = False,
) -> None:
    """Train and evaluate networks of a study; same seed and device, same bytes. Judges cannot be set by a parameter."""
    from lpie.records import results_folder
    from lpie.study import settings
    from lpie.study.study_file import SWEPT, asked_profile, find_profile

    given = dict(map(_parameter, parameter or ()))
    for key in given:
        find(dict.fromkeys(SWEPT), key, "parameter of training")
    profile, (asked, _) = find_profile(study), asked_profile({"profile": study, **given})
    folder = output or results_folder(profile.name)
    if stage == "rivals":
        from lpie.study.rivals import rival_names, run_rivals

        for operator in asked.operators:
            if list_studies:
                print("\n".join(rival_names(operator, asked.critics, device)))
            else:
                run_rivals(profile, operator, folder, asked.critics, device)
        return
    kind: Callable[[settings.Profile, str], tuple[settings.Study, ...]] = {
        "fidelity": settings.fidelity_studies,
        "ladder": settings.ladder_studies,
        "headline": settings.headline_at,
        None: settings.every_study,
    }[stage]
    if stage == "headline" and "gammas" not in given:
        from lpie.study.experiments import chosen_studies

        kind = partial(chosen_studies, folder=folder)
    studies = [found for operator in asked.operators for found in kind(asked, operator)]
    if "fidelities" in given:
        studies = [found for found in studies if found.fidelity in asked.fidelities]
    if list_studies:
        print("\n".join(found.name for found in studies))
        return
    if name:
        named = {found.name.rpartition("-")[0]: found for found in studies}
        studies = [found for found in studies if found.name == name] or [find(named, name, "network of this study")]
    if not studies:
        raise ValueError("No network of the study is left by these parameters.")
    from lpie.engine.notebook_parameters import write_study
    from lpie.evidence.results import is_gathered
    from lpie.study.experiments import run_studies

    if not is_gathered(folder):
        write_study(folder, profile)  # its criteria choose the weights of the headline
    run_studies(profile, studies, folder, device, together)
    print("\n".join(str(folder / "runs" / found.name) for found in studies))


def confirm(
    folder: Annotated[Path, typer.Argument(help="A results folder with finished networks.")],
    network: Annotated[str, typer.Option(help="Their family, such as grid.")],
    objective: Annotated[list[str], typer.Option(help="Such as l2 or l2+0.003compact; several times for several.")],
    operator: Annotated[str, typer.Option(help="The operator they imitate.")] = "tone",
    study: Annotated[str, typer.Option(help="Whose photographs of the split confirmation.")] = "study",
    device: DeviceOption = None,
) -> None:
    """Judge finished networks on photographs that neither trained, chose nor reported; print the criteria they meet."""
    from lpie.study import confirmation
    from lpie.study.study_file import find_profile

    table = confirmation.confirm(folder, network, objective, device, operator=operator, profile=find_profile(study))
    columns = ["objective", "criterion", "value", "low", "high", "bound", "n", "passed"]
    print(table[columns].to_string(index=False, float_format="%.3f"))
