"""What the loss modules ask of their photos, and what they make of one loss per photo."""

from __future__ import annotations

from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor

from lpie.imaging.checks import check_range, check_shape
from lpie.vocabulary import PerPhoto, Photo

Reduction = Literal["mean", "sum", "none"]

MARGIN = 1.0  # outside [0, 1], of a network's raw output; more is taken for another range of values


def check_settings(reduction: str, data_range: int | float) -> None:
    """Raise ValueError unless `reduction` is known and `data_range` a number above 0."""
    if reduction not in get_args(Reduction):
        raise ValueError(f"Unknown reduction {reduction!r}: choose one of {', '.join(get_args(Reduction))}.")
    if not 0 < data_range < float("inf"):
        raise ValueError(f"data_range is the largest value of a photo, above 0, such as 1 or 255; got {data_range}.")


def raw_output(photo: Photo, data_range: int | float, name: str, *, wait: bool) -> Photo:
    """A network's output, unclipped, in units of its range; raises ValueError more than `MARGIN` outside [0, 1].

    Values on a GPU are looked at only with `wait`.
    """
    check_shape(photo, name)
    scaled = photo if data_range == 1 else photo / data_range
    check_range(scaled, f"{name} (with data_range={data_range:g})", margin=MARGIN, wait=wait)
    return scaled


def reduce_losses(losses: PerPhoto, reduction: Reduction) -> Float[Tensor, ""] | PerPhoto:
    """The mean or the sum over the photos of a batch, or each photo's own."""
    return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()
