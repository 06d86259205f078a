"""The convolutional networks that a NIMA may rest on, each ending in ten logits.

`MobileNetV1` is ours, because the published NIMA weights need Keras's padding; the others are torchvision's with
their last layer replaced (Talebi & Milanfar, TIP 2018, section III-A).
"""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from lpie.imaging.kernels import find

BackboneName = Literal["mobilenet_v1", "mobilenet_v2", "vgg16", "inception_v3"]

RATINGS = 10
DROPOUT = 0.75  # before the last layer, while training (Talebi & Milanfar, TIP 2018, section III-B)

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SYMMETRIC = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
INPUTS = {"mobilenet_v1": SYMMETRIC, "mobilenet_v2": IMAGENET, "vgg16": IMAGENET, "inception_v3": SYMMETRIC}
"""Mean and standard deviation of the photos that a backbone was made for."""
SIZES = {"mobilenet_v1": 224, "mobilenet_v2": 224, "vgg16": 224, "inception_v3": 299}
"""Pixels a side of its square."""


class KerasConv2d(nn.Conv2d):
    """3x3 convolution padded as Keras pads it: one pixel all round, or right and bottom only when the stride is 2."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, groups: int = 1) -> None:
        super().__init__(channels_in, channels_out, 3, stride, padding=0 if stride == 2 else 1, groups=groups)

    def forward(self, input: Tensor) -> Tensor:
        if self.stride[0] == 1:
            return super().forward(input)
        if input.is_cuda or self.groups == 1:
            return super().forward(F.pad(input, (0, 1, 0, 1)))
        kernel = F.pad(self.weight, (1, 0, 1, 0))  # the same sums, padded all round, without a copy of the features
        return F.conv2d(input, kernel, self.bias, 2, 1, groups=self.groups)


class PointwiseConv2d(nn.Conv2d):
    """1x1 convolution; on a CPU as a matrix product, which is faster where channels lie last in memory."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 1)

    def forward(self, input: Tensor) -> Tensor:
        if input.is_cuda:
            return super().forward(input)
        return F.linear(input.movedim(1, -1), self.weight[:, :, 0, 0], self.bias).movedim(-1, 1)


class SeparableBlock(nn.Module):
    """Depthwise 3x3 and pointwise 1x1 convolution, each followed by ReLU6.

    Source: Howard et al., MobileNets, arXiv 1704.04861, section 3.1 and figure 3.
    Differs: batch norm is folded into the convolutions, as in the published NIMA weights.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.dw = KerasConv2d(channels_in, channels_in, stride, groups=channels_in)
        self.pw = PointwiseConv2d(channels_in, channels_out)

    def forward(self, features: Tensor) -> Tensor:
        return F.relu6(self.pw(F.relu6(self.dw(features))))  # in place, autograd would copy what is overwritten


class MobileNetV1(nn.Module):
    """MobileNet-v1 of full width with Keras's padding, batch norm folded: square in [-1, 1] -> ten logits.

    Source: Howard et al., MobileNets, arXiv 1704.04861, table 1; tensor names `stem`, `blocks.0..12.{dw,pw}`, `fc`.
    """

    WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)

    def __init__(self) -> None:
        super().__init__()
        self.stem = KerasConv2d(3, 32, stride=2)
        widths_in = (32, *self.WIDTHS[:-1])
        self.blocks = nn.Sequential(*map(SeparableBlock, widths_in, self.WIDTHS, self.STRIDES))
        self.dropout = nn.Dropout(DROPOUT)
        self.fc = nn.Linear(self.WIDTHS[-1], RATINGS)
        for parameter in self.parameters():  # without batch norm, the weights themselves must keep the variance
            if parameter.ndim == 4:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
            elif parameter.ndim == 1:
                nn.init.zeros_(parameter)

    def maps(self, square: Float[Tensor, "n 3 size size"]) -> Float[Tensor, "n 1024 cells cells"]:
        """The features whose means over the square are what the last layer sees; a cell is 32 px wide."""
        return self.blocks(F.relu6(self.stem(square)))

    def forward(self, square: Float[Tensor, "n 3 size size"]) -> Float[Tensor, "n 10"]:
        kernels = find("mobilenet", square)
        if kernels and kernels.fits(self, square):
            return self.fc(kernels.means(self, square))
        return self.fc(self.dropout(self.maps(square).mean((2, 3))))


def build_backbone(name: BackboneName, imagenet: bool = False) -> nn.Module:
    """A network from a scaled square photo to ten logits, at random or with ImageNet weights below the last layer.

    ImageNet weights are torchvision's own files, downloaded on first use, checked by the SHA-256 prefix in their
    names and read with torch's tensors-only reader.

    Raises ValueError for an unknown name, and for ImageNet weights of `mobilenet_v1`, which torchvision lacks.
    """
    if name == "mobilenet_v1" and imagenet:
        raise ValueError("There are no ImageNet weights for mobilenet_v1: start from NIMA.from_pretrained('ava').")
    if name == "mobilenet_v1":
        return MobileNetV1()
    from torchvision import models  # takes a second to import, and the usual critic does without it

    if name not in SIZES:
        raise ValueError(f"Unknown backbone {name!r}: choose one of {', '.join(SIZES)}.")
    more = {"aux_logits": False, "transform_input": False, "init_weights": not imagenet}
    network = models.get_model(name, **(more if name == "inception_v3" else {}))
    if imagenet:
        weights = models.get_model_weights(name)["IMAGENET1K_V1"]
        stored = weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
        network.load_state_dict({key: value for key, value in stored.items() if not key.startswith("AuxLogits")})
    if name == "inception_v3":
        network.dropout = nn.Dropout(DROPOUT)
        network.fc = nn.Linear(network.fc.in_features, RATINGS)
    else:
        *earlier, _, last = network.classifier  # torchvision's own dropout and classes go
        network.classifier = nn.Sequential(*earlier, nn.Dropout(DROPOUT), nn.Linear(last.in_features, RATINGS))
    return network
