"""Photographs enhanced by a trained network or by the plain operator: tensors, files, folders, pipes."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from lpie import networks
from lpie.imaging.color import luma
from lpie.imaging.pixels import check_photo
from lpie.photos.photographs import from_pixels, to_pixels
from lpie.photos.reading import PhotoFile, open_photo
from lpie.photos.tiles import LargePhoto, rendered_tiles
from lpie.photos.writing import KINDS, encode_photo, kind_of, save_photo
from lpie.study.settings import OPERATORS
from lpie.vocabulary import Photo
from lpie.weights import open_weights, shipped_names

PLAIN = "operator"  # the name, in place of weights, of the operator itself
DEFAULT = "{operator}-parameters-plain"  # the study found no network with a critic that judges like better
TILE = 1024  # px; photos up to this square are rendered in one piece
OTHER_SUFFIXES = (".avif", ".bmp", ".gif", ".jp2", ".heic", ".ppm")  # read in folders, written as PNG
log = logging.getLogger(__name__)


def enhance(
    photo: Photo,
    operator: str = "tone",
    weights: str | os.PathLike[str] | None = None,
    device: torch.device | str | None = None,
    tile: int = TILE,
) -> Photo:
    """The photo enhanced, in [0, 1], of its shape and on its device; one without color stays so.

    `operator`: `tone` (local detail and tone) or `dehaze`. `weights`: a shipped name, a safetensors file, `operator`
    for the operator itself without a network, or None for the best that is shipped. `device`: where to compute; a
    GPU if there is one. Photos of more than `tile` x `tile` px are rendered in tiles, which leave no seam; haze is
    estimated on a reduced copy where the photo has more than 2.5 megapixels.

    Raises ValueError if `photo` is not of numbers in [0, 1] or the weights learned another operator,
    FileNotFoundError if there are no such weights.
    """
    check_photo(photo)
    network, device = load_enhancer(operator, weights, device)
    return torch.cat([_enhance_one(one[None], network, operator, device, tile) for one in photo])


def enhance_files(
    sources: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    operator: str = "tone",
    weights: str | os.PathLike[str] | None = None,
    device: torch.device | str | None = None,
    tile: int = TILE,
) -> int:
    """Enhance photo files and write each with its EXIF, resolution and bit depth; the number of files that failed.

    `sources`: files, folders (searched throughout), or `-` for standard input. `out`: a file for one photo, a folder
    for several, or `-` for standard output in the format of the input. Files that cannot be read are named in the
    log and skipped. Raises ValueError or FileNotFoundError, before anything is written, if `out` does not suit the
    sources or the weights are not to be had; OSError, with old files untouched, where nothing can be written.
    """
    pairs = list(_pairs([os.fspath(source) for source in sources], os.fspath(out)))
    network, device = load_enhancer(operator, weights, device)
    failures = 0
    for source, target in tqdm(pairs, desc="enhancing", unit="photo", disable=len(pairs) == 1 or None):
        try:
            photo = open_photo(sys.stdin.buffer.read() if source == "-" else source)
            enhanced = enhance_file(photo, network, operator, device, tile)
        except (ValueError, OSError) as error:
            log.error("Skipped %s", _named(source, error))
            failures += 1
            continue
        del photo
        try:
            _write(enhanced, target)
        except ValueError as error:  # this photo does not fit the format; a full disk fits none, and ends it all
            log.error("Skipped %s", _named(source, error))
            failures += 1
        del enhanced  # so that the next photo is not read beside it
    return failures


def _named(source: str, error: Exception) -> str:
    return str(error) if source in str(error) else f"{source}: {error}"


def _write(photo: PhotoFile, target: str) -> None:
    if target != "-":
        save_photo(photo, target)
        return
    stream = io.BytesIO()
    encode_photo(photo, stream, photo.kind if photo.kind in KINDS.values() else "PNG")
    sys.stdout.buffer.write(stream.getbuffer())
    sys.stdout.buffer.flush()


def load_enhancer(
    operator: str, weights: str | os.PathLike[str] | None, device: torch.device | str | None
) -> tuple[nn.Module | None, torch.device]:
    """The network (None for the plain operator) on the device where it will run; errors as `enhance`."""
    if operator not in OPERATORS:
        raise ValueError(f"Unknown operator {operator!r}: choose one of {', '.join(OPERATORS)}.")
    try:
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ValueError(f"Unknown device {device!r}: give cpu or cuda.") from error
    if weights == PLAIN:
        return None, where
    name = os.fspath(weights) if weights is not None else default_weights(operator)
    _, metadata = open_weights(name)
    learned = metadata.get("operator") or json.loads(metadata.get("study", "{}")).get("operator", operator)
    if learned != operator:
        raise ValueError(f"{name} learned {learned!r}, but {operator!r} was asked for: give other weights or operator.")
    network = networks.from_pretrained(name).to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval(), where


def default_weights(operator: str) -> str:
    """The network for `operator` that is used where none is named; raises FileNotFoundError if it is not shipped."""
    name, shipped = DEFAULT.format(operator=operator), shipped_names()
    if name in shipped:
        return name
    raise FileNotFoundError(
        f"No network for {operator!r} is shipped (there are {shipped}): give weights, or {PLAIN!r} for the operator."
    )


@torch.inference_mode()
def _enhance_one(photo: Photo, network: nn.Module | None, operator: str, device: torch.device, tile: int) -> Photo:
    photo, home = photo.clamp(0, 1).float(), photo.device
    enhanced, gray = torch.empty_like(photo), bool((photo == photo[:, :1]).all())

    def read(top: int, bottom: int, left: int, right: int) -> Photo:
        return photo[..., top:bottom, left:right].to(device)

    height, width = photo.shape[-2:]
    for (top, bottom, left, right), part in rendered_tiles(network, operator, LargePhoto(read, height, width), tile):
        enhanced[..., top:bottom, left:right] = (luma(part) if gray else part).to(home)
    return enhanced


@torch.inference_mode()
def enhance_file(
    photo: PhotoFile, network: nn.Module | None, operator: str, device: torch.device, tile: int = TILE
) -> PhotoFile:
    """A photo as files hold it, enhanced at its own depth; only tiles of it are ever floating point.

    One without color stays so: networks that learned from color photographs tint it.
    """

    def read(top: int, bottom: int, left: int, right: int) -> Photo:
        return from_pixels(photo.pixels[top:bottom, left:right]).to(device)

    pixels, gray = np.empty_like(photo.pixels), all((row == row[:, :1]).all() for row in photo.pixels)
    height, width = pixels.shape[:2]
    for (top, bottom, left, right), part in rendered_tiles(network, operator, LargePhoto(read, height, width), tile):
        pixels[top:bottom, left:right] = to_pixels(luma(part).expand_as(part) if gray else part, photo.bits)
    return replace(photo, pixels=pixels)


def _pairs(sources: Sequence[str], out: str) -> Iterator[tuple[str, str]]:
    """Each photo and where it goes; raises ValueError or FileNotFoundError where that is not clear."""
    if out == "-" or "-" in sources:
        if len(sources) != 1 or Path(sources[0]).is_dir():
            raise ValueError("Standard input and output carry one photo: give one source, not a folder.")
        if out != "-":
            kind_of(out)
        yield sources[0], out
        return
    if not out:
        raise ValueError("The name of the result is empty: name a file or a folder.")
    found = [(path, name) for source in sources for path, name in _photos_in(Path(source), Path(out))]
    if len(sources) == 1 and not Path(sources[0]).is_dir() and not Path(out).is_dir() and not out.endswith(os.sep):
        kind_of(out)
        targets = [Path(out)]
    elif not Path(out).is_dir() and (Path(out).exists() or Path(out).suffix.lower() in KINDS):
        raise ValueError(f"{out}: expected a folder for the results, got a file; name a folder.")
    else:
        names = [name if name.suffix.lower() in KINDS else name.with_suffix(".png") for _, name in found]
        targets = [Path(out) / name for name in names]
    taken: dict[Path, Path] = {}
    for (path, _), target in zip(found, targets, strict=True):
        if target.resolve() == path.resolve():
            raise ValueError(f"{path}: would be overwritten; name another file or folder for the result.")
        if target in taken:
            raise ValueError(f"{path} and {taken[target]} would both become {target}; enhance them one by one.")
        taken[target] = path
        yield os.fspath(path), os.fspath(target)


def _photos_in(source: Path, out: Path) -> list[tuple[Path, Path]]:
    """Photo files, and the names relative to the folder that their results take; a file stands for itself."""
    if not source.is_dir():
        return [(source, Path(source.name))]
    known, results = (*KINDS, *OTHER_SUFFIXES), out.resolve()
    paths = [
        path
        for path in sorted(source.rglob("*"))
        if path.suffix.lower() in known and path.is_file() and not path.name.startswith(".")
        if results == source.resolve() or results not in path.resolve().parents
    ]
    if not paths:
        raise FileNotFoundError(f"{source}: there are no photos in this folder (names ending in {', '.join(known)}).")
    return [(path, path.relative_to(source)) for path in paths]
