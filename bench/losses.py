"""Times SSIM and MS-SSIM beside pytorch-msssim, piq, torchmetrics and torch.compile: values first, then times.

    python bench/losses.py                  # on the CPU, two threads
    python bench/losses.py --device cuda    # on a GPU

Peers that are not installed are left out. "plain" is the definition in plain torch, also as `torch.compile` makes it.
Of MS-SSIM on small photos a GPU waits for most of the time, so that from the fourth call on lpie replays a graph; the
kernels' work alone is what "CUDA graph" shows.
Forms are timed in turns; the table gives medians, and how often each is as fast as the first of the table.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from importlib import import_module
from unittest.mock import patch

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # a spinning thread would count a busy machine against torch

import torch
import torch.nn.functional as F
from skimage import data
from timing import captured, in_turns, table
from torch import Tensor

from lpie.losses.similarity import unchecked_ms_ssim, unchecked_ssim

Measure = Callable[[Tensor, Tensor], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, no torchmetrics, no torch.compile")
    options = parser.parse_args()
    repeats = 5 if options.quick else options.repeats
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    many = 8 if device.type == "cuda" else 1
    rows = []
    for measure in ("ssim", "ms_ssim"):
        forms = measures(measure, options.quick)
        for count, height, width in ((many, 1080, 1920), (2, 512, 512)):
            a, b = photographs(device, count, height, width)
            torch._dynamo.reset()  # each size is compiled for itself
            work = f"{measure}, {count} x 3 x {height} x {width}"
            notes = values(forms, a, b)
            times = in_turns({name: partial(forward, form, a, b) for name, form in forms.items()}, device, repeats)
            rows += table(f"{work}, forward", times, notes)
            notes = gradients(forms, a, b)
            works = {name: partial(backward, form, a, b) for name, form in forms.items()}
            if device.type == "cuda":
                works |= {f"{name}, CUDA graph": captured(works[name]) for name in ("plain", "lpie")}
            times = in_turns(works, device, repeats)
            rows += table(f"{work}, forward and backward", times, notes)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{options.threads} CPU threads"
    print(f"{name}, torch {torch.__version__}")
    for row in rows:
        print(row)


@torch.no_grad()
def forward(form: Measure, a: Tensor, b: Tensor) -> Tensor:
    return form(a, b)


def backward(form: Measure, a: Tensor, b: Tensor) -> Tensor:
    """The gradient by the first photo, as a loss asks for it."""
    a = a.detach().requires_grad_()
    return torch.autograd.grad(form(a, b), a)[0]


def measures(name: str, quick: bool) -> dict[str, Measure]:
    """Mean similarity of a batch, by every implementation that is installed."""
    found: dict[str, Measure] = {}
    for package in ("pytorch_msssim", "piq", *(() if quick else ("torchmetrics.functional.image",))):
        try:
            module = import_module(package)
        except ImportError:
            print(f"{package} is not installed: its rows are left out")
            continue
        if package == "pytorch_msssim":
            found[package] = partial(getattr(module, name), data_range=1)
        elif package == "piq":
            # piq's SSIM halves large photos first unless told not to
            settings = {"downsample": False} if name == "ssim" else {}
            function = module.ssim if name == "ssim" else module.multi_scale_ssim
            found[package] = partial(function, data_range=1.0, **settings)
        else:
            prefix = "" if name == "ssim" else "multiscale_"
            function = getattr(module, f"{prefix}structural_similarity_index_measure")
            found["torchmetrics"] = partial(function, data_range=1.0)
    ours = {"ssim": unchecked_ssim, "ms_ssim": unchecked_ms_ssim}[name]

    def plain(a: Tensor, b: Tensor) -> Tensor:
        with patch("lpie.imaging.kernels._module", return_value=None):
            return ours(a, b).mean()

    found["plain"] = plain
    if not quick:  # find() gives way to the compiler
        found["torch.compile"] = torch.compile(lambda a, b: ours(a, b).mean(), dynamic=False)
    return found | {"lpie": lambda a, b: ours(a, b).mean()}


def photographs(device: torch.device, count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Real photographs, and noisy, blurred renditions of them."""
    shown = [data.astronaut(), data.coffee(), data.chelsea()]
    resized = [
        F.interpolate(
            torch.from_numpy(shown[index % 3]).permute(2, 0, 1)[None].float() / 255,
            (height, width),
            mode="bilinear",
            antialias=True,
        )
        for index in range(count)
    ]
    a = torch.cat(resized).clamp(0, 1)
    torch.manual_seed(0)
    b = (F.avg_pool2d(a, 3, 1, 1) + 0.03 * torch.randn_like(a)).clamp(0, 1)
    return a.to(device), b.to(device)


def values(forms: dict[str, Measure], a: Tensor, b: Tensor) -> dict[str, str]:
    """Each form's value beside ours in float64; ends the run where lpie or pytorch-msssim is off."""
    exact = forms["lpie"](a[:1].double(), b[:1].double()).item()
    notes = {}
    for name, form in forms.items():
        error = form(a[:1], b[:1]).item() - exact
        notes[name] = f"value off by {error:+.1e}"
        # odd sides at MS-SSIM's coarsest scale: pytorch-msssim pads them with zeros, lpie repeats the edge
        if abs(error) > {"lpie": 1e-5, "pytorch_msssim": 1e-4}.get(name, 1e-2):
            raise SystemExit(f"{name}: {form(a[:1], b[:1]).item()} where float64 gives {exact}")
    return notes


def gradients(forms: dict[str, Measure], a: Tensor, b: Tensor) -> dict[str, str]:
    """Relative error of each form's gradient against ours in float64."""
    exact = backward(forms["lpie"], a[:1].double(), b[:1].double())
    notes = {}
    for name, form in forms.items():
        error = ((backward(form, a[:1], b[:1]) - exact).norm() / exact.norm()).item()
        notes[name] = f"gradient off by {error:.1e}"
        if name == "lpie" and not error < 1e-4:
            raise SystemExit(f"{name}: gradient off by {error}")
    return notes


if __name__ == "__main__":
    main()
