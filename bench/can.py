"""Times the context aggregation network beside its plain form: inference and a training step, checked first.

    python bench/can.py                          # on the CPU, two threads
    python bench/can.py --device cuda            # on a GPU: 1080p, and 16 crops of 256 px with a NIMA critic
    python bench/can.py --device cuda --tune     # also every tile shape of the GPU kernels

A CPU has no kernels for it: those that there were took 0.9 to 1.1 times as long as what torch.compile makes.
Forms are timed in turns; the table gives medians, and how often each is as fast as the plain form.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # a spinning thread would count a busy machine against torch

import torch
from skimage import data
from timing import captured, in_turns, table
from torch import Tensor

from lpie.critic.nima import NIMA
from lpie.losses.objective import PerceptualObjective
from lpie.networks.context_aggregation import ContextAggregationNetwork

Run = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--tune", action="store_true", help="time other tile shapes of the GPU kernels")
    parser.add_argument("--profile", action="store_true", help="list the GPU kernels by the time they take")
    options = parser.parse_args()
    repeats = 7 if options.quick else options.repeats
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    on_gpu = device.type == "cuda"
    if on_gpu:
        agree(device)
    if options.tune:
        tune(device)
    if options.profile:
        profile(device)
    rows = inference(device, repeats, *((1080, 1920) if on_gpu else (512, 512)))
    rows += training(device, repeats, *((32, 16, 256) if on_gpu else (24, 2, 192)))
    name = torch.cuda.get_device_name() if on_gpu else f"{options.threads} CPU threads"
    print(f"\n{name}, torch {torch.__version__}")
    for row in rows:
        print(row)


def agree(device: torch.device) -> None:
    """Compare the GPU kernels with the plain form, forward and backward, on odd sizes."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import gpu_kernels_agree

    gpu_kernels_agree.network_agrees(str(device))
    print("the kernels agree with float64, forward and backward")


def network_away_from_identity(device: torch.device, width: int) -> ContextAggregationNetwork:
    """Weights as after some training: every path carries something, outputs stay within the photo's range."""
    torch.manual_seed(0)
    network = ContextAggregationNetwork(width)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.add_(torch.randn_like(parameter) * (0.02 if parameter.ndim else 0.05))
            if name == "last.weight":
                parameter.mul_(0.8)
    return network.to(device, memory_format=torch.channels_last)


def photographs(device: torch.device, count: int, height: int, width: int) -> Tensor:
    shown = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    resized = [
        torch.nn.functional.interpolate(
            torch.from_numpy(shown[index % 4]).permute(2, 0, 1)[None].float() / 255,
            (height, width),
            mode="bilinear",
            antialias=True,
        )
        for index in range(count)
    ]
    return torch.cat(resized).clamp(0, 1).to(device)


def inference(device: torch.device, repeats: int, height: int, width: int) -> list[str]:
    """Rows for one photo without gradient."""
    network = network_away_from_identity(device, 32).eval()
    photo = photographs(device, 1, height, width)
    with torch.inference_mode():
        exact = network.double().plain(photo.double())
        network.float()
        forms: dict[str, Run] = {"plain eager float32, contiguous": lambda: contiguous(network, photo)}
        forms["plain eager float32"] = lambda: network.plain(photo)
        compiled = torch.compile(network.plain, dynamic=False)
        forms["torch.compile float32"] = lambda: compiled(photo)
        if device.type == "cuda":
            forms["plain eager float16"] = lambda: in_autocast(network.plain, photo)
            forms["torch.compile float16"] = lambda: in_autocast(compiled, photo)
            forms["lpie"] = lambda: network(photo)
            forms["lpie, CUDA graph"] = captured(lambda: network(photo))
        errors = {name: (run() - exact).abs().max().item() * 255 for name, run in forms.items()}
        times = in_turns(forms, device, repeats)
        notes = {name: f"error {error:.3f}/255" for name, error in errors.items()}
        return table(f"CAN32, {height} x {width}, inference", times, notes) + floor(network, photo, repeats)


def floor(network: ContextAggregationNetwork, photo: Tensor, repeats: int) -> list[str]:
    """How long its operations, and the features that each layer reads and writes, take at the rates measured here.

    In half precision on a GPU, in single on a CPU. Rates are those of a large matrix product and of a large copy.
    """
    device, (height, width) = photo.device, photo.shape[-2:]
    precision, side, size = (torch.float16, 8192, 2**29) if device.type == "cuda" else (torch.float32, 1024, 2**26)
    matrix = torch.randn(side, side, device=device, dtype=precision)
    source = torch.randn(size // precision.itemsize, device=device, dtype=precision)
    target = torch.empty_like(source)
    rates = in_turns({"copy": lambda: target.copy_(source), "product": lambda: matrix @ matrix}, device, repeats)
    layers = [*network.convolutions, network.last]
    operations = 2 * height * width * sum(layer.weight.numel() for layer in layers)
    moved = height * width * precision.itemsize * sum(layer.in_channels + layer.out_channels for layer in layers)
    times = {
        f"floor, {moved / 1e9:.2f} GB moved": moved * rates["copy"] / (2 * size),
        f"floor, {operations / 1e9:.0f} G operations": operations * rates["product"] / (2 * side**3),
    }
    return [f"  {name:40s} {ms:9.2f} ms" for name, ms in times.items()]


def contiguous(network: ContextAggregationNetwork, photo: Tensor) -> Tensor:
    """The plain form in torch's default layout, as a straightforward program has it."""
    features = photo
    for convolution, normalization in zip(network.convolutions, network.normalizations, strict=True):
        features = torch.nn.functional.leaky_relu(normalization(convolution(features).contiguous()), 0.2)
    return network.last(features).clamp(0, 1)


def in_autocast(enhance: Callable[[Tensor], Tensor], photo: Tensor) -> Tensor:
    with torch.autocast("cuda", dtype=torch.float16):
        return enhance(photo)


def training(device: torch.device, repeats: int, width: int, count: int, side: int) -> list[str]:
    """Rows for one step: forward, L2 and a NIMA critic of the AVA network's shape, backward, Adam."""
    on_gpu = device.type == "cuda"
    photo = photographs(device, count, side, side)
    target = (photo * 1.1 - 0.05).clamp(0, 1)
    critic = NIMA().freeze().to(device)
    rows = []
    for opinion, objective in (
        ("L2", PerceptualObjective("l2")),
        ("L2 + NIMA", PerceptualObjective("l2", critic, 1e-3).to(device)),
    ):
        forms: dict[str, Run] = {}
        for name, precision, form in (
            ("plain eager float32", None, "plain"),
            ("torch.compile float32", None, "compiled"),
            ("plain eager bfloat16", torch.bfloat16, "plain"),
            ("torch.compile bfloat16", torch.bfloat16, "compiled"),
            ("lpie", torch.bfloat16, "lpie"),
        ):
            if on_gpu or precision is None:
                network = network_away_from_identity(device, width)
                forms[name] = step(network, objective, photo, target, precision, form)
        if on_gpu:
            network = network_away_from_identity(device, width)
            forms["lpie, CUDA graph"] = captured(step(network, objective, photo, target, torch.bfloat16))
        times = in_turns(forms, device, repeats)
        rows += table(f"CAN{width}, {count} x {side} px, training step, {opinion}", times, {})
    return rows


def step(
    network: ContextAggregationNetwork,
    objective: PerceptualObjective,
    photo: Tensor,
    target: Tensor,
    precision: torch.dtype | None,
    form: str = "lpie",
) -> Run:
    network.train()
    compiled = torch.compile(network.plain, dynamic=False)
    enhance = {"lpie": network, "plain": network.plain, "compiled": compiled}[form]
    on_gpu = photo.is_cuda
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-5, fused=True, capturable=on_gpu)

    def one_step() -> None:
        with torch.autocast(photo.device.type, dtype=precision, enabled=precision is not None, cache_enabled=False):
            loss = objective(enhance(photo), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return one_step


def profile(device: torch.device) -> None:
    """Prints the GPU kernels of one inference at 1080p and of one training step with a critic."""
    network, photo = network_away_from_identity(device, 32).eval(), photographs(device, 1, 1080, 1920)
    crops = photographs(device, 16, 256, 256)
    objective = PerceptualObjective("l2", NIMA().freeze(), 1e-3).to(device)
    training_step = step(network_away_from_identity(device, 32), objective, crops, crops, torch.bfloat16)
    for work, run in (("inference", torch.inference_mode()(lambda: network(photo))), ("training step", training_step)):
        for _ in range(3):
            run()
        torch.cuda.synchronize()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as recorded:
            run()
            torch.cuda.synchronize()
        events = [(event.device_time_total, event.count, event.key) for event in recorded.key_averages()]
        print(f"{work}: {sum(each[0] for each in events) / 1e3:.2f} ms in kernels")
        for microseconds, count, name in sorted(events, reverse=True)[:16]:
            print(f"  {microseconds / 1e3:8.3f} ms {count:4d} x {name[:90]}")


def tune(device: torch.device) -> None:
    """Times other tile shapes; the constants of `context_aggregation_gpu` are to hold the best of both lists."""
    from lpie.fast import context_aggregation_gpu as gpu

    network, photo = network_away_from_identity(device, 32).eval(), photographs(device, 1, 1080, 1920)
    crops = photographs(device, 16, 256, 256)
    found: list[tuple[float, str]] = []
    for (columns, warps), programs in itertools.product(((64, 4), (128, 8)), (2, 4, 8)):
        gpu.COLUMNS, gpu.WARPS, gpu.PROGRAMS = columns, warps, programs
        with torch.inference_mode():
            graph = captured(lambda: network(photo))
            ms = in_turns({"": graph}, device, 5)[""]
        found.append((ms, f"COLUMNS {columns} WARPS {warps} PROGRAMS {programs}"))
    gpu.COLUMNS, gpu.WARPS, gpu.PROGRAMS = (int(word) for word in min(found)[1].split()[1::2])
    print("inference 1080p:", *(f"{ms:.3f} ms {setting}" for ms, setting in sorted(found)[:8]), sep="\n  ")
    found = []
    for pixels, warps, programs in itertools.product((64, 128), (4, 8), (2, 4)):
        gpu.GRADIENT_PIXELS, gpu.GRADIENT_WARPS, gpu.GRADIENT_PROGRAMS = pixels, warps, programs
        training_step = step(
            network_away_from_identity(device, 32), PerceptualObjective("l2"), crops, crops, torch.bfloat16
        )
        ms = in_turns({"": captured(training_step)}, device, 5)[""]
        found.append((ms, f"GRADIENT_PIXELS {pixels} GRADIENT_WARPS {warps} GRADIENT_PROGRAMS {programs}"))
    best = [int(word) for word in min(found)[1].split()[1::2]]
    gpu.GRADIENT_PIXELS, gpu.GRADIENT_WARPS, gpu.GRADIENT_PROGRAMS = best
    print("training step, L2:", *(f"{ms:.3f} ms {setting}" for ms, setting in sorted(found)[:5]), sep="\n  ")


if __name__ == "__main__":
    main()
