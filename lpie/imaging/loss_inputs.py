"""What the loss modules share: the range of their photos, and how the losses of a batch become one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor, nn

from lpie.imaging.checks import check_range, check_shape
from lpie.names import find
from lpie.vocabulary import PerPhoto, Photo

Reduction = Literal["mean", "sum", "none"]

MARGIN = 1.0  # how far raw output may lie outside [0, 1]; more looks like another range of values


class PhotoLoss(nn.Module):
    """A loss of photos in [0, data_range]: the mean or the sum over the photos of a batch, or each photo's own.

    Raises ValueError for an unknown `reduction`, or a `data_range` that is no number above 0.
    """

    __call__: Callable[..., Tensor]  # for type checkers

    def __init__(self, reduction: Reduction = "mean", data_range: int | float = 1.0) -> None:
        super().__init__()
        find(dict.fromkeys(get_args(Reduction)), reduction, "reduction")
        if not 0 < data_range < float("inf"):
            raise ValueError(f"data_range, a photo's largest value such as 1 or 255, is above 0: got {data_range}.")
        self.reduction: Reduction = reduction
        self.data_range = data_range
        self._looked: set[str] = set()

    def in_unit_range(self, photo: Photo, name: str, margin: float = MARGIN) -> Photo:
        """`photo` in units of its range; raises ValueError where it is more than `margin` outside [0, 1].

        Values on a GPU are checked in the first call alone, since that waits for the GPU.
        """
        check_shape(photo, name)
        scaled = photo if self.data_range == 1 else photo / self.data_range
        called = f"{name} (with data_range={self.data_range:g})"
        check_range(scaled, called, margin=margin, wait=name not in self._looked)
        self._looked.add(name)
        return scaled

    def reduce(self, losses: PerPhoto) -> Float[Tensor, ""] | PerPhoto:
        """The module's value from the loss of each photo."""
        return losses if self.reduction == "none" else getattr(losses, self.reduction)()

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}, data_range={self.data_range:g}"
