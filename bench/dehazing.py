"""Non-local dehazing: is the solver right, and how long does each part take? `--device cuda` adds the GPU.

The smoothing of the transmission is one sparse symmetric system. The same system goes to a naive sparse direct solve
and to the algebraic multigrid of pyamg (Ruge-Stuben, conjugate gradients), in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import spsolve
from torch import Tensor

from lpie.imaging.color import luma
from lpie.imaging.resampling import resize
from lpie.operators.airlight import estimate_airlight, haze_presence
from lpie.operators.haze_lines import transmission_along_lines
from lpie.operators.nonlocal_dehazing import dehaze
from lpie.operators.settings import DehazeSettings
from lpie.operators.smoothing import gradient_links, weighted_least_squares
from lpie.photos.photographs import demo_photographs
from lpie.study.synthetic_haze import add_haze, depth_proxy

Rows = list[tuple[str, str, str]]


def hazy_photo(height: int, width: int) -> Tensor:
    """A photograph under haze, with the grain that enlarging took from it put back."""
    clear = resize(demo_photographs()["china"], height, width)
    scene = add_haze(clear, depth_proxy(clear), torch.tensor([[0.85, 0.86, 0.9]]), 1.2)
    grain = torch.randn(scene.photo.shape, generator=torch.Generator().manual_seed(0))
    return (scene.photo + 0.01 * grain).clamp(0, 1)


def seconds(work: Callable[[], object], repeats: int, device: str) -> float:
    """Median time of `work` after one call to warm up."""
    times = []
    for _ in range(repeats + 1):
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def as_matrix(weight: Tensor, links: tuple[Tensor, Tensor]) -> sparse.csr_matrix:
    height, width = weight.shape[2:]
    index = np.arange(height * width).reshape(height, width)
    first = np.concatenate([index[:, :-1].ravel(), index[:-1].ravel()])
    second = np.concatenate([index[:, 1:].ravel(), index[1:].ravel()])
    values = np.concatenate([link.double().numpy().ravel() for link in links])
    joined = sparse.coo_matrix((values, (first, second)), shape=(index.size, index.size)).tocsr()
    joined = joined + joined.T
    return (sparse.diags(np.asarray(joined.sum(axis=1)).ravel() + weight.double().numpy().ravel()) - joined).tocsr()


def compare_solvers(photo: Tensor) -> Rows:
    """Ours, naive direct and pyamg on one system; errors are to the direct solution."""
    values, weight = transmission_along_lines(photo, estimate_airlight(photo))
    links = gradient_links(luma(photo), DehazeSettings.smoothness)
    matrix, right = as_matrix(weight, links), (weight * values).double().numpy().ravel()
    start = time.perf_counter()
    exact = spsolve(matrix.tocsc(), right, permc_spec="MMD_AT_PLUS_A")
    rows = [("smoothing, naive sparse direct solve", f"{time.perf_counter() - start:.2f} s", "exact")]

    def error(solution: np.ndarray) -> str:
        difference = np.abs(solution - exact)
        return f"max {difference.max():.0e}, rms {np.sqrt(np.mean(difference**2)):.0e}"

    ours = weighted_least_squares(values, weight, links)
    took = seconds(lambda: weighted_least_squares(values, weight, links), 3, "cpu")
    rows.append(("smoothing, ours (multigrid, float32)", f"{took:.2f} s", error(ours.double().numpy().ravel())))
    try:
        import pyamg
    except ImportError:
        return [*rows, ("smoothing, pyamg", "-", "not installed")]
    start = time.perf_counter()
    solver = pyamg.ruge_stuben_solver(matrix, max_coarse=500)
    setup = time.perf_counter() - start
    solution = solver.solve(right, x0=values.double().numpy().ravel(), tol=1e-30, maxiter=18, accel="cg")
    took = time.perf_counter() - start
    rows.append((f"smoothing, pyamg (set-up {setup:.2f} s)", f"{took:.2f} s", error(solution)))
    return rows


def time_parts(photo: Tensor, device: str, repeats: int) -> Rows:
    photo = photo.to(device)
    airlight = estimate_airlight(photo)
    raw, weight = transmission_along_lines(photo, airlight)
    links = gradient_links(luma(photo), DehazeSettings.smoothness)
    parts: dict[str, Callable[[], object]] = {
        "airlight": lambda: estimate_airlight(photo),
        "is there haze": lambda: haze_presence(photo),
        "haze-lines": lambda: transmission_along_lines(photo, airlight),
        "smoothing": lambda: weighted_least_squares(raw, weight, links),
        "dehaze, all of it": lambda: dehaze(photo),
    }
    size = "x".join(str(side) for side in photo.shape)
    rows = []
    for name, work in parts.items():
        took, note = seconds(work, repeats, device), ""
        if device == "cuda":
            without = {"return_value": None}
            with patch("lpie.operators.smoothing.find", **without), patch("lpie.operators.haze_lines.find", **without):
                note = f"{1e3 * seconds(work, 2, device):.1f} ms in plain torch"
        rows.append((f"{device} {size}: {name}", f"{1e3 * took:.1f} ms", note))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    if arguments.device == "cpu":
        megapixel = hazy_photo(818, 1228)
        rows = time_parts(megapixel, "cpu", 3) + time_parts(hazy_photo(321, 481), "cpu", 5)
        rows += compare_solvers(megapixel)
        print(f"\n{arguments.threads} threads")
    else:
        full = hazy_photo(1080, 1920)
        on_cpu, on_gpu = dehaze(full[..., :540, :960]), dehaze(full[..., :540, :960].cuda())
        difference = (on_gpu.photo.cpu() - on_cpu.photo).abs()
        rows = [("GPU against CPU, 960x540", f"max {difference.max():.1e}", f"mean {difference.mean():.1e}")]
        rows += time_parts(full, "cuda", 10)
        rows += time_parts(hazy_photo(321, 481).expand(16, -1, -1, -1).contiguous(), "cuda", 10)
        print(f"\n{torch.cuda.get_device_name()}")
    width = max(len(name) for name, _, _ in rows)
    for name, took, note in rows:
        print(f"{name:<{width}}  {took:>10}  {note}")


if __name__ == "__main__":
    main()
