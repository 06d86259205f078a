"""Times the local Laplacian filter beside Halide, plain torch and torch.compile: same work, same run, checked first.

    python bench/local_laplacian.py                 # on the CPU, two threads
    python bench/local_laplacian.py --device cuda   # on a GPU; Halide is not needed

The work of the first rows is one 1080p luminance, K = 8 centers, 8 levels. Halide, if installed (`pip install
halide`), runs the pipeline of `halide_local_laplacian.py`: the same remapping, kernels and residual. It differs where
a level has an odd side: Halide halves that as an even one.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # a spinning thread would count a busy machine against torch

import numpy as np
import torch
from skimage import data
from torch import Tensor

from lpie.imaging.remapping import NOISE, remap_gain
from lpie.operators import local_laplacian_plain as plain
from lpie.operators.local_laplacian import SAMPLES, filtered_luminance, local_laplacian

SETTINGS = {"alpha": 0.5, "beta": 0.7, "sigma_r": 0.2}
CENTERS, LEVELS = 8, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    os.environ["HL_NUM_THREADS"] = str(options.threads)
    device = torch.device(options.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{options.threads} CPU threads"
    if device.type == "cpu":  # first, as a process only ever reports its peak
        large = photograph(3000, 4000)
        report("12 MP photo, default K", lambda: local_laplacian(large, **SETTINGS), None, device, 1)
        print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB\n")
        del large
    photo = photograph(1080, 1920).to(device)
    luminance = photo[:, 1:2].contiguous()
    settings = tuple(luminance.new_full((1, 1, 1, 1), x) for x in (*SETTINGS.values(), NOISE))
    expected = plain.sampled(luminance.double(), tuple(x.double() for x in settings), CENTERS, LEVELS)

    rows: list[tuple[str, Callable[[], Tensor], Tensor | None]] = []
    if device.type == "cpu" and (halide := halide_filter(luminance)):
        rows.append(("Halide", halide, None))
    rows.append(("plain torch", lambda: plain.sampled(luminance, settings, CENTERS, LEVELS), expected))
    compiled = torch.compile(plain.sampled, dynamic=False)
    rows.append(("torch.compile", lambda: compiled(luminance, settings, CENTERS, LEVELS), expected))
    rows.append(("lpie", lambda: ours(luminance, CENTERS, LEVELS), expected))
    if device.type == "cuda":
        rows.append(("lpie, replayed as a CUDA graph", recorded(luminance), expected))
    print(f"{name}, torch {torch.__version__}. 1080p luminance, K = {CENTERS}, {LEVELS} levels")
    times = [report(*row, device, options.repeats) for row in rows]
    print(
        *(f"{row[0]} / {rows[0][0]}: {time / times[0]:.3f}" for row, time in zip(rows[1:], times[1:], strict=True)),
        sep="\n",
    )

    print(f"\nlpie, photos (3 channels), default K = {SAMPLES}, full pyramid")
    small = photograph(512, 512).to(device)
    report(
        "512 px preview, K = 8", lambda: local_laplacian(small, **SETTINGS, samples=8), None, device, options.repeats
    )
    report("512 px preview", lambda: local_laplacian(small, **SETTINGS), None, device, options.repeats)
    report("1080p", lambda: local_laplacian(photo, **SETTINGS), None, device, options.repeats)
    report("1080p, mode log", lambda: local_laplacian(photo, **SETTINGS, mode="log"), None, device, options.repeats)
    train(device, options.repeats)


def ours(luminance: Tensor, samples: int, levels: int) -> Tensor:
    return filtered_luminance(luminance, **SETTINGS, samples=samples, levels=levels)


def recorded(luminance: Tensor) -> Callable[[], Tensor]:
    """The filter without the time that its launches take on the CPU."""
    ours(luminance, CENTERS, LEVELS)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = ours(luminance, CENTERS, LEVELS)

    def replay() -> Tensor:
        graph.replay()
        return result

    return replay


def train(device: torch.device, repeats: int) -> None:
    """Forward and backward of crops as in training, each with its own settings."""
    count, side = (16, 256) if device.type == "cuda" else (2, 192)
    crops = torch.stack([photograph(side, side)[0]] * count)[:, 1:2].to(device).requires_grad_()
    own = {name: torch.full((count,), value, device=device).requires_grad_() for name, value in SETTINGS.items()}
    settings = (*(x.reshape(-1, 1, 1, 1) for x in own.values()), torch.full((count, 1, 1, 1), NOISE, device=device))

    def step(filtered: Tensor) -> Tensor:
        return torch.autograd.grad(filtered.square().sum(), (crops, *own.values()))[0]

    work = f"{count} x {side} px, forward and backward, K ="
    for samples in (8, SAMPLES):
        report(
            f"{work} {samples}",
            lambda k=samples: step(filtered_luminance(crops, **own, samples=k)),
            None,
            device,
            repeats,
        )
    report(f"plain torch, {work} 8", lambda: step(plain.sampled(crops, settings, 8, 9)), None, device, min(repeats, 5))


def report(work: str, run: Callable[[], Tensor], expected: Tensor | None, device: torch.device, repeats: int) -> float:
    """Prints and returns the median time of `run` in ms, after checking it."""
    result = run()
    error = "" if expected is None else f"   max. error {(result.double() - expected).abs().max():.1e} of float64 torch"
    if expected is not None and (result.double() - expected).abs().max() > 5e-3:
        raise SystemExit(f"{work}: wrong result{error}")
    times = []
    for _ in range(repeats):
        synchronize(device)
        start = time.perf_counter()
        run()
        synchronize(device)
        times.append((time.perf_counter() - start) * 1e3)
    print(f"{work:52s} {np.median(times):9.2f} ms (least {min(times):.2f}){error}", flush=True)
    return float(np.median(times))


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def photograph(height: int, width: int) -> Tensor:
    photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None].float() / 255
    return torch.nn.functional.interpolate(photo, (height, width), mode="bilinear", antialias=True).clamp(0, 1)


def halide_filter(luminance: Tensor) -> Callable[[], Tensor] | None:
    """The Halide pipeline, checked at four levels, where the pyramids agree but for the border; None without Halide."""
    try:
        from halide_local_laplacian import compile_filter
    except ImportError:
        print("Halide is not installed (pip install halide): its row is left out.")
        return None

    def change(difference: Tensor) -> Tensor:
        return (remap_gain(difference.abs(), *SETTINGS.values(), NOISE) - 1) * difference

    shallow = compile_filter(luminance, change, CENTERS, 4)()
    apart = (shallow - ours(luminance, CENTERS, 4))[..., 99:-99, 99:-99].abs().max()
    if apart > 5e-3:
        raise SystemExit(f"Halide and lpie differ by {apart:.1e} at four levels: not the same work.")
    return compile_filter(luminance, change, CENTERS, LEVELS)


if __name__ == "__main__":
    main()
