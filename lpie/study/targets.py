"""What a network is shown and what it should make of it: scenes, their splits and the operator's targets.

A scene is computed once, kept on disk with eight bits a channel, and read back from there ever after, so that
every network and every evaluation sees the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from lpie.imaging.pixels import quantize, to_uint8
from lpie.imaging.resampling import reduced, resize
from lpie.operators import local_laplacian, nonlocal_dehazing, synthetic_haze
from lpie.photos import photographs
from lpie.records import read_tensors, write_tensors
from lpie.registry import fetch, files_of
from lpie.study.dependencies import modules_in, reachable, source_digests
from lpie.study.settings import OperatorName, Profile, Study, training_sides
from lpie.study.splits import DEMO_SPLITS, Split, real_haze_split, split_by_rank

log = logging.getLogger(__name__)

CHOOSING = 60  # photographs of BSDS500's test set that choose; the others are kept for confirmations
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
    truth: Tensor | None = None  # the photo without haze, where it is known


@dataclass(frozen=True)
class Source:
    """A photograph before anything is done to it; `read` returns (1, 3, H, W) in [0, 1]."""

    name: str
    split: Split
    read: Callable[[], Tensor]
    size: tuple[int, int]  # its sides in px, in either order
    clear: bool = True  # False: the photo is hazy as it is
    read_depth: Callable[[], Tensor] | None = None  # (1, 1, H, W) in [0, 1]; None: a proxy serves
    read_truth: Callable[[], Tensor] | None = None
    side: int = 0  # px: what trains is reduced and cut to a frame of this shorter side; 0 keeps the whole photo


def load_scenes(profile: Profile, operator: OperatorName, folder: Path) -> list[Scene]:
    """Every scene of `profile` for `operator`, from the cache in `folder` or computed and kept there.

    Always computed on the CPU, so that scenes do not depend on the device that trains; many at once, one a core.
    Raises FileNotFoundError, through the registry, when the profile's photographs are not to be had.
    """
    settings = Study(operator=operator, tone=profile.tone, haze=profile.haze)
    key = json.dumps([target_settings(profile, operator), _operator_source()], sort_keys=True)
    folder = Path(folder) / f"{operator}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
    sources = list(_known_sources(profile, operator))
    missing = [index for index, source in enumerate(sources) if not _path(folder, source).exists()]
    if len(missing) < MANY:
        for index in missing:
            _keep_scene(sources[index], profile, settings, folder)
    else:
        log.info("%s: %d scenes to make", operator, len(missing))
        make = partial(_keep_nth, profile, operator, settings, folder)
        with ProcessPoolExecutor(None, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
            list(pool.map(make, missing, chunksize=4))
    return [_read_scene(source, folder) for source in sources]


def target_settings(profile: Profile, operator: OperatorName) -> dict[str, Any]:
    """All that the targets of an operator depend on besides photographs and code; JSON types."""
    chosen = profile.tone if operator == "tone" else profile.haze
    return json.loads(json.dumps({**asdict(chosen), "shortest_side": profile.shortest_side}))


@lru_cache
def _operator_source() -> dict[str, str]:
    """Digests of the operators' modules, of what they import, and of every kernel that may stand in for them."""
    return source_digests(reachable(modules_in("operators", "imaging")) | set(modules_in("fast")))


def _keep_nth(profile: Profile, operator: OperatorName, settings: Study, folder: Path, index: int) -> None:
    """In a process of its own, to which a source, holding functions, does not travel."""
    _keep_scene(_known_sources(profile, operator)[index], profile, settings, folder)


@lru_cache
def _known_sources(profile: Profile, operator: OperatorName) -> tuple[Source, ...]:
    """Every source; those that train once for each side at which the profile trains, of which they are large enough."""
    sides, sources = training_sides(profile), list(_sources(profile, operator))
    kept = [source for source in sources if source.split != "train"]
    for source, side in product((source for source in sources if source.split == "train"), sides):
        if min(source.size) >= side and max(source.size) >= frame_length(side):
            kept.append(replace(source, name=f"{source.name}@{side}", side=side))
    return tuple(kept)


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


def _at_its_size(
    photo: Float[Tensor, "n c h w"], source: Source, profile: Profile
) -> Float[Tensor, "n c height width"]:
    return framed(photo, source.side) if source.side else reduced(photo, profile.shortest_side)


def _path(folder: Path, source: Source) -> Path:
    return folder / f"{source.name}.safetensors"


def _keep_scene(source: Source, profile: Profile, settings: Study, folder: Path) -> None:
    scene = _make_scene(source, profile, settings)
    parts = {key: value for key, value in vars(scene).items() if isinstance(value, Tensor)}
    write_tensors(_path(folder, source), parts, {"name": scene.name})


def _read_scene(source: Source, folder: Path) -> Scene:
    tensors, _ = read_tensors(_path(folder, source))
    return Scene(name=source.name, split=source.split, **tensors)


def _make_scene(source: Source, profile: Profile, settings: Study) -> Scene:
    photo = _at_its_size(source.read(), source, profile)
    scene = Scene(source.name, source.split, photo=photo, target=photo)
    if settings.operator == "tone":
        tone = settings.tone
        target = local_laplacian.local_laplacian(photo, alpha=tone.alpha, beta=tone.beta, sigma_r=tone.sigma_r)
        return replace(scene, photo=_stored(photo), target=_stored(target))
    truth = None
    if source.clear:
        truth, photo = photo, _hazy(source, photo, profile, settings)
    elif source.read_truth:
        truth = _at_its_size(source.read_truth(), source, profile)
    photo = quantize(photo)  # the operator sees what a file would hold
    clear = nonlocal_dehazing.dehaze(photo)
    return replace(
        scene,
        photo=_stored(photo),
        target=_stored(clear.photo),
        airlight=clear.airlight[0].float(),
        transmission=(clear.transmission[0] * 255).round().to(torch.uint8),
        truth=None if truth is None else _stored(truth),
    )


def _hazy(source: Source, photo: Tensor, profile: Profile, settings: Study) -> Tensor:
    """The photo under haze whose density and color are drawn from the scene's name."""
    random = np.random.default_rng(list(source.name.partition("@")[0].encode()))  # the same haze at every side
    density = float(random.uniform(*settings.haze.densities))
    color = random.uniform(*settings.haze.airlights) + random.uniform(-0.03, 0.03, size=3)
    if source.read_depth is None:
        depth = synthetic_haze.depth_proxy(photo)
    else:
        depth = _at_its_size(source.read_depth(), source, profile)
    light = torch.as_tensor(color, dtype=photo.dtype).clamp(0, 1)[None]
    return synthetic_haze.add_haze(photo, depth, light, density).photo


def _stored(photo: Tensor) -> Tensor:
    return to_uint8(photo)[0]


# Sources ---------------------------------------------------------------------------------------------------------


def _sources(profile: Profile, operator: OperatorName) -> Iterator[Source]:
    if profile.photographs == "demo":
        return _demo_sources()
    if profile.photographs == "fivek":
        return _fivek_sources()
    if profile.photographs == "fresh":
        return _fresh_sources()
    return _study_tone_sources() if operator == "tone" else _study_haze_sources()


def _demo_sources() -> Iterator[Source]:
    """Photographs that come inside scikit-image and scikit-learn."""
    for name, photo in photographs.demo_photographs().items():
        depth = photographs.demo_depth if name == "motorcycle" else None
        size = (photo.shape[-2], photo.shape[-1])
        yield Source(name, DEMO_SPLITS[name], lambda photo=photo: photo, size, read_depth=depth)  # type: ignore[misc]


def _study_tone_sources() -> Iterator[Source]:
    yield from _clear_training_sources()
    yield from _from_files("bsds-test", "validation", files_of("bsds500/test")[:CHOOSING])
    yield from _from_files("unsplash", "validation", _finished_photographs("validation"))
    yield from _from_files("kodak", "test", files_of("kodak24"))
    yield from _from_files("fivek", "test", files_of("fivek/1080p"))
    yield from _from_files("fivek-llf", "test", files_of("fivek/local_laplacian/input"))
    yield from _from_files("fivek-c", "test", files_of("fivek/expert_c_pairs/input"))


def _study_haze_sources() -> Iterator[Source]:
    """Synthetic haze and a third of the real hazy photographs train; the others choose and report."""
    yield from _clear_training_sources()
    for path in files_of("haze/real"):
        yield from _from_files("real", real_haze_split(path.stem), [path], clear=False)
    photos = [path for path in files_of("haze/known_airlight") if path.suffix == ".png"]
    yield from _from_files("known", "test", photos, clear=False)
    for hazy in files_of("haze/sots_pairs/hazy"):
        truth = fetch(f"haze/sots_pairs/gt/{hazy.stem.split('_')[0]}.png")
        read_truth = _cropped_reader(truth, 460, 620)
        yield Source(f"sots-{hazy.stem}", "test", _reader(hazy), _size_of(hazy), False, read_truth=read_truth)
    for hazy in (path for path in files_of("haze/ohaze") if path.stem.endswith("_hazy")):
        truth = fetch(f"haze/ohaze/{hazy.name.replace('_hazy', '_GT')}")
        yield Source(f"ohaze-{hazy.stem}", "test", _reader(hazy), _size_of(hazy), False, read_truth=_reader(truth))


def _fresh_sources() -> Iterator[Source]:
    """What only a confirmation reads: no network trained on them, nobody chose by them."""
    yield from _from_files("bsds-test", "test", files_of("bsds500/test")[CHOOSING:])
    yield from _from_files("unsplash", "test", _finished_photographs("test"))


def _finished_photographs(split: Split) -> list[Path]:
    """Photographs as their photographers finished them: 300 train, 50 choose, 150 confirm."""
    splits = split_by_rank([path.stem for path in files_of("unsplash800")], {"train": 300, "validation": 50})
    return [path for path in files_of("unsplash800") if splits[path.stem] == split]


def _clear_training_sources() -> Iterator[Source]:
    yield from _from_files("bsds-train", "train", files_of("bsds500/train"))
    yield from _from_files("bsds-val", "train", files_of("bsds500/val"))
    yield from _from_files("sunhays", "train", files_of("sunhays40"))
    yield from _from_files("unsplash", "train", _finished_photographs("train"))
    ratings = pd.read_csv(fetch("oasis_beauty/ratings.csv"))
    scenery = set(ratings.loc[ratings["category"] == "Scenery", "file"])
    yield from _from_files("oasis", "train", [path for path in files_of("oasis_beauty/images") if path.name in scenery])


def _fivek_sources() -> Iterator[Source]:
    """A folder of MIT-Adobe FiveK renditions, named by LPIE_FIVEK: 2,500 to train, the others to report."""
    root = os.environ.get("LPIE_FIVEK", "")
    kinds = {".jpg", ".jpeg", ".png", ".tif", ".tiff"}
    paths = sorted(path for path in Path(root).rglob("*") if path.suffix.lower() in kinds) if root else []
    if len(paths) < 100:
        raise FileNotFoundError(
            f"Profile fivek needs a folder of MIT-Adobe FiveK photographs (JPEG, PNG or TIFF); LPIE_FIVEK={root!r} "
            f"holds {len(paths)}. Set LPIE_FIVEK to that folder."
        )
    half = len(paths) // 2
    yield from _from_files("fivek", "validation", paths[: half // 25])
    yield from _from_files("fivek", "train", paths[half // 25 : half])
    yield from _from_files("fivek", "test", paths[half:])


def _from_files(prefix: str, split: Split, paths: Iterable[Path], clear: bool = True) -> Iterator[Source]:
    for path in paths:
        yield Source(f"{prefix}-{path.stem}", split, _reader(path), _size_of(path), clear)


def _size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:  # reads the header only
        return picture.size


def _reader(path: Path) -> Callable[[], Tensor]:
    return lambda: photographs.read_photo(path)


def _cropped_reader(path: Path, height: int, width: int) -> Callable[[], Tensor]:
    """The middle of a photo: hazy SOTS photographs lack ten pixels at every border of their truth."""

    def read() -> Tensor:
        photo = photographs.read_photo(path)
        top, left = (photo.shape[-2] - height) // 2, (photo.shape[-1] - width) // 2
        return photo[..., top : top + height, left : left + width]

    return read
