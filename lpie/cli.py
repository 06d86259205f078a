"""The command `lpie`: run the study, train and score and enhance, look after data, see whether all is in order."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

import lpie
from lpie.critic_training import commands as critic_commands
from lpie.engine import commands as study_commands
from lpie.names import ProblemsError, printable, said
from lpie.operators import OPERATORS

USAGE = 2  # exit status where what was asked cannot be done; 1 where it was tried and failed


class Commands(TyperGroup):
    """Ends with one clear line where the package raises an error that says what to do; --debug shows where."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (ValueError, TypeError, OSError, RuntimeError, FloatingPointError) as error:
            if isinstance(error, typer.Exit | typer.Abort | BrokenPipeError) or ctx.params.get("debug"):
                raise
            for line in error.lines if isinstance(error, ProblemsError) else [said(error)]:
                print(f"lpie: {printable(line)}", file=sys.stderr)
            asked = isinstance(error, ValueError | TypeError | FileNotFoundError | NotADirectoryError)
            raise typer.Exit(USAGE if asked else 1) from error
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(critic_commands.app, name="critic")
app.add_typer(study_commands.app, name="study")
app.command("confirm")(study_commands.confirm)


def _setting(operator: str, name: str, meaning: str) -> str:
    return f"{name} of {operator}, {meaning}: {getattr(OPERATORS[operator].settings(), name)} by default."


MegapixelsOption = Annotated[float, typer.Option(min=0, help="Photos with more are refused.")]
DeviceOption = Annotated[str | None, typer.Option(help="cpu or cuda; a GPU if there is one when left out.")]


def _say_version(asked: bool) -> bool:
    if asked:
        print(f"lpie {lpie.__version__}")
        raise typer.Exit
    return asked


@app.callback()
def main(
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error arose.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """Learned perceptual image enhancement: a reproducible study and its tools."""
    del debug, version  # read by Commands and by _say_version
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error is: no name of a file stops a command
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)


@app.command()
def enhance(
    photos: Annotated[list[str], typer.Argument(help="Photos, folders, or - for standard input.")],
    output: Annotated[str, typer.Option("--output", "-o", help="A file, a folder, or - for standard output.")],
    operator: Annotated[str, typer.Option(help=f"One of {', '.join(OPERATORS)}.")] = "tone",
    weights: Annotated[
        str | None, typer.Option(help="A shipped network, a safetensors file, or `operator` for the plain operator.")
    ] = None,
    strength: Annotated[float, typer.Option(help="0 leaves the photo as it is, 1 enhances it in full, up to 1.5.")] = 1,
    noise: Annotated[
        float | None, typer.Option(help="Luminance from 0 to 1 up to which detail is left alone; measured if left out.")
    ] = None,
    alpha: Annotated[float | None, typer.Option(help=_setting("tone", "alpha", "below 1 enhances detail"))] = None,
    beta: Annotated[float | None, typer.Option(help=_setting("tone", "beta", "below 1 compresses tone"))] = None,
    sigma_r: Annotated[
        float | None, typer.Option(help=_setting("tone", "sigma_r", "luminance that separates detail from edges"))
    ] = None,
    haze_kept: Annotated[float | None, typer.Option(help=_setting("dehaze", "haze_kept", "share of haze left"))] = None,
    safeguard: Annotated[
        float | None,
        typer.Option(help="How far dehazing spares skies and fog, 0 to 1; 0 with --weights operator, else 1."),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Write before and after side by side, or a slider where -o is .html.")
    ] = False,
    preview: Annotated[bool, typer.Option("--preview", help="Enhance a reduced copy of at most 1024 px.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only name what would be written.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that lpie did not write.")] = False,
    max_megapixels: MegapixelsOption = 250.0,
    device: DeviceOption = None,
) -> None:
    """Enhance photos. Kept: EXIF, color profile, resolution, bit depth. Not kept: XMP, IPTC, text, further pictures."""
    from lpie.photos.enhancement import enhance_files

    settings = {"alpha": alpha, "beta": beta, "sigma_r": sigma_r, "haze_kept": haze_kept, "safeguard": safeguard}
    failures = enhance_files(
        photos,
        output,
        operator=operator,
        weights=weights,
        device=device,
        strength=strength,
        noise=noise,
        settings={name: value for name, value in settings.items() if value is not None},
        compare=compare,
        preview=preview,
        dry_run=dry_run,
        max_megapixels=max_megapixels,
        overwrite=overwrite,
    )
    if failures:
        raise typer.Exit(1)


@app.command()
def score(
    photos: Annotated[list[Path], typer.Argument(help="Photos, folders, or - for standard input.")],
    critic: Annotated[str, typer.Option(help="compact, robust, ava, technical, or a safetensors file.")] = "compact",
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    max_megapixels: MegapixelsOption = 250.0,
) -> None:
    """Score photos: mean, standard deviation, distribution, and where the mean lies among reference photographs."""
    from lpie.photos import scoring

    raise typer.Exit(scoring.score(photos, critic, json, max_megapixels))


@app.command()
def rate(
    folder: Annotated[Path, typer.Argument(help="Your photographs.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The page; rate.html when left out.")] = None,
    choices: Annotated[
        bool, typer.Option("--choices", help="Choose the better of two instead of rating each.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the order.")] = 0,
) -> None:
    """Make a page on which you rate your photographs by keys, for `lpie critic train --ratings`."""
    from lpie.people.rating import write_rating_page

    page, kind = output or Path("rate.html"), "choices" if choices else "ratings"
    count = write_rating_page(folder, page, choices, seed)
    print(f"{page} asks for {count} {kind}: open it in a browser, download {kind}.csv at its end, then run")
    print(f"lpie critic train --ratings {kind}.csv --data {folder} --out my-critic")


@app.command()
def vote(
    folder: Annotated[Path | None, typer.Argument(help="A folder for each rendition, with the same photos.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page.")] = Path("vote.html"),
    read: Annotated[list[Path] | None, typer.Option("--read", help="Files that voters saved.")] = None,
    baseline: Annotated[str | None, typer.Option(help="The rendition that the others are compared with.")] = None,
    study: Annotated[
        Path | None,
        typer.Option(help="The results folder that takes in what is read; renditions are called as its runs are."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of order and sides.")] = 0,
) -> None:
    """Make a page for blind votes between renditions, or read the files that voters saved."""
    from lpie.people import votes

    if read:
        said = votes.read_votes(read)
        print(votes.preferences(said, baseline).round(3).to_string(index=False))
        print(f"two voters agree in {votes.agreement(said):.2f} of the pairs that both saw; 0.50 is chance")
        print(votes.by_photograph(said).round(2).to_string(index=False))
        if study:
            votes.write_votes(said, study, baseline)
            print(f"{study} has the judge people now: write its report again")
        return
    if folder is None:
        raise ValueError("Name the folder of renditions, or the files that voters saved: --read votes.csv.")
    count = votes.write_voting_page(folder, output, seed)
    print(f"{output} asks for {count} votes: send it to people, collect their files, then `lpie vote --read FILE...`.")


@app.command()
def sheet(
    networks: Annotated[list[str], typer.Argument(help="Shipped names or safetensors files; the last one is judged.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page.")] = Path("sheet.html"),
    operator: Annotated[str, typer.Option(help=f"One of {', '.join(OPERATORS)}.")] = "tone",
    pictures: Annotated[
        Path | None, typer.Option(help="The folder `contact` of a study: its report shows what may be published.")
    ] = None,
) -> None:
    """Make a contact sheet of thirty photographs: input, operator, networks, where they changed; the worst first."""
    from lpie.study.sheet import write_sheet

    print(write_sheet(output, networks, operator=operator, pictures=pictures).round(3).to_string())
    print(f"{output}: look at it before you believe a number")


@app.command()
def data(
    action: Annotated[
        Literal["list", "fetch"], typer.Argument(help="List every set of files, or fetch some.")
    ] = "list",
    folders: Annotated[list[str] | None, typer.Argument(help="Sets to fetch, such as kodak24.")] = None,
) -> None:
    """List the photographs, weights and references that the project does not carry, or fetch and check them."""
    from lpie.registry import files_of

    if action == "list":
        print(_listing())
        return
    if not folders:
        raise ValueError("Name the sets to fetch, such as kodak24: `lpie data` lists them.")
    for folder in folders:
        print(f"{folder}: {len(files_of(folder))} files, every byte checked")


def _listing() -> str:
    """Every set: how much of it is here, what it is, its terms."""
    from lpie.registry import cache_folder, data_root, find, sources

    lines = []
    for folder in dict.fromkeys(source.folder for source in sources()):
        parts = [source for source in sources() if source.folder == folder]
        files = [file for source in parts for file in source.files]
        here, served = sum(find(file.name) is not None for file in files), sum(bool(file.address) for file in files)
        only = "" if served == len(files) else f"; {len(files) - served} only through LPIE_DATA"
        size = sum(source.bytes for source in parts) / 1e6
        lines.append(f"{folder:32} {here:4} of {len(files):4} files, {size:5.1f} MB{only}")
        lines += [f"{'':32} {source.about}. Terms: {source.license}" for source in parts]
    return "\n".join([*lines, "", f"LPIE_DATA: {data_root() or 'not set'}", f"downloads: {cache_folder()}"])


@app.command()
def doctor() -> None:
    """See whether everything is in order: versions, cores, graphics card, data, weights, disk, permissions."""
    from lpie.engine.doctor import findings

    found = list(findings())
    for finding in found:
        print(f"{'ok ' if finding.good else 'BAD'}  {finding.what:16} {finding.text}")
    if not all(finding.good for finding in found):
        raise typer.Exit(1)


if __name__ == "__main__":  # torchrun starts modules
    app()
