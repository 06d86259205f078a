"""The commands `lpie critic ...`: train critics and measure them.

Several processes share one training, on one machine or many:

    torchrun --nproc-per-node 4 -m lpie.cli critic train ava --data AVA --out OUT
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import typer

from lpie.critic_training.settings import Distillation, RatingTraining

app = typer.Typer(no_args_is_help=True, help="Train critics on ratings, harden them against attacks, and measure them.")

KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY
OutOption = Annotated[Path, typer.Option(help="Folder of results; the same command goes on where one was stopped.")]
DeviceOption = Annotated[str | None, typer.Option(help="cpu or cuda; a GPU if there is one when left out.")]


def with_settings(settings: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option for each field of the dataclass `settings`, with the field's default."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def called(**given: Any) -> None:
            chosen = {field.name: given.pop(field.name) for field in fields(settings)}
            command(settings(**chosen), **given)

        hints = get_type_hints(settings, include_extras=True)
        parameters = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        for field in fields(settings):
            kind, *about = get_args(hints[field.name]) or (hints[field.name],)
            option = typer.Option(field.default, help=" ".join(about))
            parameters.append(inspect.Parameter(field.name, KEYWORD_ONLY, default=option, annotation=kind))
        own = [parameter.replace(kind=KEYWORD_ONLY) for parameter in parameters]
        called.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
        called.__name__, called.__doc__ = command.__name__, command.__doc__
        return called

    return decorate


@app.command()
@with_settings(RatingTraining)
def train(
    settings: RatingTraining,
    out: OutOption,
    dataset: Annotated[
        Literal["ava", "oasis"] | None, typer.Argument(help="A dataset of people's ratings, or --ratings.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the photographs, or of the dataset as it comes.")] = None,
    ratings: Annotated[
        Path | None, typer.Option(help="Your own: a CSV file of `lpie rate`. Uses --initial, --seed.")
    ] = None,
    device: DeviceOption = None,
) -> None:
    """Train a NIMA on a dataset of people's ratings, or on your own, and report how well it predicts unseen ones."""
    if (dataset is None) == (ratings is None):
        raise ValueError("Name either a dataset (ava, oasis) or your own --ratings FILE.")
    if ratings:
        from lpie.critic_training.opinions import read_opinions
        from lpie.critic_training.taste import learn_taste

        for learned in learn_taste(read_opinions(ratings, data), out, settings.initial or "compact", settings.seed):
            print(learned)
        print(out / "critic.safetensors")
        return
    if dataset is None or data is None:
        raise ValueError(f"Name the folder of the photographs and ratings of {dataset} with --data.")
    from lpie.critic_training.training import learn_ratings

    learn_ratings(settings, dataset, data, out, _device(device))


@app.command()
@with_settings(Distillation)
def distill(
    settings: Distillation,
    out: OutOption,
    more: Annotated[list[Path], typer.Option(help="A folder of further photographs; may be given again.")] = [],  # noqa: B006
    photos: Annotated[int, typer.Option(help="Use at most this many photographs of each set; 0 for all.")] = 0,
    device: DeviceOption = None,
) -> None:
    """Train a critic that agrees with the AVA network and is hard to fool."""
    from lpie.critic_training.distillation import distill_critic

    distill_critic(settings, out, _device(device), more, photos)


@app.command()
def evaluate(
    critic: Annotated[str, typer.Argument(help="Name of a shipped critic, or a safetensors file.")],
    split: Annotated[
        Literal["train", "validation", "test"], typer.Option(help="Photographs of BSDS500 to measure on.")
    ] = "validation",
    photos: Annotated[int, typer.Option(min=3, help="How many photographs.")] = 100,
    device: DeviceOption = None,
) -> None:
    """Print how closely a critic follows the AVA network, and how easily it is fooled."""
    from lpie.critic_training.measures import evaluate_critic

    measures = evaluate_critic(critic, split, _device(device), photos)
    print("\n".join(f"{name:24s} {value:8.3f}" for name, value in measures.items()))


@app.command()
def tables(
    out: Annotated[Path | None, typer.Option(help="Folder for the CSV files; results/published when left out.")] = None,
    device: DeviceOption = None,
) -> None:
    """Write the tables of agreement with people and of calibration."""
    from lpie.critic_training.tables import PUBLISHED, write_people_tables

    print(write_people_tables(out or PUBLISHED, _device(device)).to_string(index=False, float_format="%.3f"))


@app.command()
def retouching(
    out: Annotated[Path | None, typer.Option(help="Folder for the CSV file; results/published when left out.")] = None,
) -> None:
    """Write the table of what a critic learns from photographs before and after retouching."""
    from lpie.critic_training.retouching import write_retouching_table
    from lpie.critic_training.tables import PUBLISHED

    print(write_retouching_table(out or PUBLISHED).to_string(index=False, float_format="%.3f"))


@app.command()
def niqe_statistics() -> None:
    """Fit NIQE's natural-scene statistics anew, on the training photographs of BSDS500."""
    from lpie.judges.niqe import NaturalScenes
    from lpie.photos.photographs import read_photo
    from lpie.records import write_tensors
    from lpie.registry import files_of
    from lpie.weights import SHIPPED

    files = files_of("bsds500/train")
    scenes = NaturalScenes.fit(read_photo(path) for path in files)
    metadata = {"network": "niqe", "photographs": f"BSDS500 train, {len(files)} photographs"}
    write_tensors(SHIPPED / "niqe.safetensors", {"mean": scenes.mean, "covariance": scenes.covariance}, metadata)
    print(f"niqe.safetensors: natural-scene statistics of {len(files)} photographs")


@app.command()
def reference_scores() -> None:
    """Score the reference photographs with every critic, so that `lpie score` can rank a score among them."""
    import numpy as np

    from lpie.critic.nima import NIMA
    from lpie.judges import available_raters
    from lpie.photos.reference_scores import CRITICS, FOLDERS, PERCENTS, TABLE, fingerprint
    from lpie.photos.scoring import PhotoScore, score_photos
    from lpie.records import write_json
    from lpie.registry import files_of

    files = [file for folder in FOLDERS for file in files_of(folder)]
    rows = {}
    for name in CRITICS:
        if name not in available_raters():
            continue
        critic = NIMA.from_pretrained(name)
        means = [result.mean for result in score_photos(files, critic) if isinstance(result, PhotoScore)]
        percentiles = np.percentile(means, PERCENTS).round(3).tolist()
        rows[name] = {"fingerprint": fingerprint(critic), "percentiles": percentiles}
        print(f"{name}: median {np.median(means):.2f} of {len(means)} photographs")
    write_json(TABLE, {"photographs": len(files), "folders": list(FOLDERS), "critics": rows})


def _device(named: str | None) -> str:
    import torch

    return named or ("cuda" if torch.cuda.is_available() else "cpu")
