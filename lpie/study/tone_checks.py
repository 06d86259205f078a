"""Is the local Laplacian filter what its papers define? Pictures and tables for the notebook tone_targets.

Those on published renditions need the registry's files, see `if_available`.
"""

from __future__ import annotations

import math
import re
from functools import cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lpie.imaging.color import luma, quantize
from lpie.imaging.pyramids import full_depth
from lpie.imaging.remapping import NOISE, remap_gain
from lpie.imaging.resampling import resize
from lpie.judges.full_reference import psnr
from lpie.operators.local_laplacian import SAMPLES, filtered_luminance, local_laplacian
from lpie.operators.local_laplacian_plain import exact
from lpie.photos.photographs import demo_photographs, read_photo
from lpie.registry import fetch, files_of
from lpie.study.kept_tables import Rows, if_available, kept, pixels
from lpie.study.tone_mapping import tone_map
from lpie.vocabulary import Photo

SWEEPS: dict[str, tuple[float, ...]] = {
    "alpha": (0.25, 0.5, 1.0, 2.0),
    "beta": (0.0, 0.5, 1.0, 1.5),
    "sigma_r": (0.05, 0.1, 0.2, 0.4),
}
DEFINED = ((0.25, 1.0, 0.2), (0.5, 0.7, 0.2), (1.0, 0.5, 0.2), (2.0, 1.0, 0.2))  # alpha, beta, sigma_r
CENTERS = (8, 16, 32, 64, 128, 256, 512)
CROPS = {"astronaut": (80, 180), "chelsea": (90, 120), "coffee": (150, 250), "rocket": (200, 280)}  # top, left
CROP = 64  # px
DEPTHS = (3, 4, 5, 6, 7, 8)  # levels among which the cross-check chooses
FIT_STEPS = 20
MODE_HEIGHT = 256  # px, of the pictures of modes


examples = demo_photographs

__all__ = ["SAMPLES", "Setting", "examples", "if_available", "kept"]


class Setting(NamedTuple):
    """One setting of the filter."""

    alpha: float
    beta: float
    sigma_r: float


def setting_renditions(photo: Photo, setting: Setting) -> Rows:
    """One row for each parameter swept, the other two as in `setting`, but for alpha and beta alone 1."""
    kept = {"alpha": {"beta": 1.0}, "beta": {"alpha": 1.0}, "sigma_r": {}}
    rows: Rows = {}
    for name, values in SWEEPS.items():
        settings = [{**setting._asdict(), **kept[name], name: value} for value in values]
        results = zip(values, (local_laplacian(photo, **one) for one in settings), strict=True)
        rows[name] = {f"{name} = {value:g}": pixels(result) for value, result in results}
    return rows


def mode_renditions(photo: Photo, setting: Setting) -> Rows:
    """The same setting on luma, on log luminance (sigma_r as the log ratio that it is about middle gray), on colors."""
    photo = resize(photo, *(side * MODE_HEIGHT // photo.shape[2] for side in photo.shape[2:]))
    ratio = math.log((0.5 + setting.sigma_r / 2) / (0.5 - setting.sigma_r / 2)) * 2.2
    renditions = {
        "photo": photo,
        "luminance": local_laplacian(photo, **setting._asdict()),
        "log": local_laplacian(photo, **setting._replace(sigma_r=ratio)._asdict(), mode="log"),
        "rgb": local_laplacian(photo, **setting._asdict(), mode="rgb"),
    }
    return {"": {name: pixels(rendition) for name, rendition in renditions.items()}}


def remap_curves(setting: Setting) -> pd.DataFrame:
    """How a value is remapped about a center of 0.5, for each sweep: columns parameter, value, before, after."""
    before = torch.linspace(0, 1, 501, dtype=torch.float64)
    curves = []
    for name, values in SWEEPS.items():
        for value in values:
            difference = before - 0.5
            after = 0.5 + remap_gain(difference.abs(), **setting._replace(**{name: value})._asdict()) * difference
            curves.append(pd.DataFrame({"parameter": name, "value": value, "before": before, "after": after}))
    return pd.concat(curves, ignore_index=True)


def step_profiles(setting: Setting) -> pd.DataFrame:
    """A noisy step edge before and after: columns what, place, value. A halo would bend the flat sides at the edge."""
    texture = 0.02 * torch.sin(torch.arange(128) * 1.1)
    row = torch.where(torch.arange(128) < 64, 0.3, 0.7) + texture
    step = row.expand(1, 1, 64, 128).contiguous()
    renditions = {
        "photo": step,
        "detail enhanced": filtered_luminance(step, alpha=setting.alpha, beta=1.0, sigma_r=0.1),
        "tone compressed": filtered_luminance(step, alpha=1.0, beta=setting.beta, sigma_r=0.1),
    }
    profiles = [
        pd.DataFrame({"what": what, "place": range(128), "value": rendition[0, 0, 32].numpy()})
        for what, rendition in renditions.items()
    ]
    return pd.concat(profiles, ignore_index=True)


def errors_by_samples(crops: int = len(CROPS)) -> pd.DataFrame:
    """Distance of the sampled filter from the definition, on luma of so many 64 px crops, for each setting and K."""
    rows = []
    for (name, (top, left)), setting in product(list(CROPS.items())[:crops], map(Setting._make, DEFINED)):
        crop = luma(demo_photographs()[name])[..., top : top + CROP, left : left + CROP]
        settings = (crop.double().new_full((1, 1, 1, 1), value) for value in (*setting, NOISE))
        defined = exact(crop.double(), tuple(settings), full_depth(CROP, CROP))  # type: ignore[arg-type]
        for samples in CENTERS:
            error = (filtered_luminance(crop, **setting._asdict(), samples=samples) - defined).abs()
            rows.append((name, *setting, samples, error.max().item(), error.mean().item()))
    return pd.DataFrame(rows, columns=["photo", *Setting._fields, "samples", "max", "mean"])


def published_outputs() -> pd.DataFrame:
    """PSNR to the outputs of another implementation, with the settings in their names; raises as `registry.fetch`.

    Its sigma is read as a base-10 log ratio; how deep its pyramid was is not said, so that the depth is chosen on the
    128 px outputs and the table is of the 256 px ones, a row for each setting.
    """
    paths = [path for path in files_of("llf/output") if path.suffix == ".png"]
    small = [path for path in paths if "128" in path.name]
    depth = max(DEPTHS, key=lambda levels: np.mean([_output_row(path, levels)["log"] for path in small]))
    table = pd.DataFrame([_output_row(path, depth) for path in paths if "256" in path.name])
    return table.assign(levels=depth)


def _output_row(path: Path, levels: int) -> dict[str, float]:
    named = re.fullmatch(r"memorial_cropped_(\d+)_reconstructed_a_(.+)_b_(.+)_s_(.+)", path.stem)
    if named is None:
        raise ValueError(f"{path}: expected alpha, beta and sigma in the name, as in ..._a_1.0_b_0.5_s_0.4.png.")
    size, alpha, beta, sigma = named[1], *map(float, named.groups()[1:])
    photo, published = read_photo(fetch(f"llf/input/memorial_cropped_{size}.png")), read_photo(path)
    setting = Setting(alpha, beta, sigma)
    natural = setting._replace(sigma_r=sigma * math.log(10))
    logarithmic = local_laplacian(photo, **natural._asdict(), mode="log", levels=levels)
    return {
        **setting._asdict(),
        "input": psnr(photo, published).item(),
        "luminance": psnr(quantize(local_laplacian(photo, **setting._asdict(), levels=levels)), published).item(),
        "log": psnr(quantize(logarithmic), published).item(),
        "log, contrast fitted": psnr(_contrast_fitted(logarithmic, published), published).item(),
    }


def rendition_table() -> pd.DataFrame:
    """PSNR to a published rendition of FiveK scenes, of one setting fitted to every second scene, and of the input.

    Column `fitted` tells the scenes of the fit from the others. Raises as `registry.fetch`.
    """
    setting, rows = fitted_setting(), []
    for index, (name, photo, published) in enumerate(published_renditions()):
        ours = quantize(local_laplacian(photo, **setting._asdict()))
        closeness = {"input": psnr(photo, published).item(), "ours": psnr(ours, published).item()}
        rows.append({"scene": name, "fitted": index % 2 == 0, **closeness, **setting._asdict()})
    return pd.DataFrame(rows).sort_values("fitted", kind="stable", ignore_index=True)


def published_renditions() -> list[tuple[str, Photo, Photo]]:
    """Name, input and published rendition of each FiveK scene that has one."""
    folder = "fivek/local_laplacian"
    return [
        (path.stem, read_photo(path), read_photo(fetch(f"{folder}/fast_local_laplacian/{path.name}")))
        for path in files_of(f"{folder}/input")
    ]


@cache
def fitted_setting() -> Setting:
    """The setting nearest in luma to the published renditions of every second scene; raises as `registry.fetch`."""
    return fitted([(luma(photo), luma(published)) for _, photo, published in published_renditions()[::2]])


def fitted(pairs: list[tuple[Tensor, Tensor]]) -> Setting:
    """The setting whose luma comes closest, by L-BFGS on the logarithms of the three parameters."""
    logs = torch.tensor(Setting(0.5, 1.0, 0.3)).log().requires_grad_()
    optimizer = torch.optim.LBFGS([logs], max_iter=FIT_STEPS, line_search_fn="strong_wolfe")

    def error() -> Tensor:
        optimizer.zero_grad()
        alpha, beta, sigma_r = logs.exp()
        filtered = [filtered_luminance(before, alpha=alpha, beta=beta, sigma_r=sigma_r) for before, _ in pairs]
        apart = [(ours.clamp(0, 1) - other).square().mean() for ours, (_, other) in zip(filtered, pairs, strict=True)]
        total = 1e3 * torch.stack(apart).mean()
        total.backward()
        return total.detach()

    optimizer.step(error)
    return Setting(*logs.detach().exp().tolist())


def read_radiance(path: Path) -> Float[Tensor, "1 3 h w"]:
    """The scene light in a Radiance file (.hdr), float32 >= 0, linear RGB up to scale.

    Raises FileNotFoundError if there is no such file, ValueError, naming it, if it is not a whole one, top row first.
    """
    try:
        light = imagecodecs.rgbe_decode(path.read_bytes())
    except (ValueError, RuntimeError, MemoryError) as error:
        raise ValueError(f"{path}: expected a whole Radiance file, top row first ({error}).") from error
    return torch.from_numpy(light).permute(2, 0, 1)[None].contiguous()


def radiance_renditions() -> Rows:
    """A scene of high dynamic range, tone compressed more and more; raises as `registry.fetch`."""
    scene = read_radiance(fetch("llf/input/designCenter.hdr"))
    return {"": {f"beta = {beta:g}": pixels(tone_map(scene, beta=beta)) for beta in (1.0, 0.5, 0.0)}}


def _contrast_fitted(photo: Photo, target: Photo) -> Photo:
    """`photo` under the affine change that brings it closest to `target`."""
    x, y = photo.double() - photo.double().mean(), target.double() - target.double().mean()
    gain = (x * y).mean() / x.square().mean()
    return (gain * x + target.double().mean()).clamp(0, 1).to(photo)
