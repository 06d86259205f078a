"""The sampled local Laplacian filter in float32 as one differentiable function, on kernels for the device.

`remap_gain` is tabulated and the kernels know nothing else of remapping.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lpie.operators import local_laplacian_cpu
from lpie.operators.local_laplacian_plain import Settings
from lpie.operators.remapping import remap_gain

STEPS = 2**15  # table entries over the range of values: finer than the noise of float32 filters


@torch.compiler.disable
def sampled(values: Tensor, settings: Settings, samples: int, levels: int) -> Tensor:
    """As `local_laplacian_plain.sampled`, for (N, 1, H, W) float32."""
    alpha, beta, sigma_r, noise = (setting.reshape(-1) for setting in settings)
    filtered: Tensor = _Sampled.apply(values, alpha, beta, sigma_r, noise, samples, levels)
    return filtered


@torch.compiler.disable
def reduced_changes(values: Tensor, settings: Settings, samples: int, levels: int) -> Tensor:
    """What remapping adds to `values` (N, 1, H, W) for each center, reduced `levels` times: (N, samples, h, w)."""
    tables = remap_tables(settings, samples, gradients=False)
    return local_laplacian_cpu.reduced_changes(table_offsets(values, samples), tables[0], samples, levels)


class _Sampled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, alpha: Tensor, beta: Tensor, sigma_r: Tensor, noise: Tensor, samples: int, levels: int
    ) -> Tensor:
        values = values.contiguous()
        offsets = table_offsets(values, samples)
        tables = remap_tables((alpha, beta, sigma_r, noise), samples, gradients=False)
        filtered, slopes = local_laplacian_cpu.forward(
            values, offsets, tables[0], samples, levels, with_slopes=any(ctx.needs_input_grad)
        )
        ctx.save_for_backward(values, alpha, beta, sigma_r, noise)
        ctx.slopes, ctx.samples = slopes, samples
        return filtered

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        values, *settings = ctx.saved_tensors
        offsets = table_offsets(values, ctx.samples)
        tables = remap_tables(settings, ctx.samples, gradients=True)
        by_value, by_setting = local_laplacian_cpu.backward(grad, values, offsets, tables[1:], ctx.slopes, ctx.samples)
        return by_value, *by_setting.unbind(1), None, None, None


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
