"""Scores of a few photos on a GPU, whose launches take longer than their work: a CUDA graph, recorded and replayed.

A recording holds a score and its gradient with the memory of both passes (NIMA of 16 photos: 0.5 GB), until its owner
is deleted, scores with other tensors, or has scored other kinds of photos; `KEPT = 0` records nothing. What a replay
leaves there is copied at once, so that the next one overwrites nothing that is still wanted. What a recording would
get wrong is computed plainly: weights that train, hooks, a loss scaled for float16, checkpointing, another capture.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from threading import Lock
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from lpie.fast.graded import Found, graded

KEPT = 3  # kinds of calls of an owner, the latest; with 0 nothing is recorded
EAGERLY = 3  # calls of a kind before it is recorded, which takes as long as a hundred of them
LARGEST, MOST = 2**22, 32  # elements and photos of a batch: with more, the work takes longer than its launches

Score: TypeAlias = Callable[..., Tensor]

_kept: WeakKeyDictionary[Any, dict[Hashable, _Recording | int]] = WeakKeyDictionary()
_lock = Lock()


def scores(score: Score, photos: tuple[Tensor, ...], owner: Any, settings: Hashable) -> Tensor:
    """`score(*photos)`, (N,), the score of each photo of a batch on its own.

    It may depend on the parameters and buffers of the `owner`, if that is a module, and on `settings`. Computed plainly
    unless it is a small frozen float32 score whose gradient is wanted.
    """
    results = _results(score, photos, owner, settings) if _serves(photos) else None
    return score(*photos) if results is None else graded(score, lambda *_: results, *photos)


def _serves(photos: Sequence[Tensor]) -> bool:
    """Whether a gradient of float32 photos is wanted; one in float16 may need the factor that its loss comes with."""
    if not torch.is_grad_enabled() or not any(each.requires_grad for each in photos):
        return False
    if torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda") != torch.bfloat16:
        return False
    if any(type(each) not in (Tensor, nn.Parameter) or each.dtype != torch.float32 for each in photos):
        return False
    if photos[0].ndim != 4 or photos[0].numel() > LARGEST or len(photos[0]) > MOST:
        return False
    with suppress(RuntimeError), torch.autograd.graph.disable_saved_tensors_hooks("raises where there are any"):
        return True
    return False


def _tensors_of(owner: Any) -> list[Tensor] | None:
    """All that a frozen float32 module computes with; None if it trains or hooks wait for a call."""
    used: list[Tensor] = []
    modules = [owner] if isinstance(owner, nn.Module) else []
    while modules:
        module = modules.pop()
        hooks = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks
        if module.training or any(hooks):
            return None
        used += [each for each in (*module._parameters.values(), *module._buffers.values()) if each is not None]
        modules += [each for each in module._modules.values() if each is not None]
    return None if any(each.requires_grad or each.dtype != torch.float32 for each in used) else used


@torch.no_grad()
def _results(score: Score, photos: tuple[Tensor, ...], owner: Any, settings: Hashable) -> Found | None:
    """The scores and the gradients of their sum, by a replay or computed: the same bits. None if the owner trains."""
    with torch.cuda.device_of(photos[0]):
        if torch.cuda.is_current_stream_capturing() or not _lock.acquire(blocking=False):
            return None if _tensors_of(owner) is None else _computed(score, photos)
        try:
            matmul, recordings = torch.backends.cuda.matmul, _kept.setdefault(owner, {})
            kind = (
                settings, torch.is_autocast_enabled("cuda"), matmul.allow_bf16_reduced_precision_reduction,
                getattr(matmul, "fp32_precision", "") or matmul.allow_tf32,
                *((each.shape, each.stride(), each.device, each.requires_grad) for each in photos),
            )  # fmt: skip
            found = recordings.pop(kind, 0)
            results = None if isinstance(found, int) else found.replay(photos)
            used = _tensors_of(owner)  # and whether these were recorded: looked at while the GPU is at work
            if used is None:
                return None
            if not isinstance(found, int) and not found.used(used):
                found, results = 0, None
            if results is None:
                results = _computed(score, photos)
                if found == EAGERLY:
                    with suppress(RuntimeError):  # what cannot be recorded is computed from now on
                        found = _Recording(score, photos, used)
            recordings[kind] = found + 1 if isinstance(found, int) else found
            while len(recordings) > KEPT:
                del recordings[next(iter(recordings))]  # the one that was used longest ago
            return results
        finally:
            _lock.release()


def _computed(score: Score, photos: Sequence[Tensor]) -> Found:
    with torch.enable_grad():
        photos = [each.detach().requires_grad_(each.requires_grad) for each in photos]
        results = score(*photos)
        gradients = iter(torch.autograd.grad(results.sum(), [each for each in photos if each.requires_grad]))
    return [results.detach(), *(next(gradients) if each.requires_grad else None for each in photos)]


class _Recording:
    """All of it lies in the graph's own memory, which nothing else is given while the GPU may still be at it."""

    def __init__(self, score: Score, photos: Sequence[Tensor], used: Sequence[Tensor]) -> None:
        self.graph, self.done = torch.cuda.CUDAGraph(), torch.cuda.Event()
        self.tensors = [each.detach() for each in used]  # kept, so that nothing else is given their memory
        with torch.cuda.graph(self.graph, stream=torch.cuda.Stream(), capture_error_mode="thread_local"):
            self.photos = [torch.empty_like(each).requires_grad_(each.requires_grad) for each in photos]
            self.results = _computed(score, self.photos)

    def used(self, tensors: Sequence[Tensor]) -> bool:
        """Whether it computes with these, where they are."""
        return len(tensors) == len(self.tensors) and all(map(Tensor.is_set_to, tensors, self.tensors))

    def replay(self, photos: tuple[Tensor, ...]) -> Found:
        self.done.wait()  # for the replay before, which may run on another stream
        torch._foreach_copy_(self.photos, photos)
        self.graph.replay()
        results = [each if each is None else each.clone() for each in self.results]
        self.done.record()
        return results
