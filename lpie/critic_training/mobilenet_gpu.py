"""MobileNet-v1 on a GPU in half precision, forward and backward, for training with thousands of photographs a second.

cuDNN's depthwise convolutions are slow wherever channels lie last in memory, which is where the pointwise ones are
fastest. Here a block is one kernel and one matrix product: the kernel clips what the product before it left (ReLU6),
convolves, adds the bias and clips again; features, (N, H, W, C) in float16, cross the memory once each way. Sums are
float32 and in a fixed order. Layers and padding are those of `backbones.MobileNetV1`.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from lpie.critic.backbones import KerasConv2d, MobileNetV1, SeparableBlock

CHANNELS = 32  # of a program
PIXELS = 32  # of a program; half as many where nine sums are kept
PROGRAMS = 1056  # that share the sums of a kernel's gradient: eight on each multiprocessor of an H100
TAPS = tl.constexpr(9)


def maps(
    network: MobileNetV1, square: Float[Tensor, "n 3 size size"], dtype: torch.dtype = torch.float16
) -> Float[Tensor, "n 1024 cells cells"]:
    """What `network.maps(square)` says, computed in `dtype`; gradients reach the float32 weights and the square.

    Half precision holds gradients between 6e-8 and 6.5e4: scale a loss before its backward pass.
    """
    stem = network.stem
    padded = F.pad(square.to(dtype, memory_format=torch.channels_last), (0, 1, 0, 1))
    raw = F.conv2d(padded, stem.weight.to(dtype), cast(Tensor, stem.bias).to(dtype), 2).permute(0, 2, 3, 1)
    for block in cast(Iterable[SeparableBlock], network.blocks):
        bias = cast(Tensor, block.pw.bias).to(dtype)
        raw = F.linear(_depthwise(raw, block.dw), block.pw.weight[:, :, 0, 0].to(dtype), bias)
    return F.relu6(raw).permute(0, 3, 1, 2)


def _depthwise(raw: Tensor, convolution: KerasConv2d) -> Tensor:
    return _ClippedDepthwise.apply(raw.contiguous(), convolution.weight, convolution.bias, convolution.stride[0])


class _ClippedDepthwise(torch.autograd.Function):
    """(N, H, W, C) -> ReLU6(depthwise 3x3(ReLU6(features)) + bias), of half the size where the stride is 2."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
        n, height, width, channels = features.shape
        sizes = (height, width, height // stride, width // stride, channels)
        out = features.new_empty(n, *sizes[2:])
        pixels = out[..., 0].numel()
        grid = (triton.cdiv(pixels, PIXELS), channels // CHANNELS)
        with torch.cuda.device_of(features):
            _convolve[grid](features, weight, bias, out, pixels, *sizes, stride, PIXELS, CHANNELS)
        ctx.save_for_backward(features, out, weight)
        ctx.stride, ctx.sizes = stride, sizes
        return out

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        features, out, weight = ctx.saved_tensors
        slope = slope.contiguous()
        by_features, by_weight, by_bias = None, None, None
        channels = features.shape[3]
        with torch.cuda.device_of(features):
            if ctx.needs_input_grad[0]:
                by_features = torch.empty_like(features)
                pixels = features[..., 0].numel()
                grid = (triton.cdiv(pixels, PIXELS), channels // CHANNELS)
                _slope_by_features[grid](
                    features, out, slope, weight, by_features, pixels, *ctx.sizes, ctx.stride, PIXELS, CHANNELS
                )
            if ctx.needs_input_grad[1]:
                pixels, block = out[..., 0].numel(), PIXELS // 2
                shares = max(1, min(triton.cdiv(pixels, 8 * block), PROGRAMS * CHANNELS // channels))
                share = triton.cdiv(triton.cdiv(pixels, shares), block) * block
                grid = (triton.cdiv(pixels, share), channels // CHANNELS)
                sums = torch.empty(grid[0], TAPS.value + 1, channels, device=out.device)
                _slope_by_weight[grid](
                    features, out, slope, sums, pixels, share, *ctx.sizes, ctx.stride, block, CHANNELS
                )
                total = sums.sum(0)
                by_weight, by_bias = total[:-1].T.reshape(weight.shape), total[-1]
        return by_features, by_weight, by_bias, None


@triton.jit
def _relu6(value):
    return tl.minimum(tl.maximum(value, 0.0), 6.0)


@triton.jit
def _if_passed(value, slope):
    """A slope by ReLU6's output, made one by its input; `value` is either of them."""
    return tl.where((value > 0.0) & (value < 6.0), slope, 0.0)


@triton.jit
def _place(pixel, height, width):
    """Photo, row and column of a pixel."""
    return pixel // (height * width), pixel % (height * width) // width, pixel % width


@triton.jit
def _tap(features, n, y, x, channel, inside, height, width, channels, stride: tl.constexpr, i: tl.constexpr, j: tl.constexpr):  # fmt: skip  # noqa: E501
    """Clipped features under weight (i, j) of the windows that make the output pixels (n, y, x); 0 in the padding."""
    padding: tl.constexpr = 2 - stride  # all round, or with stride 2 below and to the right only
    row, column = y * stride + i - padding, x * stride + j - padding
    inside = inside & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    at = ((n * height + row) * width + column)[:, None] * channels + channel[None, :]
    return _relu6(tl.load(features + at, mask=inside[:, None], other=0.0).to(tl.float32))


@triton.jit
def _convolve(
    features, weight, bias, out, pixels, height, width, rows, columns, channels,
    stride: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    n, y, x = _place(pixel, rows, columns)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32) + tl.load(bias + channel)[None, :]
    for i in tl.static_range(3):
        for j in tl.static_range(3):
            under = _tap(features, n, y, x, channel, pixel < pixels, height, width, channels, stride, i, j)
            total += under * tl.load(weight + channel * TAPS + (3 * i + j))[None, :]
    at = pixel[:, None] * channels + channel[None, :]
    tl.store(out + at, _relu6(total).to(out.dtype.element_ty), mask=(pixel < pixels)[:, None])


@triton.jit
def _slope_by_features(
    features, out, slope, weight, by_features, pixels, height, width, rows, columns, channels,
    stride: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    n, row, column = _place(pixel, height, width)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for i in tl.static_range(3):
        for j in tl.static_range(3):
            up, left = row + (2 - stride) - i, column + (2 - stride) - j
            y, x = up // stride, left // stride
            there = (pixel < pixels) & (up >= 0) & (left >= 0) & (y < rows) & (x < columns)
            there = there & (up % stride == 0) & (left % stride == 0)
            at = ((n * rows + y) * columns + x)[:, None] * channels + channel[None, :]
            clipped = tl.load(out + at, mask=there[:, None], other=0.0).to(tl.float32)
            given = tl.load(slope + at, mask=there[:, None], other=0.0).to(tl.float32)
            total += _if_passed(clipped, given) * tl.load(weight + channel * TAPS + (3 * i + j))[None, :]
    at = pixel[:, None] * channels + channel[None, :]
    mask = (pixel < pixels)[:, None]
    raw = tl.load(features + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(by_features + at, _if_passed(raw, total).to(by_features.dtype.element_ty), mask=mask)


@triton.jit
def _slope_by_weight(
    features, out, slope, sums, pixels, share, height, width, rows, columns, channels,
    stride: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    s00 = tl.zeros((PIXELS, CHANNELS), tl.float32)
    s01, s02, s10, s11, s12, s20, s21, s22, of_bias = s00, s00, s00, s00, s00, s00, s00, s00, s00
    end = tl.minimum((tl.program_id(0) + 1) * share, pixels)
    for start in range(tl.program_id(0) * share, end, PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        inside = pixel < end
        n, y, x = _place(pixel, rows, columns)
        at = pixel[:, None] * channels + channel[None, :]
        clipped = tl.load(out + at, mask=inside[:, None], other=0.0).to(tl.float32)
        given = tl.load(slope + at, mask=inside[:, None], other=0.0).to(tl.float32)
        given = _if_passed(clipped, given)
        s00 += given * _tap(features, n, y, x, channel, inside, height, width, channels, stride, 0, 0)
        s01 += given * _tap(features, n, y, x, channel, inside, height, width, channels, stride, 0, 1)
        s02 += given * _tap(features, n, y, x, channel, inside, height, width, channels, stride, 0, 2)
        s10 += given * _tap(features, n, y, x, channel, inside, height, width, channels, stride, 1, 0)
        s11 += given * _tap(features, n, y, x, channel, inside, height, width, channels, stride, 1, 1)
        s12 += given * _tap(features, n, y, x, channel, inside, height, width, channels, stride, 1, 2)
        s20 += given * _tap(features, n, y, x, channel, inside, height, width, channels, stride, 2, 0)
        s21 += given * _tap(features, n, y, x, channel, inside, height, width, channels, stride, 2, 1)
        s22 += given * _tap(features, n, y, x, channel, inside, height, width, channels, stride, 2, 2)
        of_bias += given
    at = sums + tl.program_id(0) * (TAPS + 1) * channels + channel
    tl.store(at, tl.sum(s00, 0))
    tl.store(at + channels, tl.sum(s01, 0))
    tl.store(at + 2 * channels, tl.sum(s02, 0))
    tl.store(at + 3 * channels, tl.sum(s10, 0))
    tl.store(at + 4 * channels, tl.sum(s11, 0))
    tl.store(at + 5 * channels, tl.sum(s12, 0))
    tl.store(at + 6 * channels, tl.sum(s20, 0))
    tl.store(at + 7 * channels, tl.sum(s21, 0))
    tl.store(at + 8 * channels, tl.sum(s22, 0))
    tl.store(at + 9 * channels, tl.sum(of_bias, 0))
