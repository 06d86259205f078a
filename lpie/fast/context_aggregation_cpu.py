"""The context aggregation network on a CPU: the plain form's computation, arranged for its caches and its allocator.

The plain form in `context_aggregation.py` is the definition. Features are (N, H, W, C) in memory: for dilated
convolutions oneDNN is about ten times faster so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from lpie.imaging.adaptive_normalization import NEGATIVE_SLOPE, VARIANCE_FLOOR, moments
from lpie.imaging.adaptive_normalization import normalize_and_activate as plain_normalization
from lpie.imaging.kernels import gradient_of_plain

STRIP = 2**20  # values of a strip of rows: it stays in the cache between its convolution and its statistics
WIDE = 32  # px, dilation from which oneDNN's gradient of the weights is slow

Affine = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Layer, mean and variance (N, C) -> the scale and shift (N, C) of its normalization."""


def enhance(
    photo: Tensor, convolutions: Sequence[Tensor], dilations: Sequence[int], affine: Affine, last: Tensor, bias: Tensor
) -> Tensor:
    """The enhanced photo, unclipped, without gradient.

    Strip by strip, into two buffers that all layers share: a fresh result for each layer would cost as much in page
    faults as the convolution itself.
    """
    return torch.cat([_enhance_one(single, convolutions, dilations, affine, last, bias) for single in photo.split(1)])


def _enhance_one(
    photo: Tensor, convolutions: Sequence[Tensor], dilations: Sequence[int], affine: Affine, last: Tensor, bias: Tensor
) -> Tensor:
    _, _, height, width = photo.shape
    margin, channels = max(dilations), last.shape[1]
    source, target = photo.new_zeros(2, 1, height + 2 * margin, width, channels).permute(0, 1, 4, 2, 3).unbind(0)
    enhanced = torch.empty_like(photo, memory_format=torch.contiguous_format)
    rows = max(1, STRIP // (width * channels))
    strips = [(top, min(top + rows, height)) for top in range(0, height, rows)]
    features = photo.new_zeros(1, height + 2 * margin, width, 3).permute(0, 3, 1, 2)
    features[:, :, margin : margin + height] = photo
    for layer, (weight, dilation) in enumerate(zip(convolutions, dilations, strict=True)):
        means, squares, counts = [], [], []
        for top, bottom in strips:
            seen = features[:, :, margin + top - dilation : margin + bottom + dilation]
            strip = F.conv2d(seen, weight, padding=(0, dilation), dilation=dilation)
            target[:, :, margin + top : margin + bottom] = strip
            mean, variance = moments(strip)
            means.append(mean)
            squares.append(variance)
            counts.append(bottom - top)
        share = photo.new_tensor(counts)[:, None, None] / height
        each = torch.stack(means)
        mean = (each * share).sum(0)
        variance = ((torch.stack(squares) + (each - mean).square()) * share).sum(0)
        scale, shift = (part[..., None, None] for part in affine(layer, mean, variance))
        for top, bottom in strips:
            strip = target[:, :, margin + top : margin + bottom]
            torch.addcmul(shift, strip, scale, out=strip)
            F.leaky_relu(strip, NEGATIVE_SLOPE, inplace=True)
            if layer == len(dilations) - 1:
                enhanced[:, :, top:bottom] = F.conv2d(strip, last, bias)
        features, source, target = target, target, source
    return enhanced


def normalize_and_activate(features: Tensor, w0: Tensor, w1: Tensor, offset: Tensor) -> Tensor:
    """As the plain form in `lpie.imaging.adaptive_normalization`, its gradient in fewer passes."""
    return cast(Tensor, _NormalizeAndActivate.apply(features, w0, w1, offset))


class _NormalizeAndActivate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, w0: Tensor, w1: Tensor, offset: Tensor) -> Tensor:
        flat = _pixels(features)
        mean = flat.mean(1, keepdim=True)
        inverse = ((flat - mean).square_().mean(1, keepdim=True) + VARIANCE_FLOOR).rsqrt_()
        scale = w0 + w1 * inverse
        active = F.leaky_relu_(torch.addcmul(w1 * (offset - mean * inverse), flat, scale), NEGATIVE_SLOPE)
        ctx.save_for_backward(features, w0, w1, offset, active, mean, inverse, scale)
        return active.view(len(flat), *features.shape[2:], -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, w0, w1, offset, active, mean, inverse, scale = ctx.saved_tensors
        if torch.is_grad_enabled():  # this gradient will be differentiated again
            inputs = features, w0, w1, offset
            return gradient_of_plain(plain_normalization, inputs, ctx.needs_input_grad, output_gradient)
        flat = _pixels(features)
        pixels = flat.shape[1]
        before = torch.ops.aten.leaky_relu_backward(_pixels(output_gradient), active, NEGATIVE_SLOPE, True)
        plain = before.sum(1, keepdim=True)
        centered = (flat - mean).mul_(before).sum(1, keepdim=True)
        by_feature = -w1 * inverse**3 * centered / pixels
        constant = -w1 * inverse * plain / pixels - by_feature * mean
        raw = torch.addcmul(constant, flat, by_feature).addcmul_(before, scale)
        raw = raw.view(len(raw), *output_gradient.shape[2:], -1).permute(0, 3, 1, 2)
        by_w0 = (centered + mean * plain).sum()
        by_w1 = (centered * inverse + offset * plain).sum()
        return raw, by_w0, by_w1, w1 * plain.sum((0, 1))


def convolve(features: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """The dilated 3x3 convolution, zeros around the photo; its gradient is fast for wide dilations too."""
    if dilation < WIDE:
        return _plain_convolution(features, weight, dilation)
    return cast(Tensor, _WideConvolution.apply(features, weight, dilation))


def _plain_convolution(features: Tensor, weight: Tensor, dilation: int) -> Tensor:
    return F.conv2d(features, weight, padding=dilation, dilation=dilation)


class _WideConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(features, weight)
        ctx.dilation = dilation
        return _plain_convolution(features, weight, dilation)

    @staticmethod
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, weight = ctx.saved_tensors
        if torch.is_grad_enabled():  # this gradient will be differentiated again
            inputs = features, weight, ctx.dilation
            return gradient_of_plain(_plain_convolution, inputs, ctx.needs_input_grad, output_gradient)
        by_features, by_weight = None, None
        if ctx.needs_input_grad[0]:
            by_features = _convolution_backward(output_gradient, features, weight, ctx.dilation, (True, False, False))[
                0
            ]
        if ctx.needs_input_grad[1]:  # every dilation-th pixel makes a small photo, where the dilation is 1
            phases = (_phases(output_gradient, ctx.dilation), _phases(features, ctx.dilation))
            by_weight = _convolution_backward(*phases, weight, 1, (False, True, False))[1]
        return by_features, by_weight, None


def _convolution_backward(
    output_gradient: Tensor, features: Tensor, weight: Tensor, dilation: int, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor | None, ...]:
    both = [dilation, dilation]
    return torch.ops.aten.convolution_backward(
        output_gradient, features, weight, None, [1, 1], both, both, False, [0, 0], 1, wanted
    )


def _phases(features: Tensor, dilation: int) -> Tensor:
    """(N, C, H, W) -> (N dilation^2, C, H / dilation, W / dilation), sides rounded up with zeros."""
    count, channels, height, width = features.shape
    features = F.pad(features, (0, -width % dilation, 0, -height % dilation))
    down, across = (side // dilation for side in features.shape[2:])
    parts = features.permute(0, 2, 3, 1).reshape(count, down, dilation, across, dilation, channels)
    return parts.permute(0, 2, 4, 1, 3, 5).reshape(-1, down, across, channels).permute(0, 3, 1, 2)


def _pixels(features: Tensor) -> Tensor:
    """(N, C, H, W) as (N, H W, C), without a copy for channels-last features."""
    return features.permute(0, 2, 3, 1).flatten(1, 2)
