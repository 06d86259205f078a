"""Reads the MobileNet NIMA that others trained and published: int8 TFLite, and the original Keras 2 hdf5.

Both hold the network of `lpie.critic.backbones.MobileNetV1` under other names, other axis orders and, in Keras's
case, with batch norm still apart. Nothing in either file is executed.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

RATINGS, BLOCKS = 10, 13  # of the scores, and of the depthwise and pointwise pairs

REGISTERED = {
    "ava": "nima/aesthetic_model_int8.tflite",  # trained on AVA: how much people like a photograph
    "technical": "nima/technical_model_int8.tflite",  # trained on TID2013: how little a photograph is damaged
}

KERAS_BLOBS = {
    "003fb321ce92445e41d708144a3656589f9214e7": "ava",
    "5e4a4ca2ce639309bfa4038d0bc10ba92b93bd26": "technical",
}
"""Git blob ids of the original hdf5 files, in idealo/image-quality-assessment @ dceaf7c2, `models/MobileNet`."""

MOST_KERAS_WEIGHTS = 2**23  # in a whole file, with a head that is larger than NIMA's; more is refused unread
KERAS_EPSILON = 1e-3  # Keras's default for batch norm, which its MobileNet keeps

_LAYERS = ("stem", *(f"blocks.{block}.{part}" for block in range(BLOCKS) for part in ("dw", "pw")))


def published_path(name: str) -> Path:
    """The registered file of `ava` or `technical`, downloaded if need be; errors as `lpie.registry.fetch`."""
    from lpie.registry import fetch

    return fetch(REGISTERED[name])


def read_published(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors (float32) and metadata of a `.tflite`, `.hdf5` or `.h5` file.

    `metadata["origin"]` says which published network an hdf5 file is, by its git blob id, or that it is unknown.
    Raises FileNotFoundError, and ValueError if the file does not hold a MobileNet NIMA.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file. Give a .tflite, .hdf5 or .h5 file of a MobileNet NIMA.")
    if path.suffix == ".tflite":
        tensors, origin = read_tflite(path), "TFLite, dequantized"
    else:
        tensors, origin = read_keras(path), f"Keras hdf5, {KERAS_BLOBS.get(git_blob_id(path), 'of unknown training')}"
    return tensors, {"network": "nima", "backbone": "mobilenet_v1", "origin": origin}


def git_blob_id(path: Path) -> str:
    """The id that git gives to the file's content: 40 hex digits."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


# ---- Keras ----------------------------------------------------------------------------------------------------------


def read_keras(path: Path) -> dict[str, Tensor]:
    """A MobileNet NIMA as `save_weights` or `save` of Keras 2 wrote it, batch norm folded into the convolutions.

    Raises ValueError that names the first missing or misshapen tensor.
    """
    stored = _keras_tensors(path)
    tensors: dict[str, Tensor] = {}
    keras_layers = ("conv1", *(f"conv_{part}_{block}" for block in range(1, BLOCKS + 1) for part in ("dw", "pw")))
    for ours, theirs in zip(_LAYERS, keras_layers, strict=True):
        depthwise = "_dw_" in theirs
        kernel = _taken(stored, path, theirs, "depthwise_kernel" if depthwise else "kernel", ndim=4)
        # Keras: (3, 3, in, out), depthwise (3, 3, channels, 1)
        weight = kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(3, 2, 0, 1)
        gamma, beta, mean, variance = (
            _taken(stored, path, f"{theirs}_bn", part, ndim=1)
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        factor = gamma / np.sqrt(variance + KERAS_EPSILON)
        if factor.shape != weight.shape[:1]:
            raise ValueError(f"{path}: expected batch norm of {weight.shape[0]} channels at {theirs}_bn.")
        tensors[f"{ours}.weight"] = _tensor(weight * factor[:, None, None, None])
        tensors[f"{ours}.bias"] = _tensor(beta - mean * factor)
    dense = [layer for (layer, part), value in stored.items() if part == "kernel" and value.ndim == 2]
    if len(dense) != 1:
        raise ValueError(f"{path}: expected one dense layer of {RATINGS} scores, found {dense or 'none'}.")
    tensors["fc.weight"] = _tensor(_taken(stored, path, dense[0], "kernel", ndim=2).T)
    tensors["fc.bias"] = _tensor(_taken(stored, path, dense[0], "bias", ndim=1))
    return tensors


def _keras_tensors(path: Path) -> dict[tuple[str, str], np.ndarray]:
    """Every weight by (layer, part), such as ("conv1_bn", "gamma"), in float64.

    A layer's group holds its weights under a scope, which Keras numbers anew when a model is built twice
    (`conv1/conv1_1/kernel:0`): the outermost and the innermost name are what counts.
    """
    import h5py

    stored: dict[tuple[str, str], np.ndarray] = {}

    def take(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        if item.external or item.is_virtual:
            raise ValueError(f"{name} keeps its values in other files, which are never read")
        if item.size is None or item.size + sum(values.size for values in stored.values()) > MOST_KERAS_WEIGHTS:
            raise ValueError(f"{name} has shape {item.shape}: all layers of the network hold 4.3 million weights")
        parts = name.split("/")
        stored[parts[0], parts[-1].split(":")[0]] = np.asarray(item, dtype=np.float64)

    try:
        with h5py.File(path, "r") as file:
            inner = isinstance(file.get("model_weights", getlink=True), h5py.HardLink)
            (file["model_weights"] if inner else file).visititems(take)  # follows no link out of the file
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path}: expected a whole hdf5 file of Keras weights, got something else ({error})."
        ) from error
    return stored


def _taken(stored: dict[tuple[str, str], np.ndarray], path: Path, layer: str, part: str, ndim: int) -> np.ndarray:
    value = stored.get((layer, part))
    if value is None or value.ndim != ndim:
        found = "nothing" if value is None else f"shape {value.shape}"
        raise ValueError(f"{path}: expected Keras 2's MobileNet, {layer}/{part} of {ndim} axes, got {found}.")
    return value


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


# ---- TFLite ---------------------------------------------------------------------------------------------------------


def read_tflite(path: Path) -> dict[str, Tensor]:
    """A MobileNet NIMA with batch norm folded, as TensorFlow Lite's converter wrote it, dequantized to float32.

    Layers are recognized by their order in the graph: 27 convolutions, then the dense one.
    Source: tensorflow/lite/schema/schema.fbs, and its quantization specification: real = scale (stored - zero point),
    per tensor or along `quantized_dimension`.
    """
    content = path.read_bytes()
    if content[4:8] != b"TFL3":
        raise ValueError(f"{path}: expected a TFLite file, whose bytes 4..8 are 'TFL3', got {content[4:8]!r}.")
    try:
        layers = list(_tflite_layers(content))
    except (struct.error, ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected a whole TFLite file, this one is cut or damaged ({error!r}).") from error
    kinds = [kind for kind, _, _ in layers]
    if kinds != ["CONV_2D", *["DEPTHWISE_CONV_2D", "CONV_2D"] * BLOCKS, "FULLY_CONNECTED"]:
        raise ValueError(f"{path}: expected the 27 convolutions and the dense layer of a MobileNet NIMA, got {kinds}.")
    tensors: dict[str, Tensor] = {}
    for name, (kind, weight, bias) in zip((*_LAYERS, "fc"), layers, strict=True):
        if kind == "CONV_2D":
            weight = weight.transpose(0, 3, 1, 2)  # TFLite: (out, 3, 3, in)
        elif kind == "DEPTHWISE_CONV_2D":
            weight = weight.transpose(3, 0, 1, 2)  # TFLite: (1, 3, 3, channels)
        tensors[f"{name}.weight"] = _tensor(weight)
        tensors[f"{name}.bias"] = _tensor(bias)
    return tensors


def _tflite_layers(content: bytes) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """The operator's name, weight and bias of each layer that has weights, in the order of the graph."""
    import tflite

    kinds = {
        getattr(tflite.BuiltinOperator, name): name for name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    }
    model = tflite.Model.GetRootAs(content)
    graph = model.Subgraphs(0)
    for operation in map(graph.Operators, range(graph.OperatorsLength())):
        code = model.OperatorCodes(operation.OpcodeIndex())
        kind = code.BuiltinCode() or code.DeprecatedBuiltinCode()
        if kind in kinds:
            tensors = [graph.Tensors(place) for place in operation.InputsAsNumpy()[1:3].tolist()]
            weight, bias = (dequantized(one, model.Buffers(one.Buffer()).DataAsNumpy()) for one in tensors)
            yield kinds[kind], weight, bias


def dequantized(tensor: Any, stored: np.ndarray) -> np.ndarray:
    """The values, float32, of a `tflite.Tensor` whose buffer holds the bytes `stored`."""
    import tflite

    types = {"FLOAT32": "<f4", "FLOAT16": "<f2", "INT32": "<i4", "UINT8": "u1", "INT8": "i1"}
    kind = {getattr(tflite.TensorType, name): numpy_type for name, numpy_type in types.items()}[tensor.Type()]
    values = stored.view(kind).reshape(tensor.ShapeAsNumpy()).astype(np.float32)
    quantization = tensor.Quantization()
    if quantization is None or quantization.ScaleIsNone():
        return values
    scale, zero_point = quantization.ScaleAsNumpy(), quantization.ZeroPointAsNumpy().astype(np.float32)
    along = [1] * values.ndim
    along[quantization.QuantizedDimension()] = scale.size
    return (values - zero_point.reshape(along)) * scale.reshape(along)
