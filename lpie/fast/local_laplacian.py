"""The sampled local Laplacian filter in float32 as one differentiable function, on kernels for the device.

`remap_gain` is tabulated and the kernels know nothing else of remapping. What remapping adds is a volume (N, h, w, K),
the K centers side by side, of which the finest level is never stored. `local_laplacian_cpu` says what each
kernel does; here is the order in which they run, the same on every device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from lpie.fast.graded import gradient_of_plain
from lpie.fast.local_laplacian_taps import expanding, expanding_back, reducing, reducing_back
from lpie.imaging.remapping import Settings, remap_gain

STEPS = 2**15  # table entries over the range of values: finer than the noise of float32 filters
CENTERS = 16  # held at a time where a volume is only reduced

Plain = Callable[[Tensor, Settings, int, int], Tensor]


def sampled(values: Tensor, settings: Settings, samples: int, levels: int, plain: Plain) -> Tensor:
    """As `plain`, the same filter in plain torch, for (N, 1, H, W) float32; second derivatives are those of `plain`."""
    alpha, beta, sigma_r, noise = (setting.float().reshape(-1) for setting in settings)
    filtered: Tensor = _Sampled.apply(values, alpha, beta, sigma_r, noise, samples, levels, plain)
    return filtered


def reduced_changes(values: Tensor, settings: Settings, samples: int, levels: int) -> Tensor:
    """What remapping adds to `values` (N, 1, H, W) for each center, reduced `levels` >= 1 times: (N, samples, h, w)."""
    starts, table = table_offsets(values, samples), remap_tables(settings, samples, gradients=False)[0]
    nothing, parts = starts.new_empty(0, 0, 0), []
    with kernel_runner(values.device) as run:
        for first in range(0, samples, CENTERS):
            runs, size, count = table, values.shape[2:], min(CENTERS, samples - first)
            for level in range(levels):
                volume = values.new_empty(len(values), (size[0] + 1) // 2, (size[1] + 1) // 2, count)
                begins = starts if level == 0 else nothing
                run("reduce_runs", volume, runs, begins, first, tuple(size), reducing(*size, values.device), volume)
                runs, size = volume.reshape(-1), volume.shape[1:3]
            parts.append(volume.permute(0, 3, 1, 2))
    return torch.cat(parts, dim=1)


def kernel_runner(device: torch.device) -> AbstractContextManager[Any]:
    """What runs the kernels on `device`: numba's machine code on the CPU, Triton's on a GPU."""
    if device.type == "cpu":
        from lpie.fast.local_laplacian_cpu import runner
    else:
        from lpie.fast.local_laplacian_gpu import runner  # type: ignore[assignment]
    return runner()


class _Sampled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, alpha: Tensor, beta: Tensor, sigma_r: Tensor, noise: Tensor, samples: int,
        levels: int, plain: Plain,
    ) -> Tensor:  # fmt: skip
        table = remap_tables((alpha, beta, sigma_r, noise), samples, gradients=False)[0]
        with kernel_runner(values.device) as run:
            filtered, gradients = forward(run, values, table, samples, levels, with_gradients=any(ctx.needs_input_grad))
        ctx.save_for_backward(values, alpha, beta, sigma_r, noise, *gradients)
        ctx.samples = samples
        ctx.plain = lambda values, *settings: plain(
            values, tuple(setting.reshape(-1, 1, 1, 1) for setting in settings), samples, levels
        )
        return filtered

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        values, alpha, beta, sigma_r, noise, *gradients = ctx.saved_tensors
        if torch.is_grad_enabled():  # this gradient will be differentiated again
            inputs = values, alpha, beta, sigma_r, noise
            return *gradient_of_plain(ctx.plain, inputs, ctx.needs_input_grad[:5], grad), None, None, None
        tables = remap_tables((alpha, beta, sigma_r, noise), ctx.samples, gradients=True)[1:]
        with kernel_runner(values.device) as run:
            by_value, by_setting = backward(run, grad, values, tables, gradients, ctx.samples)
        return by_value, *by_setting.unbind(1), None, None, None, None


def forward(
    run: Any, values: Tensor, table: Tensor, samples: int, levels: int, *, with_gradients: bool
) -> tuple[Tensor, list[Tensor]]:
    """The filtered `values` (N, 1, H, W) and, if asked, how each level's coefficients grow with their center."""
    device, starts = values.device, table_offsets(values, samples)
    gaussians = _gaussians(run, values, levels)
    changes = [torch.zeros_like(level) for level in gaussians]
    nothing = values.new_empty(0, 0, 0)
    gradients = [torch.zeros_like(level) if with_gradients else nothing for level in gaussians]
    for first, volumes in _parts(run, gaussians, samples):
        runs, begins = table, starts
        for level, volume in enumerate(volumes):
            size = gaussians[level].shape[1:]
            run("reduce_runs", volume, runs, begins, first, tuple(size), reducing(*size, device), volume)
            where = (gaussians[level], runs, begins, first, volume, expanding(*size, device), samples)
            run("slice_runs", changes[level], *where, changes[level], gradients[level])
            runs, begins = volume.reshape(-1), nothing.int()
    for level in reversed(range(levels - 1)):
        taps = expanding(*changes[level].shape[1:], device)
        run("gather_image", changes[level], changes[level + 1], taps, True, changes[level])
    return values + changes[0][:, None], gradients


def backward(
    run: Any, grad: Tensor, values: Tensor, tables: Tensor, gradients: list[Tensor], samples: int
) -> tuple[Tensor, Tensor]:
    """Gradients of `values` (N, 1, H, W) and of alpha, beta and sigma_r (N, 3).

    `tables` (4, ...) hold how a table entry grows with value, alpha, beta and sigma_r.
    """
    device, levels, starts = values.device, len(gradients), table_offsets(values, samples)
    gaussians = _gaussians(run, values, levels)
    grads = [grad[:, 0].contiguous()]  # of each level's coefficients
    for level in range(levels - 2):
        coarser = torch.empty_like(gaussians[level + 1])
        run("gather_image", coarser, grads[-1], expanding_back(*gaussians[level].shape[1:], device), False, coarser)
        grads.append(coarser)
    out = torch.zeros_like(gaussians[-1])  # of each level's Gaussian, as centers move with it
    for level in reversed(range(levels - 1)):
        finer = grads[level] * gradients[level]
        run("gather_image", finer, out, reducing_back(*finer.shape[1:], device), True, finer)
        out = finer
    out = out + grads[0]
    sums = out.new_zeros(out.shape[0] * out.shape[1], -(-out.shape[2] // run.columns), 3, dtype=torch.float64)
    nothing = values.new_empty(0, 0, 0)
    for first, volumes in _parts(run, gaussians, samples):
        upper = values.new_empty(0, 0, 0, 0)  # gradient of the next coarser volume
        for level in reversed(range(1, levels)):
            volume, back = volumes[level - 1], reducing_back(*gaussians[level].shape[1:], device)
            own = (gaussians[level], grads[level]) if level < levels - 1 else (nothing, nothing)
            below = (gaussians[level - 1], grads[level - 1], expanding_back(*gaussians[level - 1].shape[1:], device))
            run("scatter_volume", volume, upper, back, *own, *below, first, samples, volume)
            upper = volume
        if volumes:
            back = reducing_back(*out.shape[1:], device)
            run("gather_table", out, upper, back, gaussians[0], grads[0], starts, tables, first, samples, out, sums)
    return out[:, None], sums.reshape(len(values), -1, 3).sum(1).float()


def _gaussians(run: Any, values: Tensor, levels: int) -> list[Tensor]:
    pyramid = [values[:, 0].contiguous()]
    for _ in range(levels - 1):
        height, width = pyramid[-1].shape[1:]
        coarser = values.new_empty(len(values), (height + 1) // 2, (width + 1) // 2)
        run("gather_image", coarser, pyramid[-1], reducing(height, width, values.device), False, coarser)
        pyramid.append(coarser)
    return pyramid


def _parts(run: Any, gaussians: list[Tensor], samples: int) -> Iterator[tuple[int, list[Tensor]]]:
    """The first center of each part, and volumes to fill, one for each level but the finest: memory used again."""
    half = gaussians[min(1, len(gaussians) - 1)]
    most = min(samples, max(12, run.volume // half.numel() // 4 * 4))
    memory = [level.new_empty(level.numel() * most) for level in gaussians[1:]]
    for first in range(0, samples, most):
        count = min(most, samples - first)
        levels = zip(memory, gaussians[1:], strict=True)
        yield first, [stored[: level.numel() * count].reshape(*level.shape, count) for stored, level in levels]


def phases(samples: int) -> int:
    """Table entries between two centers: a power of two."""
    return 1 << max(0, (STEPS // (samples - 1)).bit_length() - 1)


def table_offsets(values: Tensor, samples: int) -> Tensor:
    """Where the run of each value begins in the table of its photo, (N, H, W) int32: entry k is for center k."""
    fine = phases(samples)
    place = (values[:, 0].nan_to_num().clamp(0, 1) * ((samples - 1) * fine)).round_().int()
    start = (place % fine) * (2 * samples) + (samples - 1) - place // fine
    photo = torch.arange(len(values), device=values.device, dtype=torch.int32) * (fine * 2 * samples)
    return start + photo[:, None, None]


def remap_tables(settings: Any, samples: int, *, gradients: bool) -> Tensor:
    """What remapping adds, by photo, phase and center less value, flat: (1, ...); with how it grows: (5, ...).

    The gradients are with respect to value, alpha, beta and sigma_r.
    """
    alpha, beta, sigma_r, noise = (setting.double().reshape(-1, 1, 1) for setting in settings)
    fine = phases(samples)
    phase = torch.arange(fine, device=alpha.device, dtype=torch.float64)[:, None] / fine
    center = torch.arange(2 * samples, device=alpha.device, dtype=torch.float64) - (samples - 1)
    value = ((phase - center) / (samples - 1)).expand(len(alpha), -1, -1)
    with torch.set_grad_enabled(gradients):
        inputs = [x.expand_as(value).clone().requires_grad_(gradients) for x in (value, alpha, beta, sigma_r)]
        change = (remap_gain(inputs[0].abs(), inputs[1], inputs[2], inputs[3], noise) - 1) * inputs[0]
        growth = torch.autograd.grad(change.sum(), inputs) if gradients else ()
    return torch.stack([change.detach(), *growth]).float().reshape(1 + len(growth), -1)
