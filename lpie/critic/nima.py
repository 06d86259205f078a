"""NIMA: from a photograph to the distribution of the ratings 1..10 that people would give it.

    critic = NIMA.from_pretrained("compact")   # frozen
    critic(photo)                              # (N, 10)
    critic.mean_score(photo)                   # (N,)

Source: Talebi & Milanfar, NIMA: Neural Image Assessment, TIP 2018, arXiv 1709.05424.

One convention for the input, since it moves the mean score by almost one point: `antialiased` resamples the whole photo
to a square with a triangle filter, so that every pixel counts and receives a gradient. `published` takes the nearest
pixels, as the pipeline in which the published weights were trained did; it exists to reproduce their scores.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lpie.critic.backbones import INPUTS, RATINGS, SIZES, BackboneName, build_backbone
from lpie.imaging.checks import check_range, check_shape
from lpie.imaging.kernels import channels_last, recorded
from lpie.imaging.resampling import bilinear_weights, nearest_weights, resize, resize_by_products
from lpie.names import find
from lpie.vocabulary import PerPhoto, Photo, ScoreDistribution
from lpie.weights import open_weights, rebuild, write_tensors
from lpie.weights.published import REGISTERED, published_path, read_published

Convention = Literal["antialiased", "published"]
CONVENTIONS = {"antialiased": bilinear_weights, "published": nearest_weights}


def mean_score(distribution: ScoreDistribution) -> PerPhoto:
    """The mean rating, in [1, 10].

    Source: Talebi & Milanfar, TIP 2018, section III: mu = sum_k k p_k.
    """
    with torch.autocast(distribution.device.type, enabled=False):  # in bfloat16 scores would come in steps of 1/32
        return distribution @ _ratings(distribution)


def score_standard_deviation(distribution: ScoreDistribution) -> PerPhoto:
    """The standard deviation of the ratings, in [0, 4.5].

    Source: Talebi & Milanfar, TIP 2018, section III: sigma = sqrt(sum_k (k - mu)^2 p_k).
    """
    distances = _ratings(distribution) - mean_score(distribution)[:, None]
    return (distances.square() * distribution).sum(1).clamp_min(1e-30).sqrt()  # a root has no gradient at 0


def _ratings(distribution: Tensor) -> Tensor:
    return torch.arange(1, RATINGS + 1, dtype=distribution.dtype, device=distribution.device)


def _keep_own_weights(critic: NIMA, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Where a parent's state lacks a frozen critic, as it should, the critic keeps its own."""
    if critic._frozen and prefix and not any(name.startswith(prefix) for name in state):
        state.update({f"{prefix}{name}": tensor for name, tensor in critic.state_dict().items()})


class NIMA(nn.Module):
    """Photographs of any size and aspect -> score distributions; frozen when it comes from `from_pretrained`.

    `convention` and `input_size` say how a photo becomes the backbone's square: see the module. The resizing runs in
    float32 (float64 for float64 photos) and the softmax in float32 also under autocast; the network between them
    follows autocast. On a GPU a frozen MobileNet in eval mode runs on kernels: its gradient by the photo is the same
    bits twice, and float32 is not rounded unless `torch.backends.cuda.matmul.allow_tf32` is set. Its mean scores of at
    most 32 photos come from a recorded CUDA graph where a gradient is wanted again and again: `lpie.fast.recorded_gpu`
    says which and what memory that keeps. Other networks run in cuDNN, in float32 with TF32 and sums in any order
    unless `torch.backends.cudnn` is told otherwise.
    """

    mean: Tensor
    standard_deviation: Tensor

    def __init__(
        self,
        backbone: BackboneName = "mobilenet_v1",
        convention: Convention = "antialiased",
        input_size: int | None = None,
        imagenet: bool = False,
    ) -> None:
        """A trainable NIMA; `input_size` in px (default: the backbone's own), `imagenet` downloads ImageNet weights.

        Raises ValueError for an unknown backbone or convention, or an input smaller than 32 px.
        """
        super().__init__()
        find(CONVENTIONS, convention, "convention")
        self.network = build_backbone(backbone, imagenet)
        self.backbone: BackboneName = backbone
        self.convention: Convention = convention
        self.input_size = input_size or SIZES[backbone]
        if not 32 <= self.input_size <= 4096:
            raise ValueError(f"input_size must be at least 32 px and at most 4096, got {self.input_size}.")
        for moment, colors in zip(("mean", "standard_deviation"), INPUTS[backbone], strict=True):
            self.register_buffer(moment, torch.tensor(colors).view(1, 3, 1, 1), persistent=False)
        self._frozen = False
        self.register_load_state_dict_pre_hook(_keep_own_weights)

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], convention: Convention | None = None) -> NIMA:
        """A frozen NIMA, by name or from a file.

        `compact` and `robust` are shipped; `ava` and `technical` are the published MobileNets, from the data
        registry; a path leads to .safetensors, or to a published .tflite or .hdf5. `convention` replaces the file's.
        Raises FileNotFoundError if there is no such network, ValueError if the file holds something else; for `ava`
        and `technical` also what `lpie.registry.fetch` raises.
        """
        find(CONVENTIONS, convention or "antialiased", "convention")
        if name in REGISTERED:
            tensors, metadata = read_published(published_path(str(name)))
        elif str(name).endswith((".tflite", ".hdf5", ".h5")):
            tensors, metadata = read_published(name)
        else:
            tensors, metadata = open_weights(name, "critic", REGISTERED)

        def build(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> NIMA:
            size = metadata.get("input_size")
            critic = cls(
                metadata.get("backbone", "mobilenet_v1"),  # type: ignore[arg-type]
                convention or metadata.get("convention", "antialiased"),  # type: ignore[arg-type]
                int(size) if size else None,
            )
            critic.network.load_state_dict(tensors)
            return critic.freeze()

        return rebuild(name, build, tensors, metadata)

    def metadata(self) -> dict[str, str]:
        """The settings that `from_pretrained` reads back."""
        settings = {"backbone": self.backbone, "convention": self.convention, "input_size": str(self.input_size)}
        return {"network": "nima", **settings}

    def save(self, path: str | os.PathLike[str], dtype: torch.dtype = torch.float32, **metadata: str) -> None:
        """Write the weights as `dtype` with the settings and further `metadata`, atomically."""
        state = self.network.state_dict().items()
        tensors = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state}
        write_tensors(path, tensors, {**self.metadata(), **metadata})

    def freeze(self) -> NIMA:
        """Make it a critic: no weight takes a gradient, and nothing that a parent module does changes it.

        A parent's `train()` and `requires_grad_()` pass it by, a parent's parameters and `state_dict()` leave it out;
        `to()` moves it with its parent.
        """
        self._frozen = True
        return self.requires_grad_(False).eval()

    def unfreeze(self) -> NIMA:
        """Make it trainable."""
        self._frozen = False
        return self.requires_grad_(True)

    def train(self, mode: bool = True) -> NIMA:
        """Switch dropout and batch norm, unless frozen."""
        return super().train(mode and not self._frozen)

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Module]]:
        """All parts; a parent, which passes `memo` on, sees a frozen NIMA as one module without parameters."""
        if not self._frozen or memo is None:
            yield from super().named_modules(memo, prefix, remove_duplicate)
        elif self not in memo:
            memo.add(self)
            yield prefix, self

    def state_dict(self, *args: Any, prefix: str = "", **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The weights; nothing where it is frozen and a parent asks, whose `load_state_dict` misses nothing either."""
        if self._frozen and prefix:
            return kwargs.get("destination", {})
        return super().state_dict(*args, prefix=prefix, **kwargs)

    def __repr__(self) -> str:
        state = "frozen" if self._frozen else "trainable"
        return f"NIMA({self.backbone}, {self.convention}, {self.input_size} px, {state})"

    def forward(self, photo: Photo) -> ScoreDistribution:
        """Probabilities of the ratings 1..10, float32; photo: sRGB in [0, 1], any size.

        Raises ValueError for another shape or device and, on the CPU, for values outside [0, 1]; TypeError for
        integers.
        """
        return self.rate(self.square(photo))

    def mean_score(self, photo: Photo, checked: bool = False) -> PerPhoto:
        """The mean rating of each photo, in [1, 10]. `checked`: see `square`."""

        def score(photo: Tensor) -> Tensor:
            return mean_score(self.rate(self.square(photo, checked)))

        if type(self) is NIMA and self._frozen and self.backbone == "mobilenet_v1":
            return recorded(score, photo, owner=self, settings=(self.convention, self.input_size))
        return score(photo)

    def rate(self, square: Float[Tensor, "n 3 size size"]) -> ScoreDistribution:
        """The second half of `forward`: probabilities of the ratings for what `square` returned."""
        scaled = (square - self.mean) / self.standard_deviation
        weight_type = next(self.network.parameters()).dtype
        depthwise = self.backbone.startswith("mobilenet")  # on a GPU slow in channels-last; other backbones without it
        scaled = scaled.to(weight_type) if scaled.is_cuda and depthwise else channels_last(scaled.to(weight_type))
        return self.network(scaled).to(square.dtype).softmax(1)

    def square(self, photo: Photo, checked: bool = False) -> Float[Tensor, "n 3 size size"]:
        """The first half of `forward`: the photo as the network sees it, still in [0, 1]; at least float32.

        `checked`: its range has been looked at, and may be that of a network's raw output.
        """
        check_shape(photo)
        if photo.device != self.mean.device:
            raise ValueError(f"The photo is on {photo.device} but the NIMA on {self.mean.device}: move one of them.")
        if not checked:
            check_range(photo)
        photo = photo.to(torch.float64 if photo.dtype == torch.float64 else torch.float32)
        size = self.input_size
        with torch.autocast(photo.device.type, enabled=False):
            if self.convention == "antialiased" and photo.device.type == "cpu":
                return resize(photo, size, size)
            return resize_by_products(photo, size, CONVENTIONS[self.convention])
