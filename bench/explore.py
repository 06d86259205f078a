"""How soon the playground answers: a slider moved on a 512 px preview, the picture first, then what raters say of it.

python bench/explore.py          # milliseconds; the aims are 150 for tone and 400 for dehazing, on two quiet cores
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import torch

from lpie.explore import Playground
from lpie.photos.photographs import demo_photographs
from lpie.study.synthetic_haze import add_haze, depth_proxy

REPEATS = 5


def main() -> None:
    """Print the median time to the picture and to all, for each setting of each operator and each network."""
    photo = demo_photographs()["china"]
    hazy = add_haze(photo, depth_proxy(photo), torch.tensor([[0.86, 0.88, 0.90]]), 1.2).photo
    print(f"{'':44}{'picture':>10}{'all':>10}  ms")
    for shown in (photo, hazy):
        playground = Playground(shown)
        for label, enhancer in playground.enhancer.options:
            if (enhancer.operator == "dehaze") == (shown is hazy):
                playground.enhancer.value = enhancer
                for control in (*playground.settings.children, playground.strength):
                    _time(playground, f"{label.partition(' (')[0]}, {control.description}", control)


def _time(playground: Playground, label: str, control: Any) -> None:
    pictures, totals, seen = [], [], []
    playground.comparison.observe(lambda _: seen.append(time.perf_counter()), names="after")
    low, high, start = control.min, control.max, control.value
    for place in range(REPEATS):
        seen.clear()
        began = time.perf_counter()
        control.value = low + (high - low) * (place + 1) / (REPEATS + 1)
        totals.append(time.perf_counter() - began)
        pictures.append((seen[0] if seen else time.perf_counter()) - began)
    control.value = start
    playground.comparison.unobserve_all()
    print(f"{label:44}{1000 * median(pictures):10.0f}{1000 * median(totals):10.0f}")


if __name__ == "__main__":
    main()
