"""Scores recorded as CUDA graphs: what holds without a GPU; `gpu_recorded_agree.py` replays them on one."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lpie.critic.nima import NIMA
from lpie.fast import recorded_gpu as recorded


def score(a: Tensor, b: Tensor) -> Tensor:
    return (a.square() * b).sum((1, 2, 3))


def scored(a: Tensor, b: Tensor) -> Tensor:
    return recorded.scores(score, (a, b), score, ())


@pytest.fixture(autouse=True)
def no_gpu() -> Iterator[None]:
    """Calls are computed, and the fourth cannot be recorded."""
    with patch("torch.cuda.is_current_stream_capturing", return_value=False):
        yield


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    return torch.rand(2, 3, 4, 5, requires_grad=True), torch.rand(2, 3, 4, 5, requires_grad=True)


def test_gradients_found_with_the_score_are_those_of_the_plain_form(pair) -> None:
    for _ in range(5):
        first, upstream = scored(*pair), torch.tensor([0.3, -2.0])
    second = scored(pair[1], pair[0])  # before the first one's gradient is asked for
    expected = score(*pair)
    torch.testing.assert_close(first, expected)
    for found, other in ((first, expected), (second, score(pair[1], pair[0]))):
        for each, exact in zip(*(torch.autograd.grad(s, pair, upstream) for s in (found, other)), strict=True):
            torch.testing.assert_close(each, exact)


def test_gradient_is_differentiable(pair) -> None:
    seconds = []
    for form in (scored, score):
        (by_a,) = torch.autograd.grad(form(*pair).square().sum(), pair[0], create_graph=True)
        seconds += torch.autograd.grad(by_a.sum(), pair[1])
    torch.testing.assert_close(*seconds)


def serves(*photos: Tensor, owner: nn.Module | None = None) -> bool:
    return recorded._serves(photos) and recorded._tensors_of(owner) is not None


def test_what_a_recording_would_get_wrong_is_computed_plainly(pair) -> None:
    a, b = pair
    assert serves(a, b)
    assert not serves(a.detach(), b.detach())
    assert not serves(a.double())
    assert not serves(a.half()), "its gradient may need the factor of the loss"
    assert not serves(torch.rand(64, 3, 4, 5, requires_grad=True))
    with torch.no_grad():
        assert not serves(a, b)
    with patch("torch.is_autocast_enabled", return_value=True), patch("torch.get_autocast_dtype") as dtype:
        dtype.return_value = torch.float16
        assert not serves(a, b)
    with torch.autograd.graph.save_on_cpu():
        assert not serves(a, b)
    assert serves(a, b)


def test_only_a_frozen_critic_that_nobody_watches_is_recorded(pair) -> None:
    a, critic = pair[0], NIMA(input_size=32).freeze()
    assert serves(a, owner=critic)
    hook = critic.network.stem.register_forward_hook(lambda *_: None)
    assert not serves(a, owner=critic)
    hook.remove()
    critic.network.train()
    assert not serves(a, owner=critic)
    critic.network.eval()
    critic.network.fc.bias.requires_grad_()
    assert not serves(a, owner=critic)
    assert not serves(a, owner=NIMA(input_size=32).freeze().double())


def test_checkpointed_scores_find_the_same_gradient(pair) -> None:
    a = pair[0]
    found, expected = (
        torch.autograd.grad(s.sum(), a)[0] for s in (checkpoint(scored, *pair, use_reentrant=False), score(*pair))
    )
    torch.testing.assert_close(found, expected)


def test_nothing_of_a_recording_is_part_of_its_owner(pair) -> None:
    critic = NIMA(input_size=32).freeze()
    before = set(critic.state_dict()), set(vars(critic))
    recorded._kept[critic] = {}
    assert deepcopy(critic) not in recorded._kept
    assert (set(critic.state_dict()), set(vars(critic))) == before
    del critic
    assert not any(isinstance(owner, NIMA) for owner in recorded._kept)
