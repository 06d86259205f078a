"""The context aggregation network: photo -> enhanced photo, by each pixel's surroundings and the photo's statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from lpie.imaging.checks import check_precision
from lpie.imaging.kernels import channels_last, find
from lpie.vocabulary import Photo

LARGEST = 1024  # dilation, in px: more would see past any photo, and need memory for it
DILATIONS: dict[int, tuple[int, ...]] = {
    32: (1, 2, 4, 8, 16, 32, 64, 128, 1),  # Chen et al. 2017, table 1
    24: (1, 2, 4, 8, 16, 32, 64, 1),  # the networks that the authors released
}
NEGATIVE_SLOPE = 0.2  # of the leaky rectifier
VARIANCE_FLOOR = 1e-3  # what the authors' batch normalization adds to the variance

Features = Float[Tensor, "n c h w"]
PerChannel = Float[Tensor, "n c"]


class AdaptiveNormalization(nn.Module):
    """`w0 x + w1 BN(x)`, with the mean and the biased variance of each photo itself, in training and after it.

    Source: Chen et al. 2017, section 3, equation 2; BN has a learned offset, no scale, and adds 1e-3 to the variance.
    Differs: statistics are those of each photo; the authors' are those of the batch, which always held one photo.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.w0 = nn.Parameter(torch.ones(()))
        self.w1 = nn.Parameter(torch.zeros(()))
        self.offset = nn.Parameter(torch.zeros(width))

    def forward(self, features: Features) -> Features:
        """The normalized features, float32 (float64 for float64); see `apply_affine` about their memory."""
        features = full_precision(features)
        return apply_affine(features, *self.affine(*moments(features)))

    def affine(self, mean: PerChannel, variance: PerChannel) -> tuple[PerChannel, PerChannel]:
        """Scale and shift that normalize features of these statistics."""
        inverse = (variance + VARIANCE_FLOOR).rsqrt()
        return self.w0 + self.w1 * inverse, self.w1 * (self.offset - mean * inverse)


def moments(features: Features) -> tuple[PerChannel, PerChannel]:
    """Mean and biased variance of each photo's channels; many times faster than `torch.var_mean`."""
    flat = features.permute(0, 2, 3, 1).flatten(1, 2)  # no copy where channels lie last
    mean = flat.mean(1, keepdim=True)
    centered = flat - mean
    return mean[:, 0], (centered.square() if torch.is_grad_enabled() else centered.square_()).mean(1)


def apply_affine(features: Features, scale: PerChannel, shift: PerChannel) -> Features:
    """`features * scale + shift`, one pair for each photo and channel.

    Overwrites `features` where no gradient is recorded: fresh memory for them takes longer than the arithmetic.
    """
    scale, shift = (each.to(features)[..., None, None] for each in (scale, shift))
    return torch.addcmul(shift, features, scale) if torch.is_grad_enabled() else features.mul_(scale).add_(shift)


class ContextAggregationNetwork(nn.Module):
    """3x3 convolutions of growing dilation, each normalized by statistics of the whole photo, and one 1x1 convolution.

    `width`: feature channels. `dilations`: one per 3x3 convolution, in px; by default CAN32's for width 32 (74,997
    parameters, sees 513 px) and those of the authors' released CAN24 for width 24 (37,219 parameters, 257 px).
    `mirrored`: the photo is mirrored at its borders as far as the network sees, and the result is cropped again.
    Without it, as in the authors' networks, convolutions see zeros beyond the borders: a network learns where these
    are, and a critic's gradient draws lines there. Starts as the identity.

    Source: Chen, Xu, Koltun, "Fast image processing with fully-convolutional networks", 2017, sections 3 and 4.
    Differs: statistics of each photo, see `AdaptiveNormalization`; the authors start the last layer at random.
    """

    uses_estimate = False

    def __init__(self, width: int = 32, dilations: Sequence[int] | None = None, mirrored: bool = False) -> None:
        super().__init__()
        if width < 3:
            raise ValueError(f"Expected a width of at least 3, to carry the photo's three colors, got {width}.")
        if dilations is None and width not in DILATIONS:
            raise ValueError(f"Width {width} has no published dilations: give them, or take one of {list(DILATIONS)}.")
        self.width, self.mirrored = width, mirrored
        self.dilations = tuple(DILATIONS[width] if dilations is None else dilations)
        if not self.dilations or not 1 <= min(self.dilations) <= max(self.dilations) <= LARGEST:
            raise ValueError(f"Expected one or more dilations of 1 to {LARGEST} px, got {self.dilations}.")
        self.convolutions = nn.ModuleList(
            nn.Conv2d(3 if layer == 0 else width, width, 3, padding=dilation, dilation=dilation, bias=False)
            for layer, dilation in enumerate(self.dilations)
        )
        self.normalizations = nn.ModuleList(AdaptiveNormalization(width) for _ in self.dilations)
        self.last = nn.Conv2d(width, 3, 1)
        self._start_as_identity()

    @torch.no_grad()
    def _start_as_identity(self) -> None:
        """Channels 0..2 carry the photo to the output; the others carry random filters of it, which the last layer
        does not yet read. Were they zero, no gradient would ever reach them."""
        for name, parameter in self.named_parameters():
            if name.endswith("weight"):
                nn.init.dirac_(parameter)
            elif name == "last.bias":
                nn.init.zeros_(parameter)
        spare = cast(Tensor, self.convolutions[0].weight)[3:]
        if len(spare):
            nn.init.kaiming_normal_(spare, NEGATIVE_SLOPE)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> ContextAggregationNetwork:
        """A trained network, in eval mode, from what `state_dict` and `metadata` gave, or the authors' tensors.

        The authors' networks (tensors conv.0.weight ... last.bias, w0, w1, beta) work on BGR; their first and last
        layers are flipped, so that the result takes and gives RGB like any other.
        """
        if "beta" in tensors:
            tensors = _from_authors(tensors)
        width = tensors["last.weight"].shape[1]
        given = metadata.get("dilations")
        network = cls(width, tuple(map(int, given.split(","))) if given else None, metadata.get("mirrored") == "yes")
        network.load_state_dict(tensors)
        return network.eval()

    def metadata(self) -> dict[str, str]:
        """What `lpie.networks.from_pretrained` needs beside the tensors, as safetensors stores it."""
        dilations = ",".join(map(str, self.dilations))
        settings = {"network": f"can{self.width}", "width": str(self.width), "dilations": dilations}
        return settings | ({"mirrored": "yes"} if self.mirrored else {})

    @property
    def receptive_radius(self) -> int:
        """Pixels in each direction on which an output pixel depends, apart from the photo-wide statistics."""
        return sum(self.dilations)

    def forward(self, photo: Photo) -> Photo:
        """The enhanced photo; type, range and errors as for every `lpie.networks.Family`.

        On a GPU, features are held in float16 where no gradient is asked for (within 1.5/255 of float32), and where
        autocast allows half precision in training; otherwise all is plain float32.
        """
        check_precision(photo, self.last.weight.dtype)
        if not self.mirrored:
            return self._forward(photo)
        height, width = photo.shape[-2:]
        radius = self.receptive_radius
        rows, columns = (mirrored_places(-radius, side + radius, side, photo.device) for side in (height, width))
        enhanced = self._forward(photo.index_select(-2, rows).index_select(-1, columns))
        return enhanced[..., radius : radius + height, radius : radius + width]

    def _forward(self, photo: Photo) -> Photo:
        kernels = find("context_aggregation", photo)
        if kernels and self._runs_in_half_precision(photo, kernels):
            return self._forward_on_gpu(photo, kernels)
        return self.plain(photo)

    def plain(self, photo: Photo) -> Photo:
        """The definition, in plain torch, of what `forward` computes where nothing is mirrored."""
        precision = self.last.weight.dtype
        half = precision == torch.bfloat16 or torch.is_autocast_enabled("cpu")
        first = half and photo.device.type == "cpu"  # channels: otherwise torch crashes in the gradient of bfloat16
        features = photo.contiguous() if first else channels_last(photo)
        layers = zip(self.convolutions, self.normalizations, self.dilations, strict=True)
        for convolution, normalization, dilation in layers:
            weight = cast(Tensor, convolution.weight.contiguous() if first else convolution.weight)  # type: ignore[operator]
            raw = F.conv2d(features.to(precision), weight, padding=dilation, dilation=dilation)
            features = F.leaky_relu(normalization(raw), NEGATIVE_SLOPE, inplace=True)
        enhanced = full_precision(self.last(features.to(precision)))
        return enhanced if self.training else enhanced.clamp(0, 1)

    def _runs_in_half_precision(self, photo: Photo, kernels: ModuleType) -> bool:
        """Whether the GPU kernels may do this call."""
        if photo.dtype == torch.float64 or not kernels.fits(photo, self.width):
            return False
        if not torch.is_grad_enabled() or not any(each.requires_grad for each in (photo, *self.parameters())):
            return True
        return not photo.requires_grad and torch.is_autocast_enabled("cuda")

    def _forward_on_gpu(self, photo: Photo, kernels: ModuleType) -> Photo:
        convolutions = [cast(nn.Conv2d, convolution).weight for convolution in self.convolutions]
        weights = kernels.pack(convolutions, list(self.normalizations), self.last.weight, cast(Tensor, self.last.bias))
        if not torch.is_grad_enabled() or not weights.first.requires_grad:
            return kernels.enhance(photo, weights, self.dilations, torch.float16, clip=not self.training)
        enhanced = kernels.enhance_with_gradient(photo, weights, self.dilations, torch.float16)
        return enhanced if self.training else enhanced.clamp(0, 1)


def full_precision(features: Features) -> Features:
    """Half precision, as autocast gives it, as float32; the rest as it is."""
    return features if features.dtype == torch.float64 else features.float()


def mirrored_places(start: int, end: int, size: int, device: torch.device | str = "cpu") -> Int[Tensor, " places"]:
    """Where in `size` pixels the places `start` .. `end` - 1 lie when the row goes on mirrored at both ends.

    The outermost pixels are not repeated; a row shorter than what is asked is mirrored again and again.
    """
    period = max(2 * (size - 1), 1)
    place = torch.arange(start, end, device=device).remainder(period)
    return torch.minimum(place, (period - place).clamp(max=size - 1) if size > 1 else place)


def _from_authors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' tensors under this project's names, BGR turned to RGB."""
    renamed = {f"last.{part}": tensors[f"last.{part}"].flip(0) for part in ("weight", "bias")}
    for layer in range(len(tensors["w0"])):
        weight = tensors[f"conv.{layer}.weight"]
        renamed[f"convolutions.{layer}.weight"] = weight.flip(1) if layer == 0 else weight
        for ours, theirs in (("w0", "w0"), ("w1", "w1"), ("offset", "beta")):
            renamed[f"normalizations.{layer}.{ours}"] = tensors[theirs][layer]
    return renamed
