"""How an enhanced photo compares with its target, and what critics and judges say of it: one row per photo.

Everything is measured on what a file would hold: eight bits a channel. A critic is the NIMA that trains networks; a
judge took no part in training or choosing. Where a critic's gain comes from shows in the survival columns (its score
after JPEG, a change of size, a shift or a blur), in the fine-detail energy and in the spectrum of the change.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lpie.critic import CRITICS
from lpie.imaging.color import from_uint8, luma, to_uint8
from lpie.judges import available_references, human_references, load_nearness
from lpie.judges.full_reference import ciede2000, cvvdp, psnr
from lpie.judges.robustness import SURVIVAL, octave_energy
from lpie.judges.robustness import Score as Judge
from lpie.judges.unexplained import unexplained_change
from lpie.losses.lpips import lpips
from lpie.losses.similarity import SMALLEST_SIDE, ms_ssim, ssim
from lpie.operators.nonlocal_dehazing import Dehazed
from lpie.study.targets import Scene
from lpie.vocabulary import Luminance, PerPhoto, Photo

OCTAVES = 6
"""Rings of the spectrum of a change, finest first: from 1/4 cycle per pixel up, 1/8 to 1/4 and so on."""

PIXELS_AT_ONCE = 4_000_000  # bounds the memory of one pass over photos of equal size


@torch.inference_mode()
def render(network: nn.Module, scenes: Sequence[Scene], device: torch.device | str) -> list[Tensor]:
    """What `network` makes of each scene's photo, uint8 (3, H, W) on the CPU.

    Photos pass one by one: a network may normalize by the statistics of what it is shown.
    """
    training = network.training
    network = network.to(device).eval()
    outputs = []
    for scene in scenes:
        photo = from_uint8(scene.photo[None]).to(device)
        if getattr(network, "uses_estimate", False):
            enhanced = network(photo, _estimate(scene, photo))
        else:
            enhanced = network(photo)
        if not torch.isfinite(enhanced).all():
            raise ValueError(f"The network's output for {scene.name!r} has values that are not finite: train it again.")
        outputs.append(to_uint8(enhanced.float().clamp(0, 1))[0].cpu())
    network.train(training)
    return outputs


@torch.inference_mode()
def measure(
    run: str,
    outputs: Sequence[Tensor],
    scenes: Sequence[Scene],
    judges: Mapping[str, Judge],
    device: torch.device | str,
) -> pd.DataFrame:
    """One row per scene for `outputs`, uint8 (3, H, W) each, the size of its scene.

    Columns
        run, photo, split: which output this is.
        psnr: dB to the target, over all pixels and channels; infinite where equal. psnr_truth: to the photo without
        haze or as a person finished it, where a scene has one.
        near_<judge>: how near it is to that photo, by every judge with the role *human reference*; higher is nearer.
        ssim, ms_ssim: to the target; ms_ssim is not a number where a side is below 161 px.
        lpips: to the target, lower is closer; not a number where its weights are missing.
        cvvdp: to the target, in JOD: 10 where equal, one less is plainly seen. unexplained: the share of the area with
        a change to the scene's photo that tone, local contrast and haze do not explain. Not numbers where cvvdp, the
        package, is missing.
        color_shift: CIEDE2000 to the target, averaged over pixels.
        detail_energy: see `detail_energy`, divided by the target's.
        change_1 .. change_6: see `change_spectrum`, of output minus target, finest octave first.
        score_<judge>: the judge's score of the output, higher is better.
        survives_<critic>_<transformation>: the critic's score after the transformation.

    Raises ValueError when an output and its scene differ in size.
    """
    for output, scene in zip(outputs, scenes, strict=True):
        if output.shape != scene.target.shape or output.dtype != torch.uint8:
            raise ValueError(
                f"Output for {scene.name!r} must be uint8 of shape {tuple(scene.target.shape)}, the target's; "
                f"got {output.dtype} of shape {tuple(output.shape)}."
            )
    rows: dict[int, dict[str, float]] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # NumPy lets other threads run inside its loops
        for members in _equal_sizes(scenes):
            batch = [outputs[i] for i in members], [scenes[i] for i in members]
            columns = _measure_batch(*batch, judges, device, pool)
            for place, index in enumerate(members):
                rows[index] = {name: values[place] for name, values in columns.items()}
    table = pd.DataFrame([rows[index] for index in range(len(scenes))])
    table.insert(0, "run", run)
    table.insert(1, "photo", [scene.name for scene in scenes])
    table.insert(2, "split", [scene.split for scene in scenes])
    return table


def _measure_batch(
    outputs: list[Tensor], scenes: list[Scene], judges: Mapping[str, Judge], device: torch.device | str, pool: Executor
) -> dict[str, list[float]]:
    output = from_uint8(torch.stack(outputs).to(device))
    target = from_uint8(torch.stack([scene.target for scene in scenes]).to(device))
    measured = available_references()
    columns = {
        "psnr": psnr(output, target),
        "ssim": ssim(output, target),
        "ms_ssim": ms_ssim(output, target) if min(output.shape[-2:]) >= SMALLEST_SIDE else _unknown(output),
        "lpips": lpips(output, target) if "lpips" in measured else _unknown(output),
        "cvvdp": _unknown(output),
        "unexplained": _unknown(output),
        "color_shift": torch.cat(list(pool.map(ciede2000, output.split(1), target.split(1)))),
        "detail_energy": detail_energy(luma(output)) / detail_energy(luma(target)),
    }
    if "cvvdp" in measured:
        columns["cvvdp"] = cvvdp(output, target)
        photo = from_uint8(torch.stack([scene.photo for scene in scenes]).to(device))
        columns["unexplained"] = unexplained_change(photo, output, hazy=scenes[0].airlight is not None)
    columns |= _nearness_to_truth(output, scenes)
    change = change_spectrum(output - target)
    columns |= {f"change_{octave + 1}": change[:, octave] for octave in range(OCTAVES)}
    columns |= {f"score_{name}": judge(output) for name, judge in judges.items()}
    survivors = {name: judge for name, judge in judges.items() if name in CRITICS}
    for transformation, transform in SURVIVAL.items() if survivors else ():
        transformed = torch.cat(list(pool.map(transform, output.split(1))))  # JPEG works on the CPU, photo by photo
        columns |= {f"survives_{name}_{transformation}": judge(transformed) for name, judge in survivors.items()}
    return {name: values.double().cpu().tolist() for name, values in columns.items()}


def detail_energy(luminance: Luminance) -> PerPhoto:
    """Mean square of the finest band-pass layer, the finest octave of an undecimated Laplacian pyramid.

    That layer is the luminance minus its convolution with the separable binomial [1 4 6 4 1] / 16, borders mirrored.

    Source: Burt and Adelson, The Laplacian Pyramid as a Compact Image Code, 1983, equation 1 (kernel with a = 3/8).
    Differs: the blurred layer keeps its resolution, so that a shift of the photo by one pixel changes nothing.
    """
    return (luminance - _binomial(luminance)).square().mean(dim=(1, 2, 3))


def _binomial(luminance: Luminance) -> Luminance:
    mode = "reflect" if min(luminance.shape[-2:]) > 2 else "replicate"
    padded = functional.pad(luminance, (2, 2, 2, 2), mode=mode)
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=luminance.dtype, device=luminance.device) / 16
    rows = functional.conv2d(padded, taps.view(1, 1, 1, 5))
    return functional.conv2d(rows, taps.view(1, 1, 5, 1))


def change_spectrum(change: Photo) -> Float[Tensor, "n octaves"]:
    """Mean square of `change` in each octave of radial frequency, finest first (see `robustness.octave_energy`).

    A Hann window keeps the photo's borders from leaking into the high frequencies.
    """
    rows, columns = (torch.hann_window(side + 2, False, device=change.device)[1:-1] for side in change.shape[-2:])
    window = rows[:, None] * columns
    return octave_energy(change * window, OCTAVES) / (3 * window.square().sum())


def _nearness_to_truth(output: Photo, scenes: list[Scene]) -> dict[str, PerPhoto]:
    """How near each output is to the photo without haze or as a person finished it; not a number without one."""
    names = human_references()
    values = {column: _unknown(output) for column in ("psnr_truth", *(f"near_{name}" for name in names))}
    for place, scene in enumerate(scenes):
        if scene.truth is None or scene.truth.shape != scene.target.shape:
            continue
        pair = output[place, None], from_uint8(scene.truth[None].to(output.device))
        values["psnr_truth"][place] = psnr(*pair)[0]
        for name in names:
            if name != "ms_ssim" or min(output.shape[-2:]) >= SMALLEST_SIDE:
                values[f"near_{name}"][place] = load_nearness(name, output.device)(*pair)[0]
    return values


def _unknown(output: Photo) -> PerPhoto:
    return output.new_full((len(output),), torch.nan)


def _estimate(scene: Scene, photo: Photo) -> Dehazed | None:
    """What the dehazing operator estimated for the scene, so that it need not be estimated again."""
    if scene.airlight is None or scene.transmission is None:
        return None
    transmission = scene.transmission[None].to(photo.device).float() / 255
    return Dehazed(from_uint8(scene.target[None]).to(photo.device), transmission, scene.airlight[None].to(photo.device))


def _equal_sizes(scenes: Sequence[Scene]) -> Iterator[list[int]]:
    """Indices of scenes of one size, at most PIXELS_AT_ONCE together."""
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, scene in enumerate(scenes):
        groups[tuple(scene.target.shape)].append(index)
    for (_, height, width), members in groups.items():
        count = max(1, PIXELS_AT_ONCE // (height * width))
        for start in range(0, len(members), count):
            yield members[start : start + count]
