"""A frozen MobileNet-v1 on a GPU: the means of its features, and their gradient with respect to the square.

Layers and padding are those of `lpie.critic.backbones.MobileNetV1`, which is the definition. Features lie as (N, H, W,
C), so that a pointwise convolution is one matrix product; what it leaves, a kernel clips (ReLU6), convolves, and clips
again. Sums are float32 and in a fixed order, so that equal inputs give equal bytes. In float32 nothing is rounded to
TF32, as cuDNN's convolutions do, unless `torch.backends.cuda.matmul.allow_tf32` is set.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any, cast

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

from lpie.fast.graded import gradient_of_plain

LARGEST = 2**31 // 8  # elements of squares: features, up to six times as many, have 32-bit offsets
PIXELS, CHANNELS = 32, 32  # of a program
STEM_PIXELS, STEM_CHANNELS = 64, tl.constexpr(32)
SIX = tl.constexpr(6.0)


def fits(network: Any, square: Tensor) -> bool:
    """Whether the kernels can stand in for this network: float32, nothing in it trains, no hook waits for a layer."""
    if network.training or square.dtype != torch.float32 or square.numel() > LARGEST:
        return False
    trains = torch.is_grad_enabled()
    if any(each.dtype != torch.float32 or (trains and each.requires_grad) for each in network.parameters()):
        return False
    return not any(each._forward_hooks or each._forward_pre_hooks or each._backward_hooks for each in network.modules())


def means(network: Any, square: Tensor) -> Tensor:
    """`network.maps(square).mean((2, 3))`, float32; features are held in what autocast asks for, else in float32."""
    dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else torch.float32
    return cast(Tensor, _Means.apply(square, network, dtype))


class _Means(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, square: Tensor, network: Any, dtype: torch.dtype) -> Tensor:
        planes = square.contiguous()
        count, _, height, width = square.shape
        kept: list[Tensor] = []
        with torch.cuda.device_of(square), torch.autocast("cuda", enabled=False):
            raw = square.new_empty(count, height // 2, width // 2, STEM_CHANNELS.value, dtype=dtype)
            pixels = raw[..., 0].numel()
            stem = network.stem
            _stem[(triton.cdiv(pixels, STEM_PIXELS),)](
                planes, stem.weight, stem.bias, raw, pixels, height, width, PIXELS=STEM_PIXELS
            )
            for block in network.blocks:
                stride, channels = block.dw.stride[0], raw.shape[3]
                out = raw.new_empty(count, raw.shape[1] // stride, raw.shape[2] // stride, channels)
                pixels = out[..., 0].numel()
                _depthwise[triton.cdiv(pixels, PIXELS), channels // CHANNELS](
                    raw, block.dw.weight, block.dw.bias, out, pixels, *raw.shape[1:3], *out.shape[1:3], channels,
                    STRIDE=stride, PIXELS=PIXELS, CHANNELS=CHANNELS,
                )  # fmt: skip
                pointwise = block.pw.weight[:, :, 0, 0].to(dtype)
                kept += [raw, out, block.dw.weight, pointwise]
                raw = F.linear(out, pointwise, block.pw.bias.to(dtype))
        ctx.save_for_backward(square, stem.weight, raw, *kept)
        ctx.network = network
        return raw.float().clamp(0, 6).mean((1, 2))

    @staticmethod
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor | None, ...]:
        square, stem, raw, *kept = ctx.saved_tensors
        if torch.is_grad_enabled():  # this gradient will be differentiated again
            maps = ctx.network.maps
            return *gradient_of_plain(lambda x: maps(x).mean((2, 3)), (square,), (True,), output_gradient), None, None
        with torch.cuda.device_of(raw), torch.autocast("cuda", enabled=False):
            share = output_gradient / raw[0, :, :, 0].numel()
            by_raw = torch.where((raw > 0) & (raw < 6), share[:, None, None].to(raw.dtype), 0)
            while kept:
                *kept, raw, out, depthwise, pointwise = kept
                by_out = by_raw @ pointwise
                by_raw = torch.empty_like(raw)
                stride, channels = 1 if raw.shape == out.shape else 2, raw.shape[3]
                pixels = len(raw) * triton.cdiv(raw.shape[1], stride) * triton.cdiv(raw.shape[2], stride)
                _gradient[triton.cdiv(pixels, PIXELS), channels // CHANNELS](
                    by_out, out, raw, depthwise, by_raw, pixels, *raw.shape[1:3], *out.shape[1:3], channels,
                    STRIDE=stride, PIXELS=PIXELS, CHANNELS=CHANNELS,
                )  # fmt: skip
            by_square = torch.empty(square.shape, dtype=torch.float32, device=square.device)
            count, _, height, width = square.shape
            pixels = count * triton.cdiv(height, 2) * triton.cdiv(width, 2)
            _stem_gradient[(triton.cdiv(pixels, STEM_PIXELS),)](
                by_raw, stem, by_square, pixels, height, width, PIXELS=STEM_PIXELS
            )
        return by_square, None, None


@triton.jit
def _clip(value):
    return tl.minimum(tl.maximum(value, 0.0), SIX)


@triton.jit
def _if_passed(value, gradient):
    """A gradient by ReLU6's output, made one by its input; `value` is either of them."""
    return tl.where((value > 0.0) & (value < SIX), gradient, 0.0)


@triton.jit
def _tile(PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
    """The pixels and channels of a program."""
    return tl.program_id(0) * PIXELS + tl.arange(0, PIXELS), tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)


@triton.jit
def _place(pixel, height, width):
    """Photo, row and column of a pixel."""
    row = pixel // width
    return row // height, row % height, pixel % width


@triton.jit
def _tap(features, n, y, x, height, width, channel, channels, inside):
    """Features (N, height, width, C) at places of which some are beyond them: their values, 0 there, and where."""
    there = (inside & (y >= 0) & (y < height) & (x >= 0) & (x < width))[:, None]
    at = ((n * height + y) * width + x)[:, None] * channels + channel[None, :]
    return tl.load(features + at, there, 0.0).to(tl.float32), at, there


@triton.jit
def _passed_tap(gradient, out, n, y, x, height, width, channel, channels, inside):
    """A gradient by the clipped `out`, made one by what was clipped."""
    given, at, there = _tap(gradient, n, y, x, height, width, channel, channels, inside)
    return _if_passed(tl.load(out + at, there, 0.0).to(tl.float32), given)


@triton.jit
def _store_passed(gradient, features, by_features, at, inside):
    raw = tl.load(features + at, inside, 0.0).to(tl.float32)
    tl.store(by_features + at, _if_passed(raw, gradient).to(by_features.dtype.element_ty), inside)


@triton.jit
def _spread(here, left, above, corner, taps):
    """What four windows of stride 2 give the pixels (2y, 2x), (2y, 2x + 1), (2y + 1, 2x), (2y + 1, 2x + 1)."""
    first = here * tl.load(taps)[None, :] + left * tl.load(taps + 2)[None, :]
    first += above * tl.load(taps + 6)[None, :] + corner * tl.load(taps + 8)[None, :]
    second = here * tl.load(taps + 1)[None, :] + above * tl.load(taps + 7)[None, :]
    third = here * tl.load(taps + 3)[None, :] + left * tl.load(taps + 5)[None, :]
    return first, second, third, here * tl.load(taps + 4)[None, :]


@triton.jit(do_not_specialize=["pixels", "height", "width"])
def _stem(square, weight, bias, out, pixels, height, width, PIXELS: tl.constexpr):
    """3x3 convolution of stride 2 of a planar square, not clipped."""
    pixel, channel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS), tl.arange(0, STEM_CHANNELS)
    n, y, x = _place(pixel, height // 2, width // 2)
    total = tl.zeros((PIXELS, STEM_CHANNELS), tl.float32) + tl.load(bias + channel)[None, :]
    for i in tl.static_range(3):
        for j in tl.static_range(3):
            row, column = 2 * y + i, 2 * x + j
            inside = (pixel < pixels) & (row < height) & (column < width)
            for color in tl.static_range(3):
                value = tl.load(square + ((n * 3 + color) * height + row) * width + column, inside, 0.0)
                total += value[:, None] * tl.load(weight + channel * 27 + (color * 9 + i * 3 + j))[None, :]
    at = pixel[:, None] * STEM_CHANNELS + channel[None, :]
    tl.store(out + at, total.to(out.dtype.element_ty), (pixel < pixels)[:, None])


@triton.jit(do_not_specialize=["pixels", "height", "width"])
def _stem_gradient(gradient, weight, out, pixels, height, width, PIXELS: tl.constexpr):
    """Of the square, two by two pixels at a time."""
    pixel, channel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS), tl.arange(0, STEM_CHANNELS)
    n, y, x = _place(pixel, tl.cdiv(height, 2), tl.cdiv(width, 2))
    rows, columns, inside = height // 2, width // 2, pixel < pixels
    here, _, _ = _tap(gradient, n, y, x, rows, columns, channel, STEM_CHANNELS, inside)
    left, _, _ = _tap(gradient, n, y, x - 1, rows, columns, channel, STEM_CHANNELS, inside)
    above, _, _ = _tap(gradient, n, y - 1, x, rows, columns, channel, STEM_CHANNELS, inside)
    corner, _, _ = _tap(gradient, n, y - 1, x - 1, rows, columns, channel, STEM_CHANNELS, inside)
    lower, right = inside & (2 * y + 1 < height), inside & (2 * x + 1 < width)
    for color in tl.static_range(3):
        first, second, third, fourth = _spread(here, left, above, corner, weight + channel * 27 + color * 9)
        at = out + ((n * 3 + color) * height + 2 * y) * width + 2 * x
        tl.store(at, tl.sum(first, 1), inside)
        tl.store(at + 1, tl.sum(second, 1), right)
        tl.store(at + width, tl.sum(third, 1), lower)
        tl.store(at + width + 1, tl.sum(fourth, 1), lower & right)


@triton.jit(do_not_specialize=["pixels", "height", "width", "rows", "columns"])
def _depthwise(
    features, weight, bias, out, pixels, height, width, rows, columns, channels,
    STRIDE: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """ReLU6(depthwise 3x3(ReLU6(features)) + bias); the padding is all round, or with stride 2 below and right."""
    pixel, channel = _tile(PIXELS, CHANNELS)
    n, y, x = _place(pixel, rows, columns)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32) + tl.load(bias + channel)[None, :]
    for i in tl.static_range(3):
        for j in tl.static_range(3):
            row, column = y * STRIDE + (i - 2 + STRIDE), x * STRIDE + (j - 2 + STRIDE)
            value, _, _ = _tap(features, n, row, column, height, width, channel, channels, pixel < pixels)
            total += _clip(value) * tl.load(weight + channel * 9 + (3 * i + j))[None, :]
    at = pixel[:, None] * channels + channel[None, :]
    tl.store(out + at, _clip(total).to(out.dtype.element_ty), (pixel < pixels)[:, None])


@triton.jit(do_not_specialize=["pixels", "height", "width", "rows", "columns"])
def _gradient(
    gradient, out, features, weight, by_features, pixels, height, width, rows, columns, channels,
    STRIDE: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """By the features, not yet clipped, of a depthwise convolution; with stride 2, two by two pixels at a time."""
    pixel, channel = _tile(PIXELS, CHANNELS)
    inside = pixel < pixels
    n, y, x = _place(pixel, tl.cdiv(height, STRIDE), tl.cdiv(width, STRIDE))
    at = ((n * height + STRIDE * y) * width + STRIDE * x)[:, None] * channels + channel[None, :]
    if STRIDE == 1:
        total = tl.zeros((PIXELS, CHANNELS), tl.float32)
        for i in tl.static_range(3):
            for j in tl.static_range(3):
                given = _passed_tap(gradient, out, n, y + 1 - i, x + 1 - j, rows, columns, channel, channels, inside)
                total += given * tl.load(weight + channel * 9 + (3 * i + j))[None, :]
        _store_passed(total, features, by_features, at, inside[:, None])
    else:
        here = _passed_tap(gradient, out, n, y, x, rows, columns, channel, channels, inside)
        left = _passed_tap(gradient, out, n, y, x - 1, rows, columns, channel, channels, inside)
        above = _passed_tap(gradient, out, n, y - 1, x, rows, columns, channel, channels, inside)
        corner = _passed_tap(gradient, out, n, y - 1, x - 1, rows, columns, channel, channels, inside)
        first, second, third, fourth = _spread(here, left, above, corner, weight + channel * 9)
        lower, right = inside & (2 * y + 1 < height), inside & (2 * x + 1 < width)
        _store_passed(first, features, by_features, at, inside[:, None])
        _store_passed(second, features, by_features, at + channels, right[:, None])
        _store_passed(third, features, by_features, at + width * channels, lower[:, None])
        _store_passed(fourth, features, by_features, at + (width + 1) * channels, (lower & right)[:, None])
