"""How long `enhance` takes for one photo from tensor to tensor, and the memory of its process, beside common peers.

Each row is a process of its own, so that its peak memory is its own; times are the median of --repeats after one call
to warm up. `--megapixels 12` is a camera's photo; networks of context aggregation get `--small` megapixels.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from lpie.imaging.resampling import resize
from lpie.photos.enhancement import enhance
from lpie.photos.photographs import demo_photographs, to_pixels
from lpie.study.dark_channel import dark_channel_dehaze
from lpie.study.synthetic_haze import add_haze, depth_proxy
from lpie.weights import shipped_names

FAMILIES = ("can24", "can32", "grid", "parameters")


def rows() -> list[str]:
    """Every shipped network, the operators, and what other libraries offer for the same wish."""
    networks = [name for name in shipped_names() if any(f"-{family}-" in name for family in FAMILIES)]
    return [*networks, "tone operator", "dehaze operator", "CLAHE", "detailEnhance", "dark channel prior"]


def work_of(row: str, megapixels: float) -> Callable[[], object]:
    """What one row does to a photo of a size."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    photo = resize(demo_photographs()["china"], height, height * 4 // 3)
    if row.startswith("dehaze") or row == "dark channel prior":
        photo = add_haze(photo, depth_proxy(photo), torch.tensor([[0.85, 0.86, 0.9]]), 1.2).photo
    photo = (photo + 0.01 * torch.randn_like(photo)).clamp(0, 1)  # the grain that enlarging took
    if row == "dark channel prior":
        return lambda: dark_channel_dehaze(photo)
    if row in ("CLAHE", "detailEnhance"):
        import cv2

        pixels = np.ascontiguousarray(to_pixels(photo, 8)[..., ::-1])
        if row == "detailEnhance":
            return lambda: cv2.detailEnhance(pixels)
        equalize = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8))

        def lightness() -> object:
            lab = cv2.cvtColor(pixels, cv2.COLOR_BGR2LAB)
            lab[..., 0] = equalize.apply(np.ascontiguousarray(lab[..., 0]))
            return cv2.cvtColor(lab, cv2.COLOR_LAB2BGR)

        return lightness
    operator, weights = row.split(" ") if " " in row else (row.split("-")[0], row)
    return lambda: enhance(photo, operator, weights, "cpu")


def main() -> None:
    """Print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--small", type=float, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--row", choices=rows())
    chosen = parser.parse_args()
    if not chosen.row:
        print(f"{'':28} {'megapixels':>10} {'seconds':>8} {'GB':>6}   {os.cpu_count()} cores")
        for row in rows():
            size = chosen.small if "-can" in row else chosen.megapixels
            command = [sys.executable, __file__, "--row", row, "--megapixels", str(size)]
            subprocess.run([*command, "--repeats", str(chosen.repeats)], check=True)
        return
    work, times = work_of(chosen.row, chosen.megapixels), []
    for _ in range(chosen.repeats + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{chosen.row:28} {chosen.megapixels:10g} {statistics.median(times[1:]):8.2f} {peak:6.2f}", flush=True)


if __name__ == "__main__":
    main()
