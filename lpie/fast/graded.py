"""Numbers that are found together with their gradients, as torch's autograd takes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor

Found: TypeAlias = Sequence[Tensor | None]


def graded(plain: Callable[..., Tensor], find: Callable[..., Found], *inputs: Tensor) -> Tensor:
    """`plain(*inputs)`, (N,), one number for each plane or photo of the inputs.

    `find(*wanted)`: the numbers, and the gradient of their sum by each of the inputs, or None where it is not wanted.
    """
    return cast(Tensor, _Graded.apply(plain, find, *inputs))


def mean_terms_by(find: Callable[..., Found], a: Tensor, b: Tensor, with_luminance: bool, plain: Any) -> Tensor:
    """`plain(a, b, with_luminance)` by `find` of a kernel of similarity, with the gradients that are wanted."""
    return graded(partial(plain, with_luminance=with_luminance), partial(find, a, b, with_luminance), a, b)


class _Graded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plain: Callable[..., Tensor], find: Callable[..., Found], *inputs: Tensor) -> Any:
        numbers, *gradients = find(*ctx.needs_input_grad[2:])
        ctx.plain = plain
        ctx.save_for_backward(*inputs, *gradients)
        return numbers

    @staticmethod
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[2:]
        inputs, gradients = ctx.saved_tensors[: len(wanted)], ctx.saved_tensors[len(wanted) :]
        if torch.is_grad_enabled():  # this gradient will be differentiated again
            return None, None, *gradient_of_plain(ctx.plain, inputs, wanted, output_gradient)
        factor = output_gradient.view(-1, *[1] * (inputs[0].ndim - 1))
        return None, None, *(each if each is None else each * factor for each in gradients)


def gradient_of_plain(
    plain: Callable[..., Tensor], inputs: Sequence[Any], wanted: Sequence[bool], output_gradient: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradient of `plain(*inputs)`, itself differentiable: what a kernel's backward returns where its gradient
    will be differentiated again, which kernels cannot do."""
    asked = [each for each, needed in zip(inputs, wanted, strict=True) if needed]
    found = iter(torch.autograd.grad(plain(*inputs), asked, output_gradient, create_graph=True, materialize_grads=True))
    return tuple(next(found) if needed else None for needed in wanted)
