"""Structural similarity of float32 planes on the CPU: rows stream through the blurs, no map is ever stored whole."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from torch import Tensor

from lpie.fast.graded import mean_terms_by
from lpie.fast.local_laplacian_cpu import compiled
from lpie.fast.similarity_gradients import similarity_gradients
from lpie.imaging.similarity_terms import STABILIZERS, WINDOW_SIZE, gaussian_window, luminance_and_contrast

WINDOW = np.array(gaussian_window(), dtype=np.float32)
C1, C2 = np.float32(STABILIZERS[0]), np.float32(STABILIZERS[1])
BAND = 96  # rows of a task; neighbors both blur 10 to 20 rows at their border

_terms, _gradients = compiled(luminance_and_contrast), compiled(similarity_gradients)


def terms_and_gradients(
    a: Tensor, b: Tensor, with_luminance: bool, gradient_a: bool, gradient_b: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Mean term of each plane of (planes, H, W), and its gradients by the planes' values where they are wanted."""
    planes, height, width = a.shape
    gradients = tuple(torch.empty_like(a) if wanted else None for wanted in (gradient_a, gradient_b))
    arrays = [a.detach().numpy(), b.detach().numpy()]
    arrays += [np.empty((planes, 0, 0), np.float32) if gradient is None else gradient.numpy() for gradient in gradients]
    tasks = [(plane, start) for plane in range(planes) for start in range(0, height, BAND)]

    def run(task: tuple[int, int]) -> float:
        plane, start = task
        parts = [array[plane] for array in arrays]
        return stream_band(*parts, WINDOW, C1, C2, with_luminance, start, min(start + BAND, height))

    with ThreadPoolExecutor(min(torch.get_num_threads(), len(tasks))) as pool:
        sums = list(pool.map(run, tasks))
    windows = (height - WINDOW_SIZE + 1) * (width - WINDOW_SIZE + 1)
    means = torch.tensor(sums, dtype=torch.float64).view(planes, -1).sum(1) / windows
    return means.float(), gradients[0], gradients[1]


mean_terms = partial(mean_terms_by, terms_and_gradients)


@compiled
def stream_band(a, b, gradient_a, gradient_b, window, c1, c2, with_luminance, start, stop):
    """Sum of the terms whose windows begin in the rows `start..stop`; fills those rows of the gradients, where given.

    A gradient row gathers the terms of the eleven windows that hold it, so that the bands above are blurred again.
    """
    height, width = a.shape
    across = width - 10
    graded = gradient_a.size > 0 or gradient_b.size > 0
    scale = np.float32(1) / np.float32((height - 10) * across)
    first = max(start - 10, 0) if graded else start
    last = min(stop, height - 10)  # windows begin in first..last
    ring = np.zeros((4, 11, across), np.float32)  # horizontally blurred rows
    row = np.empty((4, across), np.float32)  # one row of windows: means, power, error; then their gradients
    power, error = np.empty(width, np.float32), np.empty(width, np.float32)
    padded = np.zeros(width + 10, np.float32)
    gradients = np.zeros((4, 11, width if graded else 0), np.float32)
    gathered = np.empty((4, width if graded else 0), np.float32)
    total = 0.0
    for y in range(first, last + 10):
        slot = y % 11
        _squares(a[y], b[y], power, error)
        _blur_across(a[y], window, ring[0, slot])
        _blur_across(b[y], window, ring[1, slot])
        _blur_across(power, window, ring[2, slot])
        _blur_across(error, window, ring[3, slot])
        top = y - 10  # the window that ends in this row
        if top < first:
            continue
        for q in range(4):
            _blur_down(ring[q], top % 11, window, row[q])
        if top >= start:
            total += _sum_terms(row[0], row[1], row[2], row[3], c1, c2, with_luminance)
        if graded:
            _turn_into_gradients(row[0], row[1], row[2], row[3], c1, c2, with_luminance)
            for q in range(4):
                if q > 1 or (q == 0 and gradient_a.size > 0) or (q == 1 and gradient_b.size > 0):
                    padded[10 : 10 + across] = row[q]
                    _blur_across(padded, window, gradients[q, top % 11])
            if top >= start:
                _gather(gradients, top, window, gathered, a, b, gradient_a, gradient_b, scale)
    if graded:
        for top in range(max(last, start), stop):  # rows below the last window
            gradients[:, top % 11] = 0
            _gather(gradients, top, window, gathered, a, b, gradient_a, gradient_b, scale)
    return total


@compiled
def _squares(a, b, power, error):
    for x in range(a.size):
        power[x] = a[x] * a[x] + b[x] * b[x]
    for x in range(a.size):
        error[x] = (a[x] - b[x]) * (a[x] - b[x])


@compiled
def _blur_across(row, window, out):
    w0, w1, w2, w3, w4, w5 = window[0], window[1], window[2], window[3], window[4], window[5]
    for x in range(out.size):
        total = w0 * (row[x] + row[x + 10]) + w1 * (row[x + 1] + row[x + 9]) + w2 * (row[x + 2] + row[x + 8])
        out[x] = total + w3 * (row[x + 3] + row[x + 7]) + w4 * (row[x + 4] + row[x + 6]) + w5 * row[x + 5]


@compiled
def _blur_down(ring, top, window, out):
    """Vertical blur of a ring of eleven rows, the uppermost at `top`; in two halves, which compile to vector code."""
    w0, w1, w2, w3, w4, w5 = window[0], window[1], window[2], window[3], window[4], window[5]
    r0, r1, r2, r3 = ring[top], ring[(top + 1) % 11], ring[(top + 2) % 11], ring[(top + 3) % 11]
    r4, r5, r6, r7 = ring[(top + 4) % 11], ring[(top + 5) % 11], ring[(top + 6) % 11], ring[(top + 7) % 11]
    r8, r9, r10 = ring[(top + 8) % 11], ring[(top + 9) % 11], ring[(top + 10) % 11]
    for x in range(out.size):
        out[x] = w0 * (r0[x] + r10[x]) + w1 * (r1[x] + r9[x]) + w2 * (r2[x] + r8[x])
    for x in range(out.size):
        out[x] += w3 * (r3[x] + r7[x]) + w4 * (r4[x] + r6[x]) + w5 * r5[x]


@compiled
def _sum_terms(mean_a, mean_b, power, error, c1, c2, with_luminance):
    total = np.float32(0)
    if with_luminance:
        for x in range(mean_a.size):
            luminance, contrast = _terms(mean_a[x], mean_b[x], power[x], error[x], c1, c2)
            total += luminance * contrast
    else:
        for x in range(mean_a.size):
            total += _terms(mean_a[x], mean_b[x], power[x], error[x], c1, c2)[1]
    return np.float64(total)


@compiled
def _turn_into_gradients(mean_a, mean_b, power, error, c1, c2, with_luminance):
    """Each row by the term's gradient, in place: rows that no other pointer reaches compile to vector code."""
    none, one = np.float32(0), np.float32(1)
    if with_luminance:
        for x in range(mean_a.size):
            p, q, r, s = mean_a[x], mean_b[x], power[x], error[x]
            luminance, contrast = _terms(p, q, r, s, c1, c2)
            mean_a[x], mean_b[x], power[x], error[x] = _gradients(p, q, r, s, c1, c2, contrast, luminance)
    else:
        for x in range(mean_a.size):
            p, q, r, s = mean_a[x], mean_b[x], power[x], error[x]
            mean_a[x], mean_b[x], power[x], error[x] = _gradients(p, q, r, s, c1, c2, none, one)


@compiled
def _gather(gradients, y, window, gathered, a, b, gradient_a, gradient_b, scale):
    """Row `y` of the gradients: the eleven rows of windows that hold it, the uppermost at y - 10."""
    uppermost = (y + 1) % 11
    for q in range(2, 4):
        _blur_down(gradients[q], uppermost, window, gathered[q])
    if gradient_a.size > 0:
        _blur_down(gradients[0], uppermost, window, gathered[0])
        _combine(gathered[0], gathered[2], gathered[3], a[y], b[y], scale, gradient_a[y])
    if gradient_b.size > 0:
        _blur_down(gradients[1], uppermost, window, gathered[1])
        _combine(gathered[1], gathered[2], gathered[3], b[y], a[y], scale, gradient_b[y])


@compiled
def _combine(by_mean, by_power, by_error, own, other, scale, out):
    twice = scale + scale
    for x in range(out.size):
        out[x] = twice * (by_mean[x] + own[x] * by_power[x] + (own[x] - other[x]) * by_error[x])
