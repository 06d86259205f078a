"""Readers of published NIMA weights: the files themselves with LPIE_DATA, files of the same layout without."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import flatbuffers
import h5py
import numpy as np
import pytest
import tflite
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from lpie.critic.backbones import MobileNetV1
from lpie.critic.nima import NIMA, mean_score
from lpie.weights.published import dequantized, git_blob_id, read_published

KERAS_LAYERS = ["conv1", *(f"conv_{part}_{block}" for block in range(1, 14) for part in ("dw", "pw"))]


def read(path: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None].float() / 255


def test_ava_reproduces_the_published_distribution(data):
    critic = NIMA.from_pretrained("ava", convention="published")
    references = json.loads((data / "nima/references.json").read_text())
    for name, reference in references["float_reference"].items():
        distribution = critic(read(data / "nima/test_images" / name))[0]
        torch.testing.assert_close(distribution, torch.tensor(reference["p"]), atol=0.005, rtol=0)
    for name, mean in references["issue23_means"]["aesthetic"].items():  # of earlier weights: near, not equal
        assert critic.mean_score(read(data / f"nima/test_images/{name}.jpg")).item() == pytest.approx(mean, abs=0.5)


def test_ava_is_the_dequantized_network_bit_for_bit(data):
    tensors, _ = read_published(data / "nima/aesthetic_model_int8.tflite")
    reference = load_file(data / "nima/nima_mobilenet_aesthetic_fp16.safetensors")
    assert tensors.keys() == reference.keys()
    assert all(torch.equal(tensors[name].half(), reference[name]) for name in reference)


def test_antialiased_input_lowers_the_ava_mean_by_most_of_a_point(data):
    photos = [read(path) for path in sorted((data / "nima/test_images").glob("4*.jpg"))]
    nearest, antialiased = (NIMA.from_pretrained("ava", convention=name) for name in ("published", "antialiased"))
    drops = [(nearest.mean_score(photo) - antialiased.mean_score(photo)).item() for photo in photos]
    assert 0.4 < np.mean(drops) < 1.3


def test_technical_network_dislikes_blur_and_noise(data):
    judge = NIMA.from_pretrained("technical")
    photo = read(data / "kodak24/07.png")
    blurred = F.avg_pool2d(photo, 9, 1, 4, count_include_pad=False)
    noisy = (photo + 0.15 * torch.randn_like(photo)).clamp(0, 1)
    assert judge.mean_score(photo) > judge.mean_score(blurred) + 0.3
    assert judge.mean_score(photo) > judge.mean_score(noisy) + 0.3


class ConvolutionAndNorm(nn.Module):
    """What Keras stores: a convolution without bias, batch norm apart."""

    def __init__(self, channels_in: int, channels_out: int, size: int, stride: int, groups: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels_in, channels_out, size, stride, bias=False, groups=groups)
        self.norm = nn.BatchNorm2d(channels_out, eps=1e-3)
        self.pads = (0, 1, 0, 1) if stride == 2 else (size // 2,) * 4
        nn.init.kaiming_normal_(self.convolution.weight, nonlinearity="relu")
        for statistic in (self.norm.weight, self.norm.running_var):
            nn.init.uniform_(statistic, 0.5, 1.5)
        for statistic in (self.norm.bias, self.norm.running_mean):
            nn.init.uniform_(statistic, -0.3, 0.3)

    def forward(self, features: Tensor) -> Tensor:
        return F.relu6(self.norm(self.convolution(F.pad(features, self.pads))))


def plain_mobilenet() -> tuple[nn.Sequential, nn.Linear]:
    layers = [ConvolutionAndNorm(3, 32, 3, 2, 1)]
    width = 32
    for width_out, stride in zip(MobileNetV1.WIDTHS, MobileNetV1.STRIDES, strict=True):
        layers += [ConvolutionAndNorm(width, width, 3, stride, width), ConvolutionAndNorm(width, width_out, 1, 1, 1)]
        width = width_out
    return nn.Sequential(*layers).eval(), nn.Linear(1024, 10)


def write_keras(path: Path, layers: nn.Sequential, dense: nn.Linear, whole_model: bool, scope: str = "") -> None:
    """The layout of Keras 2: groups by layer, `layer_names` and `weight_names`, datasets below the layer's scope."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole_model else file
        if whole_model:
            file.create_group("optimizer_weights").create_dataset(
                "training/Adam/dense_1/kernel:0", data=np.zeros((9, 9))
            )
        names = ["input_1"]
        root.create_group("input_1").attrs["weight_names"] = np.array([], dtype="S1")

        def add(layer: str, weights: dict[str, Tensor]) -> None:
            group = root.create_group(layer)
            paths = [f"{layer}{scope}/{part}:0" for part in weights]
            group.attrs["weight_names"] = [name.encode() for name in paths]
            for name, value in zip(paths, weights.values(), strict=True):
                group.create_dataset(name, data=value.detach().numpy())
            names.append(layer)

        for layer, name in zip(layers, KERAS_LAYERS, strict=True):
            kernel, norm = layer.convolution.weight, layer.norm
            if "_dw_" in name:
                add(name, {"depthwise_kernel": kernel.permute(2, 3, 0, 1)})
            else:
                add(name, {"kernel": kernel.permute(2, 3, 1, 0)})
            statistics = {"moving_mean": norm.running_mean, "moving_variance": norm.running_var}
            add(f"{name}_bn", {"gamma": norm.weight, "beta": norm.bias, **statistics})
            root.create_group(f"{name}_relu").attrs["weight_names"] = np.array([], dtype="S1")
        add("dense_1", {"kernel": dense.weight.T, "bias": dense.bias})
        root.attrs["layer_names"] = [name.encode() for name in names]
        root.attrs["backend"], root.attrs["keras_version"] = b"tensorflow", b"2.1.6"


@pytest.mark.parametrize(("whole_model", "scope"), [(False, ""), (True, ""), (False, "_1")])
def test_keras_file_gives_the_scores_of_convolution_then_batch_norm(tmp_path, whole_model, scope):
    layers, dense = plain_mobilenet()
    path = tmp_path / "weights.hdf5"
    write_keras(path, layers, dense, whole_model, scope)
    critic = NIMA.from_pretrained(path, convention="published")
    photo = torch.rand(2, 3, 224, 224)  # its own size, so that no resampling enters
    expected = dense(layers(photo * 2 - 1).mean((2, 3))).softmax(1)
    assert mean_score(expected).std() > 1e-5
    torch.testing.assert_close(critic(photo), expected, atol=1e-5, rtol=1e-4)


def test_keras_file_says_where_it_comes_from(tmp_path):
    path = tmp_path / "weights.h5"
    write_keras(path, *plain_mobilenet(), whole_model=False)
    _, metadata = read_published(path)
    assert metadata["origin"] == "Keras hdf5, of unknown training"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_blob_id_is_that_of_git(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 9000)
    expected = subprocess.run(["git", "hash-object", path], capture_output=True, text=True, check=True).stdout.strip()
    assert git_blob_id(path) == expected


def test_incomplete_keras_file_names_what_it_lacks(tmp_path):
    path = tmp_path / "weights.hdf5"
    write_keras(path, *plain_mobilenet(), whole_model=False)
    with h5py.File(path, "a") as file:
        del file["conv_dw_7"]
    with pytest.raises(ValueError, match="conv_dw_7/depthwise_kernel of 4 axes, got nothing"):
        read_published(path)
    with h5py.File(path, "a") as file:
        del file["dense_1"]
        file["conv_dw_7/conv_dw_7/depthwise_kernel:0"] = np.zeros((3, 3, 512, 1))
    with pytest.raises(ValueError, match="one dense layer of 10 scores, found none"):
        read_published(path)


def flat_table(build, fields: dict[int, tuple[str, int]], slots: int) -> int:
    """A FlatBuffer table of `build` whose fields hold (kind, value): a number's kind, or "offset" of what was built."""
    build.StartObject(slots)
    for field, (kind, value) in fields.items():
        if kind == "offset":
            build.PrependUOffsetTRelativeSlot(field, value, 0)
        else:
            getattr(build, f"Prepend{kind}Slot")(field, value, 0)
    return build.EndObject()


@pytest.mark.parametrize(
    ("axis", "scale", "zero_point"), [(0, [0.5, 2.0], [3, -4]), (2, [0.1, 1.0, 9.0], [0, 5, 1]), (0, [0.25], [7])]
)
def test_dequantization_is_scale_times_distance_from_zero_point(axis, scale, zero_point):
    """Along one axis or for the whole tensor, as TFLite's quantization specification says."""
    values = np.arange(-12, 12, dtype=np.int8).reshape(2, 4, 3)
    build = flatbuffers.Builder()
    scales = build.CreateNumpyVector(np.array(scale, np.float32))
    zeros = build.CreateNumpyVector(np.array(zero_point, np.int64))
    shape = build.CreateNumpyVector(np.array(values.shape, np.int32))
    quantization = flat_table(build, {2: ("offset", scales), 3: ("offset", zeros), 6: ("Int32", axis)}, 7)
    build.Finish(flat_table(build, {0: ("offset", shape), 1: ("Int8", 9), 4: ("offset", quantization)}, 5))
    tensor = tflite.Tensor.GetRootAs(bytes(build.Output()))
    along = [-1 if i == axis else 1 for i in range(3)] if len(scale) > 1 else [1, 1, 1]
    expected = (values - np.array(zero_point).reshape(along)) * np.array(scale).reshape(along)
    np.testing.assert_allclose(dequantized(tensor, values.view(np.uint8).ravel()), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["weights.hdf5", "weights.tflite"])
def test_file_of_something_else_is_refused(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_published(path)
    for content in (
        b"",
        b"PK\x03\x04 a pickle in a zip",
        b"\x89HDF\r\n\x1a\n" + bytes(64),
        b"\x1c\0\0\0TFL3" + bytes(99),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=name):
            read_published(path)


def test_damaged_tflite_is_refused_or_read_but_never_more(data, tmp_path):
    """A FlatBuffer has no checksum: a cut or overwritten file must end in our error, whatever its offsets say."""
    content = (data / "nima/aesthetic_model_int8.tflite").read_bytes()
    path = tmp_path / "damaged.tflite"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="cut or damaged"):
        read_published(path)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(40):
        damaged = np.frombuffer(content, np.uint8).copy()
        where = random.integers(8, 2000, 20) if random.random() < 0.5 else len(content) - random.integers(1, 20000, 200)
        damaged[where] = random.integers(0, 256, where.size)
        path.write_bytes(damaged.tobytes())
        try:
            read_published(path)
        except ValueError:
            refused += 1
    assert refused > 5


def refused_hdf5(tmp_path, write):
    path = tmp_path / "weights.hdf5"
    with h5py.File(path, "w") as file:
        write(file)
    with pytest.raises(ValueError, match="expected a whole hdf5 file of Keras weights") as caught:
        read_published(path)
    return str(caught.value)


def test_hdf5_values_that_lie_in_other_files_are_never_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(np.arange(4, dtype="f4").tobytes())
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(secret), "values", (4,))
    outside = "conv1/kernel:0 keeps its values in other files"
    external = [(str(secret), 0, 16)]
    assert outside in refused_hdf5(tmp_path, lambda file: file.create_dataset("conv1/kernel:0", (4,), "f4", external=external))  # fmt: skip  # noqa: E501
    assert outside in refused_hdf5(tmp_path, lambda file: file.create_virtual_dataset("conv1/kernel:0", layout))


def test_hdf5_link_to_another_file_is_not_followed(tmp_path):
    with h5py.File(tmp_path / "other.hdf5", "w") as other:
        other["w/conv1/kernel:0"] = np.zeros(2)
    path = tmp_path / "weights.hdf5"
    with h5py.File(path, "w") as file:
        file["model_weights"] = h5py.ExternalLink("other.hdf5", "w")
    with pytest.raises(ValueError, match="got nothing"):
        read_published(path)


def test_hdf5_that_claims_terabytes_is_refused_before_they_are_asked_for(tmp_path):
    message = refused_hdf5(
        tmp_path, lambda file: file.create_dataset("conv1/kernel:0", (2 * 10**12,), "f4", chunks=True)
    )
    assert "has shape (2000000000000,)" in message
