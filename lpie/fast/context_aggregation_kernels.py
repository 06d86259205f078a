"""Triton kernels of the context aggregation network, one a layer, forward and backward; see the GPU module.

A layer reads the raw output z of the convolution before it, normalizes and activates it on the way in, and leaves
its own raw output with the partial statistics of each photo: features cross the memory once each way. Features lie
as (N, H, W, C) in half precision, C the width rounded up to a power of two; all sums are float32 and in a fixed
order, so that equal inputs give equal bytes.

Forward, a program marches down a strip of `COLUMNS` px: rows `dilation` apart, which are each other's neighbors under
the dilated window. A row of features is read and activated three times, shifted to the left, not at all and to the
right, and each of these goes to the output rows above, at and below it. Pixels and channels are handed to the tensor
cores in the order in which threads load and store them, 16 bytes at a time, so that no thread waits for another's; the
weights' rows and columns follow that order. Backward, a program takes tiles of `ROWS` such rows of `COLUMNS` px.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl

NEGATIVE_SLOPE = tl.constexpr(0.2)
VARIANCE_FLOOR = tl.constexpr(1e-3)


@triton.jit
def _pixels(tile, width, dilation, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Rows and columns of a tile's pixels; some may lie beyond the photo."""
    across = tl.cdiv(width, COLUMNS)
    group = tile // across
    pixel = tl.arange(0, ROWS * COLUMNS)
    y = (group // dilation) * (ROWS * dilation) + group % dilation + (pixel // COLUMNS) * dilation
    x = (tile % across) * COLUMNS + pixel % COLUMNS
    return y, x


@triton.jit
def _activated(z, scale, shift):
    """Normalized and activated features, float32."""
    y = z.to(tl.float32) * scale[None, :] + shift[None, :]
    return tl.maximum(y, y * NEGATIVE_SLOPE)


@triton.jit
def _strip(rows, height, width, dilation, COLUMNS: tl.constexpr):
    """This program's strip: the photo's rows `phase + row * dilation` for start <= row < end, and its columns."""
    across, phases = tl.cdiv(width, COLUMNS), tl.minimum(dilation, height)
    group = tl.program_id(0) // across
    phase = group % phases
    start = (group // phases) * rows
    end = tl.minimum(start + rows, tl.cdiv(height - phase, dilation))
    x = (tl.program_id(0) % across) * COLUMNS + tl.arange(0, COLUMNS)
    return phase, start, end, x


@triton.jit
def _in_memory(channel, C: tl.constexpr):
    """Where a tensor core's channel lies in memory: what a thread holds of a pixel lies together."""
    return channel // 2 % 4 * (C // 4) + channel // 8 * 2 + channel % 2


@triton.jit
def _to_core(tile, WARPS: tl.constexpr):
    """A tile (pixels, C) as memory has it -> the tensor core's order; every number stays in its thread."""
    PIXELS: tl.constexpr = tile.shape[0]
    C: tl.constexpr = tile.shape[1]
    split = tl.reshape(tile, (2, WARPS, 8, 4, C // 8, 2))
    return tl.reshape(tl.permute(split, (1, 0, 2, 4, 3, 5)), (PIXELS, C))


@triton.jit
def _to_memory(tile, WARPS: tl.constexpr):
    """The inverse of `_to_core`."""
    PIXELS: tl.constexpr = tile.shape[0]
    C: tl.constexpr = tile.shape[1]
    split = tl.reshape(tile, (WARPS, 2, 8, C // 8, 4, 2))
    return tl.reshape(tl.permute(split, (1, 0, 2, 4, 3, 5)), (PIXELS, C))


@triton.jit
def _columns_in_core(values, WARPS: tl.constexpr):
    """Columns of a strip's pixels -> the same in the tensor core's order."""
    return tl.reshape(tl.permute(tl.reshape(values, (2, WARPS, 8)), (1, 0, 2)), (values.shape[0],))


@triton.jit
def _halves(tile, WARPS: tl.constexpr):
    """A tensor core's tile (16 * warps, C) as two of (warps, 8, C): each thread's first pixel and its second."""
    return tl.split(tl.permute(tl.reshape(tile, (WARPS, 2, 8, tile.shape[1])), (0, 2, 3, 1)))


@triton.jit
def _added(total, squares, features, within, WARPS: tl.constexpr):
    """Sums, (warps, 8, C), of features and of their squares, with the pixels of a row added that are `within`.

    Each thread keeps its own until the strip's end: no row waits for another thread. They are not centered: where the
    mean is so large that a variance suffers in float32, rounding to float16 has cost the features themselves more.
    """
    first, second = _halves(tl.where(within[:, None], features, 0.0), WARPS)
    return total + first + second, squares + first * first + second * second


@triton.jit
def _store_statistics(counts, means, squares_of, total, squares, rows, within, C: tl.constexpr):
    """Count, mean and sum of squared deviations of a strip of `rows` rows, all threads together."""
    n, program, programs = tl.program_id(1), tl.program_id(0), tl.num_programs(0)
    count = (tl.sum(within.to(tl.int32), 0) * tl.maximum(rows, 0)).to(tl.float32)
    total = tl.sum(tl.sum(total, 1), 0)
    squares = tl.sum(tl.sum(squares, 1), 0)
    mean = total / tl.maximum(count, 1.0)
    place = (n * C + _in_memory(tl.arange(0, C), C)) * programs + program
    tl.store(counts + n * programs + program, count)
    tl.store(means + place, mean)
    tl.store(squares_of + place, tl.maximum(squares - mean * total, 0.0))


@triton.jit
def _two_parts(value):
    """A float32 as the sum of two that a tensor core takes: eleven bits and the rest."""
    high = (value.to(tl.uint32, bitcast=True) & 0xFFFFE000).to(tl.float32, bitcast=True)
    return high, value - high


@triton.jit(do_not_specialize=["dilation", "rows"])
def first_layer(
    photo, weights, out, counts, means, squares_of,
    height, width, dilation, rows, stride_n, stride_c, stride_y, stride_x,
    C: tl.constexpr, COLUMNS: tl.constexpr, WARPS: tl.constexpr,
):  # fmt: skip
    """3x3 convolution of the photo itself; weights (27, C), tap by tap, then color by color."""
    n = tl.program_id(1)
    channel = tl.arange(0, C)
    entry = tl.minimum(tl.arange(0, 32), 26)  # the last five are padding
    down, right = ((entry // 9) - 1) * dilation, ((entry // 3) % 3 - 1) * dilation
    out += n.to(tl.int64) * height * width * C
    source = photo + n.to(tl.int64) * stride_n + (entry % 3)[None, :] * stride_c + down[None, :] * stride_y
    used = (tl.arange(0, 32) < 27)[:, None]
    weight = tl.load(weights + entry[:, None] * C + _in_memory(channel, C)[None, :], used, 0.0)
    weight, small_weight = _two_parts(weight)
    phase, start, end, x = _strip(rows, height, width, dilation, COLUMNS)
    within = x < width
    core_x = _columns_in_core(x, WARPS)
    core_within = core_x < width
    column = core_x[:, None] + right[None, :]
    source += column * stride_x
    there = (column >= 0) & (column < width)
    sums, squares = tl.zeros((WARPS, 8, C), tl.float32), tl.zeros((WARPS, 8, C), tl.float32)
    for k in range(start, end):
        y = phase + k * dilation
        row = (y + down)[None, :]
        values = tl.load(source + y * stride_y, there & (row >= 0) & (row < height), 0.0)
        values, small = _two_parts(values.to(tl.float32))
        total = tl.dot(values, small_weight, input_precision="tf32")
        total = tl.dot(small, weight, total, input_precision="tf32")
        total = tl.dot(values, weight, total, input_precision="tf32")
        stored = total.to(out.dtype.element_ty)
        place = y * width * C + (x[:, None] * C + channel[None, :])
        tl.store(out + place, _to_memory(stored, WARPS), within[:, None])
        sums, squares = _added(sums, squares, total, core_within, WARPS)
    _store_statistics(counts, means, squares_of, sums, squares, end - start, within, C)


@triton.jit
def _row(line, x, width, C: tl.constexpr):
    """Raw features of pixels of a row that is `width` px long, and which of them lie within it."""
    inside = ((x >= 0) & (x < width))[:, None]
    return tl.load(line + (x[:, None] * C + tl.arange(0, C)[None, :]), inside, 0.0), inside


@triton.jit
def _features(z, inside, scale, shift, WARPS: tl.constexpr):
    """Activated features in the tensor core's order; zero beyond the photo."""
    y = tl.where(inside, z.to(tl.float32) * scale[None, :] + shift[None, :], 0.0)
    return _to_core(tl.maximum(y, y * NEGATIVE_SLOPE).to(z.dtype), WARPS)


@triton.jit
def _both(left, right):
    """Features of two pixels side by side, (pixels, 2 C)."""
    return tl.reshape(tl.permute(tl.join(left, right), (0, 2, 1)), (left.shape[0], 2 * left.shape[1]))


@triton.jit
def _taps(weights, row, C: tl.constexpr):
    """The taps of a row of the window: the outer two, (2 C in, C out), and the middle one, (C in, C out)."""
    channel, entry = _in_memory(tl.arange(0, C), C), tl.arange(0, 2 * C)
    outer = (row * 3 + entry // C * 2) * C + _in_memory(entry % C, C)
    middle = (row * 3 + 1) * C + channel
    outer_taps = tl.load(weights + outer[:, None] * C + channel[None, :])
    return outer_taps, tl.load(weights + middle[:, None] * C + channel[None, :])


@triton.jit(do_not_specialize=["dilation", "rows"])
def inner_layer(
    source, scales, shifts, weights, out, counts, means, squares_of, height, width, dilation, rows,
    C: tl.constexpr, COLUMNS: tl.constexpr, WARPS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """3x3 convolution of the activated features; weights (9, C in, C out)."""
    n = tl.program_id(1)
    channel = tl.arange(0, C)
    source += n.to(tl.int64) * height * width * C
    out += n.to(tl.int64) * height * width * C
    scale, shift = tl.load(scales + n * C + channel), tl.load(shifts + n * C + channel)
    outer_to_below, middle_to_below = _taps(weights, 0, C)
    outer_to_here, middle_to_here = _taps(weights, 1, C)
    outer_to_above, middle_to_above = _taps(weights, 2, C)
    phase, start, end, x = _strip(rows, height, width, dilation, COLUMNS)
    within = x < width
    core_x = _columns_in_core(x, WARPS)
    above, here = tl.zeros((COLUMNS, C), tl.float32), tl.zeros((COLUMNS, C), tl.float32)
    sums, squares = tl.zeros((WARPS, 8, C), tl.float32), tl.zeros((WARPS, 8, C), tl.float32)
    for row in range(tl.maximum(start - 1, 0), end + 1):
        y = phase + row * dilation
        line = source + y * width * C
        present = tl.where(y < height, width, 0)  # px of this row that the photo has
        left, left_inside = _row(line, x - dilation, present, C)
        middle, middle_inside = _row(line, x, present, C)
        right, right_inside = _row(line, x + dilation, present, C)
        left = _features(left, left_inside, scale, shift, WARPS)
        right = _features(right, right_inside, scale, shift, WARPS)
        outer = _both(left, right)
        above = tl.dot(outer, outer_to_above, above, input_precision=PRECISION)
        here = tl.dot(outer, outer_to_here, here, input_precision=PRECISION)
        below = tl.dot(outer, outer_to_below, input_precision=PRECISION)
        middle = _features(middle, middle_inside, scale, shift, WARPS)
        above = tl.dot(middle, middle_to_above, above, input_precision=PRECISION)
        here = tl.dot(middle, middle_to_here, here, input_precision=PRECISION)
        below = tl.dot(middle, middle_to_below, below, input_precision=PRECISION)
        stored = above.to(out.dtype.element_ty)
        place = (y - dilation) * width * C + (x[:, None] * C + channel[None, :])
        finished = tl.where(row > start, width, 0)  # the first two reads finish no row of this strip
        tl.store(out + place, _to_memory(stored, WARPS), (x < finished)[:, None])
        sums, squares = _added(sums, squares, above, core_x < finished, WARPS)
        # The sums wait for the tensor core: copied while it works, ptxas would run its instructions one by one.
        above, here = here + 0.0, below + 0.0
    _store_statistics(counts, means, squares_of, sums, squares, end - start, within, C)


@triton.jit
def normalization(
    counts, means, squares_of, w0, w1, offsets, mean_out, inverse_out, scale_out, shift_out, programs, pixels,
    C: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Partial statistics of one channel of a photo -> its mean, inverse standard deviation, scale and shift."""
    n, channel = tl.program_id(0), tl.program_id(1)
    counts += n * programs
    means += (n * C + channel) * programs
    squares_of += (n * C + channel) * programs
    first, second, offset = tl.load(w0), tl.load(w1), tl.load(offsets + channel)
    total, squares = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK,), tl.float32)
    for start in range(0, programs, BLOCK):
        part = start + tl.arange(0, BLOCK)
        there = part < programs
        total += tl.load(means + part, there, 0.0) * tl.load(counts + part, there, 0.0)
    mean = tl.sum(total, 0) / pixels
    for start in range(0, programs, BLOCK):
        part = start + tl.arange(0, BLOCK)
        there = part < programs
        step = tl.load(means + part, there, 0.0) - mean
        squares += tl.load(squares_of + part, there, 0.0) + step * step * tl.load(counts + part, there, 0.0)
    inverse = 1.0 / tl.sqrt(tl.sum(squares, 0) / pixels + VARIANCE_FLOOR)
    place = n * C + channel
    tl.store(mean_out + place, mean)
    tl.store(inverse_out + place, inverse)
    tl.store(scale_out + place, first + second * inverse)
    tl.store(shift_out + place, second * (offset - mean * inverse))


@triton.jit
def last_layer(
    source, scales, shifts, weights, bias, out, height, width, tiles,
    stride_n, stride_c, stride_y, stride_x,
    C: tl.constexpr, COLUMNS: tl.constexpr, CLIP: tl.constexpr,
):  # fmt: skip
    """The 1x1 convolution to three colors; weights (3, C)."""
    n = tl.program_id(1)
    channel = tl.arange(0, C)
    source += n.to(tl.int64) * height * width * C
    out += n.to(tl.int64) * stride_n
    scale, shift = tl.load(scales + n * C + channel), tl.load(shifts + n * C + channel)
    y, x = _pixels(tl.program_id(0), width, 1, 1, COLUMNS)
    inside = (y < height) & (x < width)
    z = tl.load(source + (y * width + x)[:, None] * C + channel[None, :], inside[:, None], 0.0)
    features = _activated(z, scale, shift)
    for color in tl.static_range(3):
        weight = tl.load(weights + color * C + channel)
        value = tl.sum(features * weight[None, :], 1) + tl.load(bias + color)
        if CLIP:
            value = tl.minimum(tl.maximum(value, 0.0), 1.0)
        tl.store(out + y * stride_y + x * stride_x + color * stride_c, value.to(out.dtype.element_ty), inside)


# Backward. gy: gradient before the activation, gz: gradient of a convolution's raw output. ------------------------


@triton.jit
def last_layer_gradient(
    output_gradient, source, scales, shifts, means, weights, gradient, sums, weight_sums, bias_sums, height, width,
    tiles, stride_n, stride_c, stride_y, stride_x, C: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Gradient of the output -> gy of the last 3x3 layer, and partial sums for normalization, weights and bias."""
    n = tl.program_id(1)
    channel = tl.arange(0, C)
    color = tl.arange(0, 4)
    offset = n.to(tl.int64) * height * width * C
    scale, shift = tl.load(scales + n * C + channel), tl.load(shifts + n * C + channel)
    mean = tl.load(means + n * C + channel)
    plain, centered = tl.zeros((C,), tl.float32), tl.zeros((C,), tl.float32)
    red, green, blue = tl.zeros((C,), tl.float32), tl.zeros((C,), tl.float32), tl.zeros((C,), tl.float32)
    output_gradients = tl.zeros((4,), tl.float32)
    red_weight, green_weight = tl.load(weights + channel), tl.load(weights + C + channel)
    blue_weight = tl.load(weights + 2 * C + channel)
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        y, x = _pixels(tile, width, 1, 1, COLUMNS)
        inside = (y < height) & (x < width)
        place = (y * width + x)[:, None] * C + channel[None, :]
        z = tl.load(source + offset + place, inside[:, None], 0.0).to(tl.float32)
        features = _activated(z, scale, shift)
        at = output_gradient + n.to(tl.int64) * stride_n + y * stride_y + x * stride_x
        by_red = tl.load(at, inside, 0.0).to(tl.float32)
        by_green = tl.load(at + stride_c, inside, 0.0).to(tl.float32)
        by_blue = tl.load(at + 2 * stride_c, inside, 0.0).to(tl.float32)
        gy = by_red[:, None] * red_weight[None, :] + by_green[:, None] * green_weight[None, :]
        gy += by_blue[:, None] * blue_weight[None, :]
        gy = tl.where(z * scale[None, :] + shift[None, :] > 0, gy, gy * NEGATIVE_SLOPE)
        tl.store(gradient + offset + place, gy.to(gradient.dtype.element_ty), inside[:, None])
        plain += tl.sum(gy, 0)
        centered += tl.sum(tl.where(inside[:, None], gy * (z - mean[None, :]), 0.0), 0)
        red += tl.sum(features * by_red[:, None], 0)
        green += tl.sum(features * by_green[:, None], 0)
        blue += tl.sum(features * by_blue[:, None], 0)
        by_color = tl.where(
            color == 0, tl.sum(by_red, 0), tl.where(color == 1, tl.sum(by_green, 0), tl.sum(by_blue, 0))
        )
        output_gradients += by_color
    program = n * tl.num_programs(0) + tl.program_id(0)
    tl.store(sums + program * 2 * C + channel, plain)
    tl.store(sums + program * 2 * C + C + channel, centered)
    tl.store(weight_sums + program * 3 * C + channel, red)
    tl.store(weight_sums + program * 3 * C + C + channel, green)
    tl.store(weight_sums + program * 3 * C + 2 * C + channel, blue)
    tl.store(bias_sums + program * 3 + color, output_gradients, color < 3)


@triton.jit
def normalization_gradient(
    sums, means, inverses, w1, totals, by_z_out, constant_out, programs, pixels, C: tl.constexpr, BLOCK: tl.constexpr
):
    """Partial sums of gy and gy (z - mean) -> their totals, and gz = scale gy + by_z z + constant."""
    n = tl.program_id(0)
    channel = tl.arange(0, C)
    plain, centered = tl.zeros((C,), tl.float32), tl.zeros((C,), tl.float32)
    for start in range(0, programs, BLOCK):
        part = start + tl.arange(0, BLOCK)
        there = (part < programs)[:, None]
        place = (n * programs + part)[:, None] * 2 * C + channel[None, :]
        plain += tl.sum(tl.load(sums + place, there, 0.0), 0)
        centered += tl.sum(tl.load(sums + place + C, there, 0.0), 0)
    inverse, mean, second = tl.load(inverses + n * C + channel), tl.load(means + n * C + channel), tl.load(w1)
    by_z = -second * inverse * inverse * inverse * centered / pixels
    tl.store(totals + n * C + channel, plain)
    tl.store(totals + (tl.num_programs(0) + n) * C + channel, centered)
    tl.store(by_z_out + n * C + channel, by_z)
    tl.store(constant_out + n * C + channel, -second * inverse * plain / pixels - by_z * mean)


@triton.jit
def _raw_gradient(gradient, z, place, inside, scale, by_z, constant):
    """gz at a tile's pixels, float32; zero beyond the photo."""
    gy = tl.load(gradient + place, inside, 0.0).to(tl.float32)
    raw = tl.load(z + place, inside, 0.0).to(tl.float32)
    return tl.where(inside, gy * scale[None, :] + raw * by_z[None, :] + constant[None, :], 0.0)


@triton.jit
def inner_weight_gradient(
    gradient, z, scales, by_zs, constants, source, source_scales, source_shifts, raw_gradient, out,
    height, width, dilation, tiles, C: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Partial weight gradients (programs, 9, C in, C out) of one row of taps; the middle row also writes gz."""
    n, tap_row = tl.program_id(1), tl.program_id(2)
    channel = tl.arange(0, C)
    offset = n.to(tl.int64) * height * width * C
    at = n * C + channel
    scale, by_z, constant = tl.load(scales + at), tl.load(by_zs + at), tl.load(constants + at)
    source_scale, source_shift = tl.load(source_scales + at), tl.load(source_shifts + at)
    left, middle = tl.zeros((C, C), tl.float32), tl.zeros((C, C), tl.float32)
    right = tl.zeros((C, C), tl.float32)
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        y, x = _pixels(tile, width, dilation, ROWS, COLUMNS)
        inside = ((y < height) & (x < width))[:, None]
        place = (y * width + x)[:, None] * C + channel[None, :]
        gz = _raw_gradient(gradient + offset, z + offset, place, inside, scale, by_z, constant)
        gz = gz.to(gradient.dtype.element_ty)
        if tap_row == 1:
            tl.store(raw_gradient + offset + place, gz, inside)
        row = y + (tap_row - 1) * dilation
        for tap in tl.static_range(3):
            column = x + (tap - 1) * dilation
            there = ((row >= 0) & (row < height) & (column >= 0) & (column < width))[:, None]
            neighbor = tl.load(source + offset + (row * width + column)[:, None] * C + channel[None, :], there, 0.0)
            features = tl.where(there, _activated(neighbor, source_scale, source_shift), 0.0).to(gz.dtype)
            if tap == 0:
                left = tl.dot(tl.trans(features), gz, left, input_precision="ieee")
            elif tap == 1:
                middle = tl.dot(tl.trans(features), gz, middle, input_precision="ieee")
            else:
                right = tl.dot(tl.trans(features), gz, right, input_precision="ieee")
    program = n * tl.num_programs(0) + tl.program_id(0)
    target = out + (program * 9 + tap_row * 3) * C * C + channel[:, None] * C + channel[None, :]
    tl.store(target, left)
    tl.store(target + C * C, middle)
    tl.store(target + 2 * C * C, right)


@triton.jit
def _convolved(source, weights, y, x, height, width, dilation, C: tl.constexpr):
    """The dilated 3x3 convolution at a tile's pixels, (pixels, C) float32; zero beyond the photo."""
    channel = tl.arange(0, C)
    total = tl.zeros((y.shape[0], C), tl.float32)
    for tap in range(9):
        row, column = y + (tap // 3 - 1) * dilation, x + (tap % 3 - 1) * dilation
        inside = ((row >= 0) & (row < height) & (column >= 0) & (column < width))[:, None]
        z = tl.load(source + (row * width + column)[:, None] * C + channel[None, :], inside, 0.0)
        weight = tl.load(weights + (tap * C + channel)[:, None] * C + channel[None, :])
        total = tl.dot(z, weight, total, input_precision="ieee")
    return total


@triton.jit
def inner_input_gradient(
    raw_gradient, weights, z, scales, shifts, means, out, sums, height, width, dilation, tiles,
    C: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """gz of one layer -> gy of the one before; weights (9, C out, C in), taps in reverse."""
    n = tl.program_id(1)
    channel = tl.arange(0, C)
    offset = n.to(tl.int64) * height * width * C
    scale, shift = tl.load(scales + n * C + channel), tl.load(shifts + n * C + channel)
    mean = tl.load(means + n * C + channel)
    plain, centered = tl.zeros((C,), tl.float32), tl.zeros((C,), tl.float32)
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        y, x = _pixels(tile, width, dilation, ROWS, COLUMNS)
        total = _convolved(raw_gradient + offset, weights, y, x, height, width, dilation, C)
        inside = ((y < height) & (x < width))[:, None]
        place = (y * width + x)[:, None] * C + channel[None, :]
        raw = tl.load(z + offset + place, inside, 0.0).to(tl.float32)
        total = tl.where(raw * scale[None, :] + shift[None, :] > 0, total, total * NEGATIVE_SLOPE)
        total = tl.where(inside, total, 0.0)
        tl.store(out + offset + place, total.to(out.dtype.element_ty), inside)
        plain += tl.sum(total, 0)
        centered += tl.sum(total * (raw - mean[None, :]), 0)
    program = n * tl.num_programs(0) + tl.program_id(0)
    tl.store(sums + program * 2 * C + channel, plain)
    tl.store(sums + program * 2 * C + C + channel, centered)


@triton.jit
def first_weight_gradient(
    gradient, z, scales, by_zs, constants, photo, out, height, width, dilation, tiles,
    stride_n, stride_c, stride_y, stride_x, C: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Partial weight gradients (programs, 32, C) of the first layer; rows 27..31 are padding."""
    n = tl.program_id(1)
    channel = tl.arange(0, C)
    offset = n.to(tl.int64) * height * width * C
    at = n * C + channel
    scale, by_z, constant = tl.load(scales + at), tl.load(by_zs + at), tl.load(constants + at)
    entry = tl.arange(0, 32)
    down, right = ((entry // 9) - 1) * dilation, ((entry // 3) % 3 - 1) * dilation
    total = tl.zeros((32, C), tl.float32)
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        y, x = _pixels(tile, width, dilation, ROWS, COLUMNS)
        inside = ((y < height) & (x < width))[:, None]
        place = (y * width + x)[:, None] * C + channel[None, :]
        gz = _raw_gradient(gradient + offset, z + offset, place, inside, scale, by_z, constant)
        row, column = y[None, :] + down[:, None], x[None, :] + right[:, None]
        there = (row >= 0) & (row < height) & (column >= 0) & (column < width) & (entry < 27)[:, None]
        colors = photo + n.to(tl.int64) * stride_n + (entry % 3)[:, None] * stride_c
        values = tl.load(colors + row * stride_y + column * stride_x, there, 0.0)
        kind = gradient.dtype.element_ty
        total = tl.dot(values.to(kind), gz.to(kind), total, input_precision="ieee")
    program = n * tl.num_programs(0) + tl.program_id(0)
    tl.store(out + program * 32 * C + entry[:, None] * C + channel[None, :], total)
