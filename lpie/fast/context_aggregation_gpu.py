"""The context aggregation network on a GPU, in half precision: features cross the memory once each way a layer.

The plain form in `context_aggregation.py` is the definition; this is the same computation, arranged for speed.
Features are float16, gradients bfloat16: with eight bits instead of eleven, features put outputs off by 2/255 to 7/255.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from lpie.fast import context_aggregation_kernels as kernels

LARGEST = 2**31  # elements of one photo's features, which 32-bit offsets reach
WIDEST = 32  # channels that a tile holds without spilling registers
COLUMNS, PROGRAMS, WARPS = 64, 4, 4  # forward: px of a strip, 16 a warp; programs a multiprocessor; warps
FIRST_STAGES, STAGES = 3, 1  # pipeline stages of the first layer and of the others
REGISTERS = 128  # of a thread: as many programs as fill a multiprocessor
INPUT_PIXELS, INPUT_PROGRAMS, INPUT_WARPS, INPUT_STAGES = 256, 8, 8, 3  # tiles of the gradient of a layer's input
GRADIENT_PIXELS, GRADIENT_PROGRAMS, GRADIENT_WARPS = 128, 4, 4  # tiles of the gradient of the weights
BLOCK, GRADIENT_BLOCK = 1024, 64  # partial results that the normalization and its gradient read at once


class Weights(NamedTuple):
    """The network's parameters as the kernels read them: C is the width rounded up to a power of two."""

    first: Tensor  # (27, C): tap by tap, then color by color
    inner: Tensor  # (layers - 1, 9, C in, C out)
    w0: Tensor  # (layers)
    w1: Tensor  # (layers)
    offset: Tensor  # (layers, C)
    last: Tensor  # (3, C)
    bias: Tensor  # (3)


def pack(convolutions: Sequence[Tensor], normalizations: Sequence[Any], last: Tensor, bias: Tensor) -> Weights:
    """The parameters of `ContextAggregationNetwork`, padded with zeros; differentiable."""
    width = last.shape[1]
    padding = max(16, triton.next_power_of_2(width)) - width
    inner = torch.stack(list(convolutions[1:])) if len(convolutions) > 1 else last.new_zeros(0, width, width, 3, 3)
    return Weights(
        first=F.pad(convolutions[0].permute(2, 3, 1, 0).reshape(27, width), (0, padding)).contiguous(),
        inner=F.pad(inner.permute(0, 3, 4, 2, 1).reshape(-1, 9, width, width), (0, padding, 0, padding)).contiguous(),
        w0=torch.stack([each.w0 for each in normalizations]),
        w1=torch.stack([each.w1 for each in normalizations]),
        offset=F.pad(torch.stack([each.offset for each in normalizations]), (0, padding)),
        last=F.pad(last.reshape(3, width), (0, padding)).contiguous(),
        bias=bias,
    )


def fits(photo: Tensor, width: int) -> bool:
    """Whether the kernels take these photos and this width, on this GPU (Ampere or later, which has bfloat16)."""
    if photo.is_cuda and torch.cuda.get_device_capability(photo.device)[0] < 8:
        return False
    height, columns = photo.shape[-2:]
    return width <= WIDEST and height * columns * max(16, triton.next_power_of_2(width)) < LARGEST


def enhance(photo: Tensor, weights: Weights, dilations: tuple[int, ...], precision: torch.dtype, clip: bool) -> Tensor:
    """The enhanced photo, float32; features are held in `precision`. No gradient."""
    with torch.no_grad(), torch.cuda.device_of(photo):
        return _Pass(photo, weights, dilations, precision, keep=False).output(clip)


def enhance_with_gradient(
    photo: Tensor, weights: Weights, dilations: tuple[int, ...], precision: torch.dtype
) -> Tensor:
    """The enhanced photo, float32 and unclipped, with a gradient for `weights` but none for `photo`."""
    return _Enhance.apply(photo, dilations, precision, *weights)


class _Enhance(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, photo: Tensor, dilations: tuple[int, ...], precision: torch.dtype, *weights: Tensor
    ) -> Tensor:
        with torch.cuda.device_of(photo):
            forward = _Pass(photo, Weights(*weights), dilations, precision, keep=True)
            ctx.save_for_backward(photo, *weights, forward.features, forward.normalization)
            ctx.settings = dilations, precision
            return forward.output(clip=False)

    @staticmethod
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise NotImplementedError(
                "A context aggregation network has no second derivatives in half precision on a GPU: leave autocast, "
                "or call network.plain(photo)."
            )
        photo, *weights, features, normalization = ctx.saved_tensors
        dilations, precision = ctx.settings
        with torch.cuda.device_of(photo):
            gradient = _gradient(
                output_gradient, photo, Weights(*weights), dilations, precision, features, normalization
            )
        return None, None, None, *gradient


class _Pass:
    """One forward pass: raw features of each layer (the last two where not kept) and their normalization."""

    def __init__(
        self, photo: Tensor, weights: Weights, dilations: tuple[int, ...], precision: torch.dtype, keep: bool
    ) -> None:
        self.photo, self.weights = photo, weights
        count, _, height, width = photo.shape
        channels = weights.last.shape[1]
        layers = len(dilations)
        self.features = photo.new_empty(layers if keep else 2, count, height, width, channels, dtype=precision)
        self.normalization = photo.new_empty(4, layers, count, channels, dtype=torch.float32)
        inner = weights.inner.to(precision)
        for layer, dilation in enumerate(dilations):
            grid, rows = _strips(photo, dilation)
            programs = grid[0]
            counts = photo.new_empty(count, programs, dtype=torch.float32)
            means, squares = photo.new_empty(2, count, channels, programs, dtype=torch.float32)
            out = self.features[layer % len(self.features)]
            size = (height, width, dilation, rows)
            shape: dict[str, Any] = {"C": channels, "COLUMNS": COLUMNS, "WARPS": WARPS, "num_warps": WARPS}
            if layer == 0:
                kernels.first_layer[grid](
                    photo, weights.first, out, counts, means, squares, *size, *photo.stride(), **shape,
                    num_stages=FIRST_STAGES,
                )  # fmt: skip
            else:
                source = self.features[(layer - 1) % len(self.features)]
                scale, shift = self.normalization[2:, layer - 1]
                kernels.inner_layer[grid](
                    source, scale, shift, inner[layer - 1], out, counts, means, squares, *size,
                    PRECISION="tf32x3", **shape, num_stages=STAGES, maxnreg=REGISTERS,
                )  # fmt: skip
            kernels.normalization[(count, channels)](
                counts, means, squares, weights.w0[layer], weights.w1[layer], weights.offset[layer],
                *self.normalization[:, layer], programs, height * width, C=channels, BLOCK=BLOCK,
            )  # fmt: skip

    def output(self, clip: bool) -> Tensor:
        """The enhanced photo."""
        count, _, height, width = self.photo.shape
        layers = self.normalization.shape[1]
        out = self.photo.new_empty(self.photo.shape, dtype=torch.float32)
        columns = min(128, triton.next_power_of_2(max(width, 16)))
        tiles = triton.cdiv(width, columns) * height
        kernels.last_layer[(tiles, count)](
            self.features[(layers - 1) % len(self.features)], *self.normalization[2:, -1], self.weights.last,
            self.weights.bias, out, height, width, tiles, *out.stride(),
            C=self.weights.last.shape[1], COLUMNS=columns, CLIP=clip,
        )  # fmt: skip
        return out


def _gradient(
    output_gradient: Tensor, photo: Tensor, weights: Weights, dilations: tuple[int, ...], precision: torch.dtype,
    features: Tensor, normalization: Tensor,
) -> Weights:  # fmt: skip
    """Gradients of the weights, given that of the output."""
    layers, count, height, width, channels = features.shape
    # bfloat16 holds the small gradients of a mean over millions of pixels, which float16 would flush to zero
    kind = torch.bfloat16 if precision == torch.float16 else precision
    mean, inverse, scale, shift = normalization
    gradient, raw_gradient = torch.empty(2, *features.shape[1:], dtype=kind, device=photo.device)
    totals = normalization.new_empty(layers, 2, count, channels)
    by_z, constant = normalization.new_empty(2, count, channels)
    backward_weights = weights.inner.flip(1).mT.contiguous().to(kind)
    inner_gradient = torch.empty_like(weights.inner)

    grid, shape = _tiles(photo, 1, INPUT_PIXELS // 2, INPUT_PROGRAMS, rows=1)
    sums = normalization.new_empty(count, grid[0], 2, channels)
    last_sums = normalization.new_empty(count, grid[0], 3, channels)
    bias_sums = normalization.new_empty(count, grid[0], 3)
    kernels.last_layer_gradient[grid](
        output_gradient, features[-1], scale[-1], shift[-1], mean[-1], weights.last, gradient, sums, last_sums,
        bias_sums, height, width, shape["tiles"], *output_gradient.stride(), C=channels, COLUMNS=shape["COLUMNS"],
    )  # fmt: skip
    for layer in reversed(range(layers)):
        kernels.normalization_gradient[(count,)](
            sums, mean[layer], inverse[layer], weights.w1[layer], totals[layer], by_z, constant, sums.shape[1],
            height * width, C=channels, BLOCK=GRADIENT_BLOCK,
        )  # fmt: skip
        dilation = dilations[layer]
        grid, shape = _tiles(photo, dilation, GRADIENT_PIXELS, GRADIENT_PROGRAMS)
        size = (height, width, dilation, shape.pop("tiles"))
        here = (gradient, features[layer], scale[layer], by_z, constant)
        if layer == 0:
            partial = normalization.new_empty(count * grid[0], 32, channels)
            kernels.first_weight_gradient[grid](
                *here, photo, partial, *size, *photo.stride(), C=channels, **shape, num_warps=GRADIENT_WARPS
            )
            first_gradient = partial.sum(0)[:27]
            break
        partial = normalization.new_empty(count * grid[0], 9, channels, channels)
        kernels.inner_weight_gradient[(*grid, 3)](
            *here, features[layer - 1], scale[layer - 1], shift[layer - 1], raw_gradient, partial, *size,
            C=channels, **shape, num_warps=GRADIENT_WARPS, num_stages=1,
        )  # fmt: skip
        torch.sum(partial, 0, out=inner_gradient[layer - 1])
        grid, shape = _tiles(photo, dilation, INPUT_PIXELS, INPUT_PROGRAMS)
        sums = normalization.new_empty(count, grid[0], 2, channels)
        kernels.inner_input_gradient[grid](
            raw_gradient, backward_weights[layer - 1], features[layer - 1], scale[layer - 1], shift[layer - 1],
            mean[layer - 1], gradient, sums, *size[:3], shape.pop("tiles"), C=channels, **shape,
            num_warps=INPUT_WARPS, num_stages=INPUT_STAGES,
        )  # fmt: skip
    plain, centered = totals.unbind(1)  # sums of gy and of gy (z - mean), each (layers, photos, C)
    return Weights(
        first=first_gradient,
        inner=inner_gradient,
        w0=(centered + mean * plain).sum((1, 2)),
        w1=(centered * inverse + weights.offset[:, None] * plain).sum((1, 2)),
        offset=weights.w1[:, None] * plain.sum(1),
        last=last_sums.sum((0, 1)),
        bias=bias_sums.sum((0, 1)),
    )


def _strips(photo: Tensor, dilation: int) -> tuple[tuple[int, int], int]:
    """The grid (programs for each photo, photos) of the forward layers, and the rows of each program's strip."""
    count, _, height, width = photo.shape
    across = triton.cdiv(width, COLUMNS) * min(dilation, height)
    longest = triton.cdiv(height, dilation)
    wanted = max(1, PROGRAMS * _multiprocessors(photo.device) // (count * across))
    rows = triton.cdiv(longest, min(wanted, triton.cdiv(longest, 8)))  # fewer than 8: too much is read twice
    return (across * triton.cdiv(longest, rows), count), rows


def _tiles(
    photo: Tensor, dilation: int, pixels: int, programs: int, rows: int = 0
) -> tuple[tuple[int, int], dict[str, int]]:
    """The grid (programs for each photo, photos) and the tiles of each photo: their number, rows and columns."""
    count, _, height, width = photo.shape
    rows = rows or (4 if dilation <= 16 else 2 if dilation <= 32 else 1)
    columns = pixels // rows
    tiles = triton.cdiv(height, rows * dilation) * dilation * triton.cdiv(width, columns)
    together = max(1, programs * _multiprocessors(photo.device) // count)
    return (min(tiles, together), count), {"tiles": tiles, "ROWS": rows, "COLUMNS": columns}


@lru_cache(maxsize=8)
def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
