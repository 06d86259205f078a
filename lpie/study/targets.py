"""What a network is shown and what it should make of it: scenes with the operator's targets.

A scene is computed once, kept on disk with eight bits a channel, and read back from there ever after, so that
every network and every evaluation sees the same bytes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from joblib.externals.loky import ProcessPoolExecutor  # a caller's script needs no guard against being run again
from PIL import Image
from torch import Tensor

from lpie.imaging.color import quantize, to_uint8
from lpie.imaging.resampling import reduced, resize
from lpie.operators import OPERATORS, Operator
from lpie.photos.photographs import demo_depth, demo_photographs, read_photo
from lpie.records import read_tensors, write_tensors
from lpie.study import synthetic_haze
from lpie.study.dependencies import modules_in, reachable, source_digests
from lpie.study.pairs import LARGEST_SHIFT, aligned
from lpie.study.settings import STUDIED, HazeSettings, Profile, Split, digest_of
from lpie.study.sources import Source, find_sources, refuse_overlaps
from lpie.vocabulary import Photo

log = logging.getLogger(__name__)

MANY = 32  # scenes to make from which on a process a core pays off


@dataclass(frozen=True)
class Scene:
    """A photo, the operator's rendition of it, and what is known about its haze; uint8 (C, H, W) tensors."""

    name: str
    split: Split
    photo: Tensor
    target: Tensor
    airlight: Tensor | None = None  # (3,) float32, estimated by the operator
    transmission: Tensor | None = None  # (1, H, W), estimated by the operator, 255 stands for 1
    truth: Tensor | None = None  # the photo without haze, or as a person finished it, where that is known
    public: bool = False  # anyone may pass it on


@dataclass(frozen=True)
class Making:
    """One scene to be made: everything that its bytes depend on."""

    source: Source
    operator: Operator
    settings: Any
    haze: HazeSettings
    shortest_side: int
    side: int = 0  # px: what trains is reduced and cut to a frame of this shorter side; 0 keeps the whole photo

    @property
    def name(self) -> str:
        """The scene's: its photograph's, and the side at which it trains."""
        return f"{self.source.name}@{self.side}" if self.side else self.source.name


def load_scenes(profile: Profile, operator: str, folder: Path, splits: Sequence[Split] = STUDIED) -> list[Scene]:
    """Every scene of `profile` for `operator`, from the cache in `folder` or computed and kept there.

    Those that train come once for each side at which the profile trains, of which they are large enough. Always
    computed on the CPU, so that scenes do not depend on the device that trains; many at once, one a core. Raises what
    `find_sources`, `refuse_overlaps` and reading raise, and ValueError where an operator fails, or pairs do not fit.
    """
    key = [target_settings(profile, operator), operator_source()]
    folder = Path(folder) / f"{operator.replace(':', '.')}-{digest_of(key)}"
    sources = find_sources(profile, operator, splits)
    makings = all_makings(profile, operator, sources)
    missing = [making for making in makings if not _path(folder, making).exists()]
    if missing:
        refuse_overlaps(sources)
    if len(missing) < MANY:
        for making in missing:
            _keep_scene(making, folder)
    else:
        log.info("%s: %d scenes to make", operator, len(missing))
        with ProcessPoolExecutor(initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(_keep_scene, missing, [folder] * len(missing), chunksize=4))
    return [_read_scene(making, folder) for making in makings]


def target_settings(profile: Profile, operator: str) -> dict[str, Any]:
    """All that the targets of an operator depend on besides photographs and code; JSON types."""
    chosen = {"settings": asdict(profile.settings_of(operator)), "shortest_side": profile.shortest_side}
    haze = {"haze": asdict(profile.haze)} if OPERATORS[operator].estimate else {}
    return json.loads(json.dumps(chosen | haze))


@cache
def operator_source() -> dict[str, str]:
    """Digests of the operators' modules, of what they import, and of every kernel that may stand in for them."""
    return source_digests(reachable(modules_in("operators", "imaging")) | set(modules_in("fast")))


def all_makings(profile: Profile, operator: str, sources: Sequence[Source]) -> list[Making]:
    """What is to be made of `sources`; raises ValueError for a side at which no photograph is large enough to train."""
    row, settings = OPERATORS[operator], profile.settings_of(operator)
    whole = [Making(source, row, settings, profile.haze, profile.shortest_side) for source in sources]
    train = [making for making in whole if making.source.split == "train"]
    large = {making.source.name: _size_of(making.source) for making in train}
    framed_ones = [
        replace(making, side=side)
        for making, side in product(train, profile.training_sides)
        if min(large[making.source.name]) >= side and max(large[making.source.name]) >= frame_length(side)
    ]
    found = {making.side for making in framed_ones}
    for side in profile.training_sides if train else ():
        if side not in found:
            best = max(min(*size, max(size) / 1.5) for size in large.values())
            raise ValueError(
                f"No training photograph of {operator} covers {frame_length(side)}x{side} px, as its side of "
                f"{side} asks: choose `sides` of at most {best:.0f}."
            )
    return [making for making in whole if making.source.split != "train"] + framed_ones


def _size_of(source: Source) -> tuple[float, float]:
    """Its sides in px, in either order; of a pair, what alignment leaves at least."""
    if source.path is None:
        height, width = _demo()[source.name].shape[-2:]
        return float(height), float(width)
    try:
        with Image.open(source.path) as picture:  # reads the header only
            width, height = picture.size
    except Exception:  # Pillow does not know every kind, or refuses its size
        height, width = read_photo(source.path).shape[-2:]
    kept = 1 - LARGEST_SHIFT if source.other else 1.0
    return height * kept, width * kept


def frame_length(side: int) -> int:
    """The longer side, in px, of the frame to which training photographs are cut: 3:2, as most cameras take them."""
    return 3 * side // 2


def framed(photo: Float[Tensor, "n c h w"], side: int) -> Float[Tensor, "n c side length"]:
    """The photo reduced until it just covers a frame of 3:2 (2:3 if upright) with that shorter side, the middle kept.

    All of a photo of these proportions, eight ninths of one of 4:3. Raises ValueError for a photo that is too small.
    """
    sides = (side, frame_length(side))
    size = sides if photo.shape[-1] >= photo.shape[-2] else sides[::-1]
    scale = max(wanted / has for wanted, has in zip(size, photo.shape[-2:], strict=True))
    if scale > 1:
        raise ValueError(f"Expected a photo that covers {size[0]}x{size[1]} px, got {tuple(photo.shape[-2:])}.")
    height, width = (max(wanted, round(has * scale)) for wanted, has in zip(size, photo.shape[-2:], strict=True))
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return resize(photo, height, width)[..., top : top + size[0], left : left + size[1]]


def _path(folder: Path, making: Making) -> Path:
    """A user's own files may change under their names: those count with time and size."""
    files = () if making.source.registered else (making.source.path, making.source.other)
    states = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file]
    return folder / f"{making.name}{f'-{digest_of(states)}' if states else ''}.safetensors"


def _keep_scene(making: Making, folder: Path) -> None:
    scene = _make_scene(making)
    parts = {key: value for key, value in vars(scene).items() if isinstance(value, Tensor)}
    write_tensors(_path(folder, making), parts, {"name": scene.name})


def _read_scene(making: Making, folder: Path) -> Scene:
    tensors, _ = read_tensors(_path(folder, making))
    return Scene(name=making.name, split=making.source.split, public=making.source.public, **tensors)


def _make_scene(making: Making) -> Scene:
    source, operator = making.source, making.operator
    photo, other = _read(making)
    if operator.estimate:
        if not source.hazy:
            other, photo = photo, _hazy(photo, making)
        photo = quantize(photo)  # the operator sees what a file would hold
    scene = Scene(making.name, source.split, photo=to_uint8(photo)[0], target=to_uint8(photo)[0])
    if operator.name == "pairs":
        finished = _stored(other, making)
        return replace(scene, target=finished, truth=finished.clone())
    try:
        if operator.estimate is None:
            target = _stored(operator.apply(photo, making.settings), making)
            return replace(scene, target=target, truth=None if other is None else _stored(other, making))
        clear = operator.estimate(photo, making.settings)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f"Operator {operator.name} fails on photograph {making.name} ({what}).") from error
    return replace(
        scene,
        target=_stored(clear.photo, making),
        airlight=clear.airlight[0].float(),
        transmission=(clear.transmission[0] * 255).round().to(torch.uint8),
        truth=None if other is None else _stored(other, making),
    )


def _stored(rendition: Any, making: Making) -> Tensor:
    if not isinstance(rendition, Tensor) or rendition.ndim != 4 or not torch.isfinite(rendition).all():
        raise ValueError(f"Expected a finite photo (1, 3, H, W), got {type(rendition).__name__}")
    return to_uint8(rendition.float().clamp(0, 1))[0]


def _read(making: Making) -> tuple[Photo, Photo | None]:
    """The photograph, and what it is paired with, at the size of the scene."""
    source = making.source
    photo = _demo()[source.name] if source.path is None else read_photo(source.path)
    if source.other is None:
        return _at_its_size(photo, making), None
    other = read_photo(source.other)
    scale = 2 * max(making.side, making.shortest_side) / min(photo.shape[-2:])  # alignment need not see every pixel
    if 0 < scale < 1:
        photo, other = (resize(part, *(round(side * scale) for side in part.shape[-2:])) for part in (photo, other))
    photo, other = aligned(photo, other, source.name)
    return _at_its_size(photo, making), _at_its_size(other, making)


def _at_its_size(photo: Float[Tensor, "n c h w"], making: Making) -> Float[Tensor, "n c height width"]:
    return framed(photo, making.side) if making.side else reduced(photo, making.shortest_side)


@cache
def _demo() -> dict[str, Photo]:
    return demo_photographs()


def _hazy(photo: Photo, making: Making) -> Photo:
    """The photo under haze whose density and color are drawn from the photograph's name: the same at every side."""
    random = np.random.default_rng(list(making.source.name.encode()))
    density = float(random.uniform(*making.haze.densities))
    color = random.uniform(*making.haze.airlights) + random.uniform(-0.03, 0.03, size=3)
    if making.source.path is None and making.source.name == "motorcycle":
        depth = _at_its_size(demo_depth(), making)
    else:
        depth = synthetic_haze.depth_proxy(photo)
    light = torch.as_tensor(color, dtype=photo.dtype).clamp(0, 1)[None]
    return synthetic_haze.add_haze(photo, depth, light, density).photo
