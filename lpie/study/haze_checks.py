"""How well haze is undone where the truth is known: tables for the notebook haze_targets.

Each function computes one table, a row per photo and method; those on published photographs need the registry's files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import torch
from scipy.io import loadmat
from torch import Tensor

from lpie.imaging.resampling import reduced
from lpie.judges.full_reference import psnr
from lpie.losses.similarity import ssim
from lpie.operators.airlight import estimate_airlight, haze_presence
from lpie.operators.nonlocal_dehazing import Dehazed, dehaze
from lpie.photos.photographs import demo_depth, demo_photographs, read_photo
from lpie.registry import files_of
from lpie.study.dark_channel import brightest_pixel_airlight, dark_channel_airlight, dark_channel_dehaze
from lpie.study.kept_tables import Rows, if_available, kept, pixels
from lpie.study.settings import Profile
from lpie.study.synthetic_haze import HazyScene, add_haze, depth_proxy
from lpie.vocabulary import Airlight, Photo

STRETCHED = 0.005  # share of the values that a display stretch clips at either end
METHODS: dict[str, Callable[[Photo], Dehazed]] = {"dark channel": dark_channel_dehaze, "non-local": dehaze}
AIRLIGHTS: dict[str, Callable[[Photo], Airlight]] = {
    "brightest pixel": brightest_pixel_airlight,
    "dark channel": dark_channel_airlight,
    "haze-lines": estimate_airlight,
}
EXAMPLES = 5  # real photographs that are shown
HAZE = (0.8, 0.82, 0.85)  # airlight of the synthetic scenes

SWEEPS: dict[str, tuple[float, ...]] = {
    "gamma": (1.0, 1.5, 2.2),
    "smoothness": (0.001, 0.1, 10.0),
    "floor": (0.1, 0.3, 0.5),
    "haze_kept": (0.0, 0.06, 0.3),
}

__all__ = ["if_available", "kept"]


def hazy_examples(profile: Profile) -> dict[str, Photo]:
    """Real hazy photographs, spread evenly over their list, or demo photographs under synthetic haze."""
    paths = if_available(lambda: files_of("haze/real"), profile)
    if isinstance(paths, str):
        names = ("china", "rocket", "motorcycle")
        return {f"{name}, synthetic haze": synthetic_scene(name, 1.0, profile.shortest_side).photo for name in names}
    return {path.stem.split("__")[-1]: read_photo(path) for path in paths[:: len(paths) // EXAMPLES][:EXAMPLES]}


def renditions(photos: dict[str, Photo]) -> Rows:
    """Each hazy photo, what either method makes of it, the display stretch of ours, and its transmission."""
    rows = {}
    for name, photo in photos.items():
        undone = dehaze(photo)
        rows[name] = {
            "input": pixels(photo),
            "dark channel": pixels(dark_channel_dehaze(photo).photo),
            "non-local": pixels(undone.photo),
            "its display stretch": pixels(display_stretch(undone.photo)),
            "its transmission": pixels(undone.transmission),
        }
    return rows


def parameter_renditions(photo: Photo) -> Rows:
    """What each parameter of the operator does to one hazy photo; for `smoothness`, to its transmission."""
    airlight = estimate_airlight(photo)
    rows: Rows = {}
    for name, values in SWEEPS.items():
        results = {f"{name} = {value:g}": dehaze(photo, airlight, **{name: value}) for value in values}
        rows[name] = {
            title: pixels(result.transmission if name == "smoothness" else result.photo)
            for title, result in results.items()
        }
    return rows


def clear_photos_kept(shortest_side: int = 0) -> pd.DataFrame:
    """What the operator does to the demo photographs, which have no haze: how much it sees, how much it changes."""
    rows = []
    for name, photo in demo_photographs(shortest_side).items():
        presence = haze_presence(photo).item()
        change = (dehaze(photo).photo - photo).abs().mean().item()
        rows.append({"photo": name, "haze seen": presence, "mean change": change})
    return pd.DataFrame(rows)


def synthetic_scene(name: str, density: float = 1.0, shortest_side: int = 0) -> HazyScene:
    """A demo photograph under haze that begins at its nearest point, by measured depth where there is one."""
    photo = demo_photographs(shortest_side)[name]
    depth = reduced(demo_depth(), shortest_side) if name == "motorcycle" else depth_proxy(photo)
    depth = (depth - depth.min()) / (depth.max() - depth.min())
    return add_haze(photo, depth, torch.tensor([HAZE]), density)


def synthetic_scores(shortest_side: int = 0) -> pd.DataFrame:
    """Error of the transmission and PSNR on the motorcycle scene, whose depth was measured; airlight given or not.

    The operator works on sRGB values, the haze was added in linear light: gamma 2.2 stands for that difference.
    """
    rows = []
    for density in (0.6, 1.0, 1.6):
        scene = synthetic_scene("motorcycle", density, shortest_side)
        attempts = {
            "dark channel": dark_channel_dehaze(scene.photo),
            "non-local": dehaze(scene.photo),
            "non-local, airlight given": dehaze(scene.photo, scene.airlight),
            "non-local, airlight given, gamma 2.2": dehaze(scene.photo, scene.airlight, gamma=2.2),
        }
        rows.append({"density": density, "method": "input", **_scores(scene.photo, scene.clear)})
        for method, undone in attempts.items():
            error = (undone.transmission - scene.transmission).abs().mean().item()
            rows.append({"density": density, "method": method, **_scores(undone.photo, scene.clear), "t_error": error})
    return pd.DataFrame(rows)


def pair_table() -> pd.DataFrame:
    """Mean PSNR and SSIM to the clear photo of each set of published pairs, for each method and the hazy input."""
    rows = []
    for source, hazy, clear in _pairs():
        results = {"input": hazy} | {method: undo(hazy).photo for method, undo in METHODS.items()}
        rows += [{"set": source, "method": method, **_scores(result, clear)} for method, result in results.items()]
    return pd.DataFrame(rows).groupby(["set", "method"], sort=False, as_index=False)[["psnr", "ssim"]].mean()


def airlight_table() -> pd.DataFrame:
    """Distance and angle between estimated and published airlight, over the scenes that come with their photo.

    Differs: the form of our vote, its square and its cap were chosen with these scenes in view, so that our row is no
    held-out result; the two baselines have nothing to choose.
    """
    rows = []
    for path, truth in _airlight_scenes():
        photo = read_photo(path)
        for method, estimate in AIRLIGHTS.items():
            found = estimate(photo)
            angle = math.degrees(math.acos(torch.cosine_similarity(found, truth).clamp(-1, 1).item()))
            rows.append({"method": method, "distance": (found - truth).norm().item(), "angle": angle})
    table = pd.DataFrame(rows).groupby("method", sort=False)[["distance", "angle"]].agg(["mean", "median"])
    return table.set_axis(table.columns.map(", ".join), axis=1).reset_index()


def _scores(result: Photo, clear: Photo) -> dict[str, float]:
    return {"psnr": psnr(result, clear).item(), "ssim": ssim(result, clear).item()}


def _pairs() -> Iterator[tuple[str, Photo, Photo]]:
    clear_of = {path.stem: path for path in files_of("haze/sots_pairs/gt")}
    for path in files_of("haze/sots_pairs/hazy"):
        hazy, clear = read_photo(path), read_photo(clear_of[path.stem.split("_")[0]])
        yield "SOTS", hazy, _centered(clear, hazy)
    photos = {path.stem: path for path in files_of("haze/ohaze")}
    for name in sorted(name for name in photos if name.endswith("_hazy")):
        yield "O-HAZE", read_photo(photos[name]), read_photo(photos[name.replace("_hazy", "_GT")])


def _centered(clear: Photo, hazy: Photo) -> Photo:
    """The middle of the clear photo: the indoor haze was added to 620x460 of its 640x480 pixels."""
    height, width = hazy.shape[2:]
    top, left = (clear.shape[2] - height) // 2, (clear.shape[3] - width) // 2
    return clear[..., top : top + height, left : left + width]


def _airlight_scenes() -> Iterator[tuple[Path, Tensor]]:
    photos = {path.stem: path for folder in ("haze/real", "haze/known_airlight") for path in files_of(folder)}
    for path in files_of("haze/ground_truth_airlight"):
        name = path.stem.removeprefix("GTairlight_")
        truth = torch.from_numpy(loadmat(path)["GTairlight"]).float()
        for stem in (f"bahat__{name}", f"ridcp_examples__{name}_input", f"{name}_input"):
            if stem in photos:
                yield photos[stem], truth


def display_stretch(photo: Photo) -> Photo:
    """The photo's values stretched over [0, 1], STRETCHED of them lost at either end; one stretch for all channels.

    Berman et al. show their results so. It is no part of the operator: `dehaze` never applies it.
    """
    ordered, _ = photo.flatten(1).sort(dim=1)
    last = ordered.shape[1] - 1
    low, high = ordered[:, round(STRETCHED * last)], ordered[:, round((1 - STRETCHED) * last)]
    low, span = low.reshape(-1, 1, 1, 1), (high - low).clamp_min(1e-6).reshape(-1, 1, 1, 1)
    return ((photo - low) / span).clamp(0, 1)
