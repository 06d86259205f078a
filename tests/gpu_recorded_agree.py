"""Compares recorded scores (`lpie.fast.recorded_gpu`) with computed ones where a recording could go wrong; needs a GPU.

Not collected by pytest: python tests/gpu_recorded_agree.py [CASE...] prints a line for each case, fails if one does.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lpie.critic.nima import NIMA
from lpie.fast import recorded_gpu as recorded
from lpie.losses.similarity import ms_ssim, plain_ms_ssim

GPU = torch.device("cuda")


def photos(count: int = 4, height: int = 96, width: int = 80) -> Tensor:
    return torch.rand(count, 3, height, width, device=GPU)


@contextmanager
def computed() -> Iterator[None]:
    """As in a first call: nothing is recorded or replayed."""
    with patch.object(recorded, "_results", lambda score, photos, *_: recorded._computed(score, photos)):
        yield


def scored(form: Callable[..., Tensor], *given: Tensor, upstream: Tensor | None = None) -> list[Tensor]:
    """Scores, and gradients by every photo."""
    leaves = [each.detach().clone().requires_grad_() for each in given]
    scores = form(*leaves)
    upstream = torch.linspace(0.3, -1.7, len(scores), device=GPU) if upstream is None else upstream
    return [scores.detach(), *torch.autograd.grad(scores, leaves, upstream)]


def equal(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def same(form: Callable[..., Tensor], *given: Tensor) -> None:
    """A call as it comes gives the same bits as a computed one."""
    found = scored(form, *given)
    with computed():
        expected = scored(form, *given)
    errors = [(a - b).abs().max().item() for a, b in zip(found, expected, strict=True)]
    assert equal(found, expected), f"other bits: {errors}"


def recordings(owner: object) -> int:
    return sum(isinstance(each, recorded._Recording) for each in recorded._kept.get(owner, {}).values())


def critic_with_recording() -> NIMA:
    critic = NIMA.from_pretrained("compact").to(GPU)
    for _ in range(5):
        scored(critic.mean_score, photos())
    assert recordings(critic) == 1
    return critic


def replays_are_the_same_bits() -> None:
    critic = critic_with_recording()
    for _ in range(3):
        same(critic.mean_score, photos())
    for _ in range(6):
        same(ms_ssim, photos(2, 176, 169), photos(2, 176, 169))
        same(partial(ms_ssim, b=photos(2, 176, 169)), photos(2, 176, 169))
    assert recordings(plain_ms_ssim) == 2


def close_to_the_plain_form() -> None:
    critic = critic_with_recording()
    for form, given in ((critic.mean_score, (photos(),)), (ms_ssim, (photos(2, 176, 169), photos(2, 176, 169)))):
        for _ in range(5):
            found = scored(form, *given)
        with patch.object(recorded, "_serves", return_value=False):
            expected = scored(form, *given)
        for each, exact in zip(found, expected, strict=True):
            torch.testing.assert_close(each, exact, rtol=1e-4, atol=2e-5 * exact.abs().max().item())


def several_calls_before_a_gradient() -> None:
    critic = critic_with_recording()
    first, second = photos().requires_grad_(), photos().requires_grad_()
    loss = (
        critic.mean_score(first).sum() - 2 * critic.mean_score(second).sum() + critic.mean_score(first).square().sum()
    )
    critic.mean_score(photos().requires_grad_())
    found = torch.autograd.grad(loss, (first, second), retain_graph=True)
    again = torch.autograd.grad(loss, (first, second))
    with computed():
        loss = critic.mean_score(first).sum() - 2 * critic.mean_score(second).sum()
        expected = torch.autograd.grad(loss + critic.mean_score(first).square().sum(), (first, second))
    assert equal(found, expected)
    assert equal(found, again)


def second_derivative() -> None:
    critic, seconds = critic_with_recording(), []
    photo = photos().requires_grad_()
    for serves in (recorded._serves, lambda _: False):
        with patch.object(recorded, "_serves", serves):
            (gradient,) = torch.autograd.grad(critic.mean_score(photo).square().sum(), photo, create_graph=True)
            seconds += torch.autograd.grad(gradient.square().sum(), photo)
    error = (seconds[0] - seconds[1]).norm() / seconds[1].norm()
    assert error < 0.02, error.item()


def weights_changed_or_moved() -> None:
    critic = critic_with_recording()
    with torch.no_grad():
        critic.network.fc.weight.mul_(0.5)
        critic.network.blocks[3].pw.weight.mul_(1.1)
    assert recordings(critic) == 1
    same(critic.mean_score, photos())
    other = NIMA.from_pretrained("compact")
    critic.network.load_state_dict(other.network.state_dict())
    same(critic.mean_score, photos())
    critic.to("cpu").to(GPU)
    filler = torch.full((50_000_000,), 7.0, device=GPU)  # where the weights were
    for _ in range(6):
        same(critic.mean_score, photos())
    critic.half().float()
    for _ in range(6):
        same(critic.mean_score, photos())
    critic.network.fc.weight.requires_grad_()
    assert torch.autograd.grad(critic.mean_score(photos()).sum(), critic.network.fc.weight)[0].abs().sum() > 0
    critic.network.fc.weight.requires_grad_(False)
    critic.network.fc.weight.data = critic.network.fc.weight.data * 2
    same(critic.mean_score, photos())
    critic.network.fc = torch.nn.Linear(1024, 10, device=GPU).requires_grad_(False).eval()
    same(critic.mean_score, photos())
    assert filler[0] == 7


def settings_changed() -> None:
    critic = critic_with_recording()
    torch.backends.cuda.matmul.allow_tf32 = True
    for _ in range(6):
        same(critic.mean_score, photos())
    torch.backends.cuda.matmul.allow_tf32 = False
    same(critic.mean_score, photos())
    critic.input_size = 128
    for _ in range(6):
        same(critic.mean_score, photos())
    critic.convention = "published"  # which copies from the host, and cannot be recorded
    for _ in range(8):
        same(critic.mean_score, photos())
    assert recordings(critic) <= recorded.KEPT
    seen: list[object] = []
    critic.network.blocks[0].register_forward_hook(lambda *_: seen.append(1))
    scored(critic.mean_score, photos())
    assert seen


def unrecordable_scores() -> None:
    critic = NIMA.from_pretrained("compact", "published").to(GPU)
    for _ in range(8):
        same(critic.mean_score, photos())
    assert recordings(critic) == 0
    assert recorded._kept[critic]
    critic.convention = "antialiased"
    for _ in range(8):
        same(critic.mean_score, photos())
    assert recordings(critic) == 1


def autocast() -> None:
    critic = critic_with_recording()
    for dtype, count in ((torch.bfloat16, 2), (torch.float16, 2)):
        with torch.autocast("cuda", dtype):
            for _ in range(6):
                same(critic.mean_score, photos())
                same(ms_ssim, photos(2, 176, 169), photos(2, 176, 169))
        assert recordings(critic) == count
    same(critic.mean_score, photos())


def without_gradient() -> None:
    critic, photo = critic_with_recording(), photos()
    expected = critic.mean_score(photo)
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            torch.testing.assert_close(critic.mean_score(photo.clone().requires_grad_()), expected)
    assert not expected.requires_grad


def many_shapes() -> None:
    critic = NIMA.from_pretrained("robust").to(GPU)
    for size in (64, 80, 96, 112):
        for _ in range(6):
            same(critic.mean_score, photos(2, size, size + 4))
    assert recordings(critic) == recorded.KEPT
    for shape in ((1, 64, 68), (5, 64, 68), (2, 64, 68)):
        same(critic.mean_score, photos(*shape))
    strided = photos(2, 64, 68).contiguous(memory_format=torch.channels_last)
    for _ in range(6):
        same(critic.mean_score, strided)
        same(critic.mean_score, photos(2, 64, 68))


def other_streams() -> None:
    critic, given = critic_with_recording(), [photos() for _ in range(12)]
    with computed():
        expected = [scored(critic.mean_score, each) for each in given]
    streams = [torch.cuda.Stream() for _ in range(3)]
    busy = torch.rand(4096, 4096, device=GPU)
    torch.cuda.synchronize()
    found = []
    for place, each in enumerate(given):
        with torch.cuda.stream(streams[place % 3]):
            if place % 3 == 0:
                busy @ busy
            found.append(scored(critic.mean_score, each))
    torch.cuda.synchronize()
    assert all(map(equal, found, expected))


def threads() -> None:
    critic, given = NIMA.from_pretrained("compact").to(GPU), [[photos() for _ in range(20)] for _ in range(4)]
    with computed():
        expected = [[scored(critic.mean_score, each) for each in some] for some in given]
    found: list[list[list[Tensor]]] = [[] for _ in given]

    def work(place: int) -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            found[place] = [scored(critic.mean_score, each) for each in given[place]]
            torch.cuda.current_stream().synchronize()

    torch.cuda.synchronize()
    workers = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    assert all(len(some) == 20 for some in found)
    assert all(equal(*pair) for some in zip(found, expected, strict=True) for pair in zip(*some, strict=True))
    assert recordings(critic) == 1


def within_another_capture() -> None:
    critic, photo = critic_with_recording(), photos().requires_grad_()
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(5):
            torch.autograd.grad(critic.mean_score(photo).sum(), photo)
    torch.cuda.synchronize()
    with torch.cuda.graph(graph, stream=stream):
        scores = critic.mean_score(photo)
        (gradient,) = torch.autograd.grad(scores.sum(), photo)
    for _ in range(2):
        other = photos()
        with torch.no_grad():
            photo.copy_(other)
        same(critic.mean_score, photos())
        graph.replay()
        with computed():
            expected = scored(critic.mean_score, other, upstream=torch.ones(4, device=GPU))
        assert equal((scores, gradient), expected)


def compiled() -> None:
    critic = critic_with_recording()
    form = torch.compile(lambda photo: critic.mean_score(photo) * 2, backend="eager")
    photo = photos()
    for _ in range(5):
        found = scored(form, photo)
    expected = scored(lambda photo: critic.mean_score(photo) * 2, photo)
    assert (found[0] - expected[0]).abs().max() < 1e-2
    assert torch.nn.functional.cosine_similarity(found[1].flatten(), expected[1].flatten(), 0) > 0.98


def checkpointed() -> None:
    critic = critic_with_recording()
    for reentrant in [False] * 6 + [True] * 6:
        photo = photos().requires_grad_()
        checkpoint(critic.mean_score, photo, use_reentrant=reentrant).sum().backward()
        _, exact = scored(critic.mean_score, photo, upstream=torch.ones(4, device=GPU))
        torch.testing.assert_close(photo.grad, exact, rtol=1e-4, atol=2e-5 * exact.abs().max().item())


def copied() -> None:
    critic = critic_with_recording()
    twin = deepcopy(critic)
    assert twin not in recorded._kept
    assert set(twin.state_dict()) == set(critic.state_dict())
    with torch.no_grad():
        twin.network.fc.weight.mul_(0.5)
    for _ in range(6):
        same(twin.mean_score, photos())
        same(critic.mean_score, photos())


def deleted_at_work() -> None:
    for _ in range(4):
        critic, photo = critic_with_recording(), photos()
        with computed():
            expected = scored(critic.mean_score, photo)
        torch.cuda.synchronize()
        with torch.cuda.stream(torch.cuda.Stream()):
            found = scored(critic.mean_score, photo)
        del critic
        gc.collect()
        torch.full((100_000_000,), 7.0, device=GPU)
        torch.cuda.synchronize()
        assert equal(found, expected)
    assert not any(isinstance(owner, NIMA) for owner in recorded._kept)


def memory() -> None:
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    critic, photo = NIMA.from_pretrained("compact").to(GPU), photos(16, 256, 256)
    for _ in range(3):
        scored(critic.mean_score, photo)
    torch.cuda.empty_cache()
    plain = torch.cuda.memory_reserved()
    for _ in range(3):
        scored(critic.mean_score, photo)
    torch.cuda.empty_cache()
    kept = torch.cuda.memory_reserved()
    del critic
    gc.collect()
    torch.cuda.empty_cache()
    print(f"  MiB reserved: {[round(each / 2**20) for each in (before, plain, kept, torch.cuda.memory_reserved())]}")


CASES = [
    replays_are_the_same_bits, close_to_the_plain_form, several_calls_before_a_gradient, second_derivative,
    weights_changed_or_moved, settings_changed, unrecordable_scores, autocast, without_gradient, many_shapes,
    other_streams, threads, within_another_capture, compiled, checkpointed, copied, deleted_at_work, memory,
]  # fmt: skip

if __name__ == "__main__":
    failed = 0
    for case in CASES:
        if not sys.argv[1:] or case.__name__ in sys.argv[1:]:
            torch.manual_seed(0)
            began = time.perf_counter()
            try:
                case()
                torch.cuda.synchronize()
                told = "pass"
            except Exception:
                failed, told = failed + 1, f"FAIL\n{traceback.format_exc()}"
            print(f"{case.__name__}: {told}, {time.perf_counter() - began:.1f} s", flush=True)
    sys.exit(failed > 0)
