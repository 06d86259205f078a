"""Speed of the shipped critics beside the AVA network in plain eager float32: score and gradient of photographs.

    python bench/nima.py    # one 512-px photo on 2 CPU cores; 16 crops of 256 px on a GPU, where there is one

It checks first that the gradients agree, and that a form gives the same bits twice.

Forms are timed in turns within one run; the table gives the median, and how often each is as fast as the plain form.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpie.critic.backbones import MobileNetV1
from lpie.critic.nima import NIMA, mean_score

WARM_UP, REPEATS = 5, 40
CRITICS = ("compact", "robust")

Score: TypeAlias = Callable[[Tensor], Tensor]


def plain_critic(device: str) -> Score:
    """The AVA network's shape in plain eager float32, contiguous: torch's antialiased 224, then the convolutions."""
    network = MobileNetV1().eval().requires_grad_(False).to(device)

    def convolved(layer: nn.Conv2d, features: Tensor) -> Tensor:
        if layer.stride[0] == 2:
            features = F.pad(features, (0, 1, 0, 1))
        result = F.conv2d(features, layer.weight, layer.bias, layer.stride, layer.padding, groups=layer.groups)
        return F.relu6(result, inplace=True)

    def plain(photo: Tensor) -> Tensor:
        square = F.interpolate(photo, (224, 224), mode="bilinear", antialias=True)
        features = convolved(network.stem, square * 2 - 1)
        for block in network.blocks:
            features = convolved(block.pw, convolved(block.dw, features))
        return mean_score(network.fc(features.mean((2, 3))).softmax(1))

    return plain


def in_bfloat16(critic: NIMA) -> Score:
    """The critic under autocast."""

    def score(photo: Tensor) -> Tensor:
        with torch.autocast(photo.device.type, torch.bfloat16, cache_enabled=False):  # a graph must hold the casts
            return critic.mean_score(photo)

    return score


def score_and_gradient(score: Score, photo: Tensor) -> Callable[[], Tensor]:
    """The work that is timed: mean scores, and their gradient with respect to the photo."""
    photo = photo.clone().requires_grad_()

    def work() -> Tensor:
        photo.grad = None
        score(photo).sum().backward()
        return photo.grad

    return work


def captured(score: Score, photo: Tensor) -> Callable[[], Tensor]:
    """The same work on the GPU as one CUDA graph; each call renews the gradient that it returns."""
    photo = photo.clone().requires_grad_()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            photo.grad = None
            score(photo).sum().backward()
    torch.cuda.current_stream().wait_stream(stream)
    photo.grad = None  # so that it is allocated among the graph's own memory
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        score(photo).sum().backward()

    def replay() -> Tensor:
        graph.replay()
        return photo.grad

    return replay


def time_in_turns(works: dict[str, Callable[[], Tensor]], device: str) -> dict[str, float]:
    """Median seconds of each work."""

    def seconds(work: Callable[[], Tensor]) -> float:
        wait(device)
        start = time.perf_counter()
        work()
        wait(device)
        return time.perf_counter() - start

    for work in works.values():
        for _ in range(WARM_UP):
            work()
    turns = [{name: seconds(work) for name, work in works.items()} for _ in range(REPEATS)]
    return {name: statistics.median(turn[name] for turn in turns) for name in works}


def wait(device: str) -> None:
    """Let the GPU finish."""
    if device == "cuda":
        torch.cuda.synchronize()


def check(works: dict[str, Callable[[], Tensor]], exact: str) -> None:
    """Say how far each form's gradient is from the float32 one, and whether two runs of it agree to the bit."""
    reference = works[exact]().clone()
    for name, work in works.items():
        first, second = work().clone(), work().clone()
        alike = F.cosine_similarity(first.flatten(), reference.flatten(), dim=0).item()
        twice = "the same bits twice" if torch.equal(first, second) else "OTHER BITS the second time"
        print(f"{name}: cosine with the float32 gradient {alike:.4f}, {twice}")


def compare(device: str) -> None:
    """Check and time every form on one device, and print the table; on a GPU each also as a CUDA graph."""
    photo = torch.rand((16, 3, 256, 256) if device == "cuda" else (1, 3, 512, 512), device=device)
    works = {"AVA network, plain eager float32": score_and_gradient(plain_critic(device), photo)}
    for name in CRITICS:
        critic = NIMA.from_pretrained(name).to(device)
        exact, half = (f"{name}, {critic.input_size} px, {precision}" for precision in ("float32", "bfloat16"))
        scores: dict[str, Score] = {exact: critic.mean_score}
        if device == "cuda":
            scores[half] = in_bfloat16(critic)
        forms = {form: score_and_gradient(score, photo) for form, score in scores.items()}
        if device == "cuda":
            forms |= {f"{form}, CUDA graph": captured(score, photo) for form, score in scores.items()}
        check(forms, exact)
        works |= forms
    medians = time_in_turns(works, device)
    plain = next(iter(medians.values()))
    where = torch.cuda.get_device_name() if device == "cuda" else "CPU, 2 threads"
    print(f"\nscore and gradient of {tuple(photo.shape)}, {where}, torch {torch.__version__}")
    for name, median in medians.items():
        print(f"{name:44s} {1000 * median:8.2f} ms   {plain / median:5.2f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: the CPU, and the GPU where there is one")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(2)
    for device in [options.device] if options.device else ["cpu", *["cuda"] * torch.cuda.is_available()]:
        compare(device)


if __name__ == "__main__":
    main()
