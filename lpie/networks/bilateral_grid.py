"""The bilateral grid: photo -> enhanced photo through local affine color maps, chosen by place and brightness."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lpie.imaging.checks import check_precision
from lpie.imaging.color import luma
from lpie.imaging.kernels import channels_last
from lpie.imaging.resampling import bilinear_weights, resize, scaled_size
from lpie.vocabulary import Luminance, Photo

CELL = 8  # px of the thumbnail that one cell of the grid spans
WIDTHS = (16, 32, 64)  # channels after each halving
CONTEXT = (1, 2, 4, 8)  # dilations, in cells, of the convolutions that follow

Grid = Float[Tensor, "n bins 3 4 rows columns"]
"""Affine maps, three rows of (R, G, B, 1) each, for every bin of brightness and cell of the photo."""


class BilateralGrid(nn.Module):
    """Predicts a grid of affine color maps from a thumbnail and applies it at full size, guided by brightness.

    `thumbnail`: shorter side in px of what the network sees (smaller photos as they are); `bins`: of brightness.
    `luminance_led`: a map is one gain and one offset for all three colors, so that no place can get a hue of its own.
    Whatever the photo's size, the coefficients come from the thumbnail, and all else is local to a pixel. Starts as
    the identity.

    Source: Gharbi et al., "Deep bilateral learning for real-time image enhancement", SIGGRAPH 2017, section 3.
    Differs: the thumbnail keeps the photo's proportions, a cell spans 8 of its pixels instead of 16, dilated
    convolutions and a mean over the thumbnail stand for the local and global paths, and there is no batch norm.
    """

    uses_estimate = False

    def __init__(self, thumbnail: int = 256, bins: int = 8, luminance_led: bool = False) -> None:
        super().__init__()
        if not CELL <= thumbnail <= 4096 or not 2 <= bins <= 256:
            raise ValueError(f"Expected a thumbnail of {CELL} to 4096 px, 2 to 256 bins, got {thumbnail}, {bins}.")
        self.thumbnail, self.bins, self.luminance_led = thumbnail, bins, luminance_led
        widths = (3, *WIDTHS)
        self.halvings = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in zip(widths, WIDTHS, strict=False)
        )
        deep = WIDTHS[-1]
        self.local = nn.ModuleList(nn.Conv2d(deep, deep, 3, padding=d, dilation=d) for d in CONTEXT)
        self.whole = nn.Sequential(nn.Linear(deep, deep), nn.ReLU(), nn.Linear(deep, deep))
        self.coefficients = nn.Conv2d(deep, bins * (2 if luminance_led else 12), 1)
        self.guide = nn.Sequential(nn.Conv2d(3, 16, 1), nn.ReLU(), nn.Conv2d(16, 1, 1))
        self._start_as_identity()

    @torch.no_grad()
    def _start_as_identity(self) -> None:
        for name, parameter in self.named_parameters():
            if name == "coefficients.bias":
                identity = torch.tensor([1.0, 0.0]) if self.luminance_led else torch.eye(3, 4).flatten()
                parameter.copy_(identity.repeat(self.bins))
            elif name.endswith("bias") or name in ("coefficients.weight", "guide.2.weight", "whole.2.weight"):
                nn.init.zeros_(parameter)
            else:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> BilateralGrid:
        """A trained network, in eval mode, from what `state_dict` and `metadata` gave."""
        network = cls(int(metadata["thumbnail"]), int(metadata["bins"]), metadata.get("luminance_led") == "yes")
        network.load_state_dict(tensors)
        return network.eval()

    def metadata(self) -> dict[str, str]:
        """What `lpie.networks.from_pretrained` needs beside the tensors, as safetensors stores it."""
        settings = {"network": "grid", "thumbnail": str(self.thumbnail), "bins": str(self.bins)}
        return settings | ({"luminance_led": "yes"} if self.luminance_led else {})

    def forward(self, photo: Photo) -> Photo:
        """The enhanced photo; type, range and errors as for every `lpie.networks.Family`."""
        check_precision(photo, self.coefficients.weight.dtype)
        return self.apply_grid(photo, self.predict_grid(self.thumbnail_of(photo)))

    def thumbnail_of(self, photo: Photo) -> Float[Tensor, "n 3 rows columns"]:
        """What the coefficients are predicted from."""
        return resize(photo, *self.thumbnail_size(*photo.shape[-2:]))

    def thumbnail_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width, in px, of the thumbnail of a photo: its own where that is small enough."""
        return scaled_size(height, width, min(1.0, self.thumbnail / min(height, width)))

    def predict_grid(self, thumbnail: Photo) -> Grid:
        """The affine maps for the photo that `thumbnail` shows."""
        features = channels_last(thumbnail - 0.5)
        for convolution in self.halvings:
            features = F.relu(convolution(features))
        whole = self.whole(features.mean(dim=(2, 3)))[:, :, None, None]
        for convolution in self.local:
            features = features + F.relu(convolution(features))
        with torch.autocast(thumbnail.device.type, enabled=False):  # near 1, bfloat16 has steps of 1/128
            precise = torch.promote_types(torch.float32, self.coefficients.weight.dtype)
            weight, bias = (parameter.to(precise) for parameter in self.coefficients.parameters())
            grid = F.conv2d(F.relu(features + whole).to(precise), weight, bias)
        if not self.luminance_led:
            return grid.unflatten(1, (self.bins, 3, 4)).contiguous()
        gain, added = grid.unflatten(1, (self.bins, 1, 1, 2)).unbind(4)
        colors = torch.eye(3, 4, device=grid.device, dtype=grid.dtype)[..., None, None]
        one = torch.eye(4, device=grid.device, dtype=grid.dtype)[3].expand(3, 4)[..., None, None]
        return (gain * colors + added * one).contiguous()

    def apply_grid(
        self, photo: Photo, grid: Grid, rows: tuple[int, int] | None = None, columns: tuple[int, int] | None = None
    ) -> Photo:
        """The photo under its affine maps. For a window of a larger photo: `rows` = (its first row, the photo's
        height), `columns` likewise; the result is exactly that part of the whole."""
        (top, height), (left, width) = rows or (0, photo.shape[-2]), columns or (0, photo.shape[-1])
        guide = (luma(photo) + self.guide(photo)).to(grid.dtype).clamp(0, 1)
        with torch.autocast(photo.device.type, enabled=False):
            down = bilinear_weights(grid.shape[-2], height, photo.device, (top, top + photo.shape[-2]))
            across = bilinear_weights(grid.shape[-1], width, photo.device, (left, left + photo.shape[-1]))
            enhanced = slice_grid(photo.to(grid.dtype), guide, grid, down.to(grid.dtype), across.to(grid.dtype))
        return enhanced if self.training else enhanced.clamp(0, 1)


def roughness(grid: Grid) -> Float[Tensor, ""]:
    """Mean square difference between the affine maps of neighboring cells and bins; 0 where there is one map.

    Where it is large, neighboring places of one color are rendered differently: blotches and bands.
    """
    steps = [grid.float().diff(dim=axis).square().mean() for axis in (1, 4, 5) if grid.shape[axis] > 1]
    return torch.stack(steps or [grid.new_zeros(())]).sum()


def slice_grid(
    photo: Photo, guide: Luminance, grid: Grid, down: Float[Tensor, "h rows"], across: Float[Tensor, "w columns"]
) -> Photo:
    """Each pixel under the affine map found at its place and guide by trilinear interpolation of the grid.

    `down` and `across`: see `bilinear_weights`. `guide` in [0, 1]: 0 is the first bin's center, 1 the last one's.

    Source: Gharbi et al. 2017, equations 5 and 6.
    Differs: the interpolation runs as matrix products, which give the same bytes every time on a GPU, where
    gathering from the grid does not in the backward pass.
    """
    bins = grid.shape[1]
    ink = torch.cat([photo, torch.ones_like(photo[:, :1])], dim=1)[:, None]  # (n, 1, 4, h, w)
    enhanced = torch.zeros_like(photo)
    for index in range(bins):
        weight = (1 - (guide * (bins - 1) - index).abs()).clamp(min=0)
        maps = down @ (grid[:, index] @ across.T)  # (n, 3, 4, h, w)
        enhanced = enhanced + weight * (maps * ink).sum(dim=2)
    return enhanced
