"""Speed of the shipped critics beside the AVA network in plain eager float32: score and gradient of photographs.

    python bench/nima.py    # one 512-px photo on 2 CPU cores; 16 crops of 256 px on a GPU, where there is one

It checks first that the gradients agree, and that a form gives the same bits twice. On a GPU a critic that is called
plainly replays a graph from its fourth call on; "CUDA graph" is one of the caller's, with nothing around it.

Forms are timed in turns within one run; the table gives the median, and how often each is as fast as the plain form.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeAlias

import torch
from timing import captured, in_turns, table
from torch import Tensor, nn
from torch.nn import functional as F

from lpie.critic.backbones import MobileNetV1
from lpie.critic.nima import NIMA, mean_score

REPEATS = 40
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
    return lambda: torch.autograd.grad(score(photo).sum(), photo)[0]


def check(works: dict[str, Callable[[], Tensor]], exact: str) -> None:
    """Say how far each form's gradient is from the float32 one, and whether two runs of it agree to the bit."""
    reference = works[exact]().clone()
    for name, work in works.items():
        first, second = work().clone(), work().clone()
        alike = F.cosine_similarity(first.flatten(), reference.flatten(), dim=0).item()
        twice = "the same bits twice" if torch.equal(first, second) else "OTHER BITS the second time"
        print(f"{name}: cosine with the float32 gradient {alike:.4f}, {twice}")


def compare(device: str, quick: bool) -> None:
    """Check and time every form on one device, and print the table; on a GPU each also as a CUDA graph."""
    photo = torch.rand((16, 3, 256, 256) if device == "cuda" else (1, 3, 512, 512), device=device)
    plain = plain_critic(device)
    works = {"AVA network, plain eager float32": score_and_gradient(plain, photo)}
    if device == "cuda" and not quick:
        works["AVA network, torch.compile float32"] = score_and_gradient(torch.compile(plain, dynamic=False), photo)
    if device == "cuda":
        works["AVA network, plain float32, CUDA graph"] = captured(works["AVA network, plain eager float32"])
    for name in CRITICS:
        critic = NIMA.from_pretrained(name).to(device)
        exact, half = (f"{name}, {critic.input_size} px, {precision}" for precision in ("float32", "bfloat16"))
        scores: dict[str, Score] = {exact: critic.mean_score}
        if device == "cuda":
            scores[half] = in_bfloat16(critic)
        forms = {form: score_and_gradient(score, photo) for form, score in scores.items()}
        if device == "cuda":
            forms |= {f"{form}, CUDA graph": captured(work) for form, work in forms.items()}
        check(forms, exact)
        works |= forms
    where = torch.cuda.get_device_name() if device == "cuda" else "CPU, 2 threads"
    work = f"\nscore and gradient of {tuple(photo.shape)}, {where}, torch {torch.__version__}"
    print(*table(work, in_turns(works, torch.device(device), REPEATS), {}), sep="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: the CPU, and the GPU where there is one")
    parser.add_argument("--quick", action="store_true", help="without torch.compile, which takes a minute on a GPU")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(2)
    for device in [options.device] if options.device else ["cpu", *["cuda"] * torch.cuda.is_available()]:
        compare(device, options.quick)


if __name__ == "__main__":
    main()
