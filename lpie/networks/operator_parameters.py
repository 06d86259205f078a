"""Operator parameters: photo -> the settings of an image operator, and the photo as the operator renders it so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lpie.imaging.checks import check_precision
from lpie.imaging.kernels import channels_last
from lpie.imaging.resampling import resize
from lpie.names import find
from lpie.operators import OPERATORS, OperatorName, Range
from lpie.operators.adjustments import contrast, exposure, saturation, white_balance_stops
from lpie.operators.nonlocal_dehazing import Dehazed
from lpie.vocabulary import PerPhoto, Photo

THUMBNAIL = 64  # px, square
WIDTHS = (16, 32, 64, 64)  # channels after each halving
HIDDEN = 64
SAMPLES = 64  # centers of the local Laplacian filter: 52 dB from its default of 256


ADJUSTMENTS = {
    "exposure": Range(-1, 0, 1),  # stops
    "contrast": Range(0.7, 1, 1.4),  # gradient at middle gray
    "saturation": Range(0.5, 1, 1.5),
    "temperature": Range(-0.3, 0, 0.3),  # stops of red against blue
    "tint": Range(-0.2, 0, 0.2),  # stops of both against green
}
HINTS = 4  # numbers that an estimate of the haze adds to the thumbnail's: airlight and mean transmission

Settings = dict[str, PerPhoto]


def ranges_of(operator: str) -> dict[str, Range]:
    """Every setting that a network chooses for `operator`, the adjustments last; units as the operator's own."""
    return {**find(OPERATORS, operator, "operator").learned, **ADJUSTMENTS}


class OperatorParameters(nn.Module):
    """Reads a thumbnail and sets, photo by photo, the parameters of the differentiable operator.

    `operator`: `tone` (local Laplacian filter: alpha, beta, sigma_r) or `dehaze` (the last equation of non-local
    dehazing: correction of the airlight, floor of the transmission, haze kept), each followed by exposure, white
    balance, contrast and saturation; every setting is bounded, see `ranges_of`.
    `samples`: of the local Laplacian filter.
    An untrained tone network returns the photo, an untrained dehazing network what `dehaze` makes of it.

    Source: the design is this project's; Talebi and Milanfar 2018 ("Learned perceptual image enhancement") speak of
    training the parameters of operators.
    """

    thumbnail_size = (THUMBNAIL, THUMBNAIL)
    low: Tensor
    span: Tensor
    start: Tensor

    def __init__(self, operator: OperatorName = "tone", samples: int = SAMPLES) -> None:
        super().__init__()
        self._row = find(OPERATORS, operator, "operator")
        if not self._row.render:
            raise ValueError(f"The operator {operator!r} has no settings that a network could choose: train another.")
        self._render: Callable[..., Photo] = self._row.render
        self.ranges = ranges_of(operator)
        self.operator, self.samples = operator, samples
        self.uses_estimate = self._row.estimate is not None
        low, start, high = torch.tensor(list(self.ranges.values())).T
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("span", high - low, persistent=False)
        start = torch.logit((start - low).double() / (high - low).double()).float()
        self.register_buffer("start", start, persistent=False)
        self.halvings = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1)
            for before, after in zip((3, *WIDTHS), WIDTHS, strict=False)
        )
        self.hidden = nn.Linear(WIDTHS[-1] + (HINTS if self.uses_estimate else 0), HIDDEN)
        self.last = nn.Linear(HIDDEN, len(self.ranges))
        self._start_where_ranges_do()

    @torch.no_grad()
    def _start_where_ranges_do(self) -> None:
        for name, parameter in self.named_parameters():
            if name.startswith("last") or name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> OperatorParameters:
        """A trained network, in eval mode, from what `state_dict` and `metadata` gave."""
        network = cls(cast(OperatorName, metadata["operator"]), int(metadata["samples"]))
        network.load_state_dict(tensors)
        return network.eval()

    def metadata(self) -> dict[str, str]:
        """What `lpie.networks.from_pretrained` needs beside the tensors, as safetensors stores it."""
        return {"network": "parameters", "operator": self.operator, "samples": str(self.samples)}

    def forward(self, photo: Photo, estimate: Dehazed | None = None) -> Photo:
        """The enhanced photo; type, range and errors as for every `lpie.networks.Family`.

        `estimate`: what `dehaze` makes of the photo, computed here if not given; for dehazing only.
        """
        estimate = self._estimate(photo, estimate)
        return self.render(photo, self.parameters_for(photo, estimate), estimate)

    def parameters_for(self, photo: Photo, estimate: Dehazed | None = None) -> Settings:
        """What this network sets for each photo, by name; within `ranges_of` the operator. Raises as `forward`."""
        return self.choose(resize(photo, *self.thumbnail_size), self._estimate(photo, estimate))

    def choose(self, thumbnail: Photo, estimate: Dehazed | None = None) -> Settings:
        """The settings for the photo that `thumbnail` shows, each within its range."""
        features = channels_last(thumbnail - 0.5)
        for convolution in self.halvings:
            features = F.relu(convolution(features))
        with torch.autocast(thumbnail.device.type, enabled=False):
            precise = torch.promote_types(torch.float32, self.last.weight.dtype)
            summary = features.to(precise).mean(dim=(2, 3))
            if estimate is not None:
                found = torch.cat([estimate.airlight, estimate.transmission.mean(dim=(2, 3))], dim=1)
                summary = torch.cat([summary, found.to(precise)], dim=1)
            hidden, last = ((each.weight.to(precise), each.bias.to(precise)) for each in (self.hidden, self.last))
            raw = F.linear(F.relu(F.linear(summary, *hidden)), *last)
            low, span, start = (each.to(precise) for each in (self.low, self.span, self.start))
            chosen = low + span * torch.sigmoid(raw + start)
        return dict(zip(self.ranges, chosen.unbind(dim=1), strict=True))

    def render(self, photo: Photo, settings: Settings, estimate: Dehazed | None = None) -> Photo:
        """The photo under the operator so set, then adjusted."""
        with torch.autocast(photo.device.type, enabled=False):
            photo = photo.to(torch.promote_types(torch.float32, photo.dtype))
            return self.finish(self._render(photo, settings, estimate, self.samples), settings)

    def finish(self, rendered: Photo, settings: Settings) -> Photo:
        """What the operator gave, adjusted: exposure and white balance, contrast, saturation, in this order."""
        stops = settings["exposure"][:, None] + white_balance_stops(settings["temperature"], settings["tint"])
        photo = contrast(exposure(rendered.clamp(0, 1), stops), settings["contrast"])
        enhanced = saturation(photo, settings["saturation"])
        return enhanced if self.training else enhanced.clamp(0, 1)

    @torch.no_grad()
    def _estimate(self, photo: Photo, given: Dehazed | None) -> Dehazed | None:
        check_precision(photo, self.last.weight.dtype)
        if self._row.estimate is None:
            return None
        return self._row.estimate(photo.float()) if given is None else given
