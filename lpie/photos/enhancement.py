"""Photographs enhanced by a trained network or by the plain operator: tensors, files, folders, pipes."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from importlib.util import find_spec

import numpy as np
import torch
from tqdm import tqdm

from lpie import names, networks
from lpie.imaging.checks import check_photo
from lpie.imaging.color import luma
from lpie.imaging.resampling import scaled_size
from lpie.judges import JUDGES
from lpie.operators import OPERATORS
from lpie.photos.before_and_after import is_page, save_page, side_by_side
from lpie.photos.decoding import MOST_MEGAPIXELS
from lpie.photos.folders import Skipped, pairs
from lpie.photos.photographs import from_pixels, to_pixels
from lpie.photos.reading import PhotoFile, open_photo
from lpie.photos.signature import NO_CRITIC, critic_of, is_own, sign, study_of
from lpie.photos.tiles import Enhancer, LargePhoto, rendered_tiles
from lpie.photos.writing import WRITTEN, encode_photo, save_photo
from lpie.vocabulary import Photo
from lpie.weights import open_weights

PLAIN = "operator"  # the name, in place of weights, of the operator itself
DEFAULT = "{operator}-parameters-plain"  # the study found no network with a critic that judges like better
TILE = 1024  # px; photos up to this square are rendered in one piece
PREVIEW = 1024  # px, the longer side of a quick rendition
LOOKED_AT = 640  # px, the longer side at which unexplained change is looked for
STRONGEST = 1.5
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # what no further photo would change
log = logging.getLogger(__name__)


def enhance(
    photo: Photo,
    operator: str = "tone",
    weights: str | os.PathLike[str] | None = None,
    device: torch.device | str | None = None,
    tile: int = TILE,
    *,
    strength: float = 1.0,
    noise: float | None = None,
    **settings: float,
) -> Photo:
    """The photo enhanced, in [0, 1], of its shape and on its device; one without color stays so.

    operator: `tone` (local detail and tone) or `dehaze`, a row of `lpie.operators.OPERATORS`.
    weights: a shipped name, a safetensors file (one that learned retouches or an operator of your own too), `operator`
        for the operator itself without a network, or None for the best that is shipped, and for the operator itself
        where `settings` are given.
    device: `cpu` or `cuda`, where to compute; a GPU if there is one.
    tile: px; photos of more than `tile` x `tile` are rendered in tiles, which leave no seam. Haze is estimated on a
        reduced copy where the photo has more than 2.5 megapixels.
    strength: in [0, 1.5]; 0 returns the photo, 1 enhances it in full, more goes beyond, see `tiles.Enhancer`.
    noise: amplitude of luminance in [0, 1] up to which tone mapping leaves detail alone, so that grain and skin do not
        harden; None measures it. 0.01 is what networks were trained with.
    settings: of the operator, such as alpha=0.3, in place of those of its row. `safeguard` (0 to 1) keeps dehazing from
        blackening skies and fog; it is 1 unless the operator itself is asked for, and networks that use the operator's
        estimate of the haze take it too.

    Raises TypeError if `photo` is no tensor, ValueError if it is not of numbers in [0, 1], a name, number or device is
    not known or the weights learned another operator, FileNotFoundError if there are no such weights.
    """
    check_photo(photo, wait=True)
    enhancer, _ = load_enhancer(operator, weights, device, strength, noise, settings)
    return torch.cat([_enhance_one(one[None], enhancer, tile) for one in photo])


def enhance_files(
    sources: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    operator: str = "tone",
    weights: str | os.PathLike[str] | None = None,
    device: torch.device | str | None = None,
    tile: int = TILE,
    *,
    strength: float = 1.0,
    noise: float | None = None,
    settings: Mapping[str, float] | None = None,
    compare: bool = False,
    preview: bool = False,
    dry_run: bool = False,
    max_megapixels: float = MOST_MEGAPIXELS,
    overwrite: bool = False,
) -> int:
    """Enhance photo files and write each with its EXIF, resolution and bit depth; the number of files that failed.

    `sources`: files, folders (searched throughout), or `-` for standard input. `out`: a file for one photo, a folder
    for several, or `-` for standard output in the format of the input. `compare` writes before and after side by side,
    or as a page with a slider where `out` ends in .html; `preview` enhances a reduced copy, `dry_run` only prints what
    would be written. A file that is there is replaced if lpie wrote it, or with `overwrite`. The others are as for
    `enhance`.

    What cannot be read or written is named in the log and the rest is done. Raises ValueError or FileNotFoundError,
    before anything is written, if `out` does not suit the sources or as `enhance`; OSError where the disk is full.
    """
    if is_page(os.fspath(out)) and not compare:
        raise ValueError(f"{out}: a page shows before and after; ask for it with compare (--compare).")
    wanted = list(pairs([os.fspath(source) for source in sources], os.fspath(out)))
    enhancer, told = load_enhancer(operator, weights, device, strength, noise, settings or {})
    failures = 0
    for pair in tqdm(wanted, desc="enhancing", unit="photo", disable=dry_run or len(wanted) == 1 or None):
        try:
            if isinstance(pair, Skipped):
                raise ValueError(str(pair))
            source, target = pair
            exists = target != "-" and os.path.exists(target)
            if dry_run:
                print(f"{names.printable(source)} -> {names.printable(target)}{' (exists)' if exists else ''}")
                continue
            if exists and not (overwrite or is_own(target)):
                raise ValueError(
                    f"{target} exists and lpie did not write it; name another, or ask for overwrite (--overwrite)."
                )
            photo = open_photo(sys.stdin.buffer.read() if source == "-" else source, max_megapixels)
            if photo.left_out:
                log.info("%s: not kept: %s.", names.printable(source), ", ".join(photo.left_out))
            photo = _reduced(photo, PREVIEW) if preview else photo
            enhanced = enhance_file(photo, enhancer, tile)
            if strength > 1 or (told is not None and critic_of(told[1], told[0]) != NO_CRITIC):
                _say_what_is_unexplained(source, photo, enhanced, hazy=enhancer.operator.estimate is not None)
            sign(enhanced.exif, *(told or (operator, None)))
            if is_page(target):
                save_page(photo, enhanced, target, source)
                continue
            enhanced = side_by_side(photo, enhanced) if compare else enhanced
            del photo
            _write(enhanced, target)
            del enhanced  # so that the next photo is not read beside it
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                raise
            log.error("skipped %s", Skipped("" if isinstance(pair, Skipped) else pair[0], names.said(error)))
            failures += 1
    return failures


def _say_what_is_unexplained(name: str, photo: PhotoFile, enhanced: PhotoFile, *, hazy: bool) -> None:
    """Warn where a critic's network, or a strength above 1, changed what no tone, local contrast or haze explains."""
    before, after = (from_pixels(_reduced(one, LOOKED_AT).pixels) for one in (photo, enhanced))
    if find_spec("pycvvdp") is None or min(before.shape[-2:]) < LOOKED_AT // 8:
        return
    from lpie.judges.unexplained import unexplained_change

    share = float(unexplained_change(before, after, hazy=hazy))
    if share > JUDGES["unexplained"].plain:
        text = "%s: %.0f %% of the photo shows a change that no tone curve, local contrast or haze explains; look at it"
        log.warning(text, names.printable(name), 100 * share)


def _write(photo: PhotoFile, target: str) -> None:
    if target != "-":
        save_photo(photo, target)
        return
    stream = io.BytesIO()
    encode_photo(photo, stream, photo.kind if photo.kind in WRITTEN else "PNG")
    sys.stdout.buffer.write(stream.getbuffer())
    sys.stdout.buffer.flush()


def load_enhancer(
    operator: str,
    weights: str | os.PathLike[str] | None,
    device: torch.device | str | None,
    strength: float,
    noise: float | None,
    settings: Mapping[str, float],
) -> tuple[Enhancer, tuple[str, dict[str, str]] | None]:
    """What enhances, and the name and metadata of its network, if it is one; errors as `enhance`."""
    row = names.find(OPERATORS, operator, "operator")
    if not 0 <= strength <= STRONGEST:
        raise ValueError(f"Expected a strength from 0 (as it is) over 1 (in full) to {STRONGEST}, got {strength:g}.")
    if noise is not None and not 0 <= noise <= 1:
        raise ValueError(f"Expected a noise from 0 to 1, in units of luminance, got {noise:g}.")
    careful = {} if weights == PLAIN else row.careful
    for setting in settings:
        owners = [one.name for one in OPERATORS.values() if hasattr(one.settings(), setting)]
        if owners and operator not in owners:
            raise ValueError(f"{setting} belongs to {' and '.join(owners)}, and the operator is {operator}.")
        names.find({field.name: field for field in fields(row.settings())}, setting, "setting")
    chosen = replace(row.settings(), **{**careful, **settings})
    if settings:
        row.apply(torch.full((1, 3, 16, 16), 0.5), chosen)  # raises where a setting is out of bounds
    enhancer = Enhancer(row, None, chosen, _device(device), strength, noise)
    of_estimate = [name for name in settings if name in row.careful]  # which networks may use too
    settings = {name: value for name, value in settings.items() if name not in row.careful}
    if weights == PLAIN or (weights is None and settings):
        return enhancer, None
    if settings:
        given = ", ".join(settings)
        raise ValueError(f"{given}: networks choose their own; give weights or settings of the operator, not both.")
    name = os.fspath(weights) if weights is not None else DEFAULT.format(operator=operator)
    _, metadata = open_weights(name, "network", [PLAIN])
    learned = metadata.get("operator", study_of(metadata, name).get("operator", operator))
    if learned not in OPERATORS:  # a study's own: retouches, or a function of its user
        enhancer = replace(enhancer, operator=replace(row, name=learned, label=learned, ranges={}))
    elif learned != operator:
        raise ValueError(f"{name} learned {learned!r}, but {operator!r} was asked for: give other weights or operator.")
    network = networks.from_pretrained(name).to(enhancer.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if of_estimate and not network.uses_estimate:
        given = ", ".join(of_estimate)
        raise ValueError(f"{given}: {name} does not use the estimate of the haze that it acts on; leave it out.")
    return replace(enhancer, network=network.eval()), (name, metadata)


def _device(named: torch.device | str | None) -> torch.device:
    there = torch.cuda.is_available()
    try:
        device = torch.device(named or ("cuda" if there else "cpu"))
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda") or (device.type == "cuda" and not there):
        here = "cpu or cuda" if there else "cpu; there is no CUDA GPU here"
        raise ValueError(f"Unknown device {str(named)!r}: give {here}.")
    return device


@torch.inference_mode()
def _enhance_one(photo: Photo, enhancer: Enhancer, tile: int) -> Photo:
    photo, home = photo.clamp(0, 1).float(), photo.device
    if enhancer.strength == 0:
        return photo
    enhanced, gray = torch.empty_like(photo), bool((photo == photo[:, :1]).all())

    def read(top: int, bottom: int, left: int, right: int) -> Photo:
        return photo[..., top:bottom, left:right].to(enhancer.device)

    for (top, bottom, left, right), part in rendered_tiles(enhancer, LargePhoto(read, *photo.shape[-2:]), tile):
        enhanced[..., top:bottom, left:right] = (luma(part) if gray else part).to(home)
    return enhanced


@torch.inference_mode()
def enhance_file(photo: PhotoFile, enhancer: Enhancer, tile: int = TILE) -> PhotoFile:
    """A photo as files hold it, enhanced at its own depth; only tiles of it are ever floating point.

    One without color stays so: networks that learned from color photographs tint it.
    """
    if enhancer.strength == 0:
        return photo
    pixels, gray = np.empty_like(photo.pixels), all((row == row[:, :1]).all() for row in photo.pixels)
    for (top, bottom, left, right), part in rendered_tiles(enhancer, windows_of(photo, enhancer.device), tile):
        pixels[top:bottom, left:right] = to_pixels(luma(part).expand_as(part) if gray else part, photo.bits)
    return replace(photo, pixels=pixels)


def windows_of(photo: PhotoFile, device: torch.device | str = "cpu") -> LargePhoto:
    """A photo as files hold it, whose windows become tensors on `device` when they are read."""

    def read(top: int, bottom: int, left: int, right: int) -> Photo:
        return from_pixels(photo.pixels[top:bottom, left:right]).to(device)

    return LargePhoto(read, len(photo.pixels), photo.pixels.shape[1], photo.name)


def _reduced(photo: PhotoFile, longest: int) -> PhotoFile:
    height, width = photo.pixels.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return photo
    small = windows_of(photo).reduced(*scaled_size(height, width, scale))
    return replace(photo, pixels=to_pixels(small.clamp(0, 1), photo.bits))
