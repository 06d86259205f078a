"""The memory and the time that `lpie score` and `lpie enhance` take for one large photo of each common kind."""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import imagecodecs
import numpy as np
import simplejpeg
import tifffile

from lpie.photos.photographs import demo_photographs, to_pixels


def photograph(megapixels: float) -> np.ndarray:
    """Tiles of a photo with grain, so that nothing compresses better than a photo does."""
    side = round((megapixels * 1e6) ** 0.5)
    tile = to_pixels(demo_photographs()["china"], 8)
    times = (-(-side // tile.shape[0]), -(-side // tile.shape[1]), 1)
    pixels, draw = np.ascontiguousarray(np.tile(tile, times)[:side, :side]), np.random.default_rng(0)
    for band in np.array_split(pixels, 64):
        band[:] = (band + draw.integers(-6, 7, band.shape, np.int16)).clip(0, 255)
    return pixels


def main() -> None:
    """Print a row for each command and kind of file; each runs in a process of its own, so that its peak is its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", type=float, default=100)
    parser.add_argument("--command", nargs=argparse.REMAINDER, help="measure this one")
    chosen = parser.parse_args()
    if chosen.command:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "lpie.cli", *chosen.command], check=True, capture_output=True)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
        print(f"{peak:6.2f} {time.perf_counter() - start:8.0f}", flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        pixels, place = photograph(chosen.megapixels), Path(folder, "photo")
        place.with_suffix(".jpg").write_bytes(simplejpeg.encode_jpeg(pixels, 92))
        place.with_suffix(".png").write_bytes(imagecodecs.png_encode(pixels, level=1))
        tifffile.imwrite(place.with_suffix(".tif"), pixels, photometric="rgb", compression="deflate", rowsperstrip=64)
        del pixels
        print(f"{'':24} {'GB':>6} {'seconds':>8}   of {chosen.megapixels:g} megapixels")
        for kind in (".jpg", ".png", ".tif"):
            photo, out = str(place.with_suffix(kind)), str(Path(folder, f"out{kind}"))
            for name, command in (("score", ["score", photo]), ("enhance", ["enhance", photo, "-o", out])):
                print(f"{f'lpie {name} {kind}':24} ", end="", flush=True)
                subprocess.run([sys.executable, __file__, "--command", *command], check=True)


if __name__ == "__main__":
    main()
