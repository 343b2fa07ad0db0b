"""Weights, ``.pth`` files, wheels and bundles, made for a test: the true layouts, with numbers drawn by the test."""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.bank import ClassifierBank, Sigmoid, Softmax
from models.bundle import BANKS, CLASSES, NETWORK, PROBE, Bundle, network_key
from models.classes import ClassTable
from models.efficientnet import FEATURES, STEM_CHANNELS, Architecture
from models.network import FeatureNetwork
from models.preprocessing import Preprocessing
from models.probe import PROBE_PICTURES, probe_pixels

PREPROCESSING = Preprocessing(size=4, resize_short_side=5, interpolation="bicubic")

# The graph is a diamond: a spaniel is a dog and a pet, and either is an animal.
CLASS_ROWS: list[tuple[str, str, list[str]]] = [
    ("n1", "spaniel", ["n11", "n12"]),
    ("n2", "wolf", ["n10"]),
    ("n3", "Teapot", []),
    ("n10", "animal", []),
    ("n11", "dog", ["n10"]),
    ("n12", "pet", ["n10"]),
]


def random_weights(architecture: Architecture, classes: int = 1000, seed: int = 0) -> dict[str, NDArray[Any]]:
    """A state dict of the true names and shapes, with numbers that keep activations between 0 and 6."""
    rng = np.random.default_rng(seed)
    weights: dict[str, NDArray[Any]] = {}

    def layer(conv: str, norm: str, shape: tuple[int, ...]) -> None:
        spread = (2 / np.prod(shape[1:])) ** 0.5
        weights[f"{conv}.weight"] = rng.normal(0, spread, shape).astype(np.float32)
        for part, low, high in (("weight", 0.8, 1.2), ("bias", -0.1, 0.3), ("running_mean", -0.2, 0.2)):
            weights[f"{norm}.{part}"] = rng.uniform(low, high, shape[0]).astype(np.float32)
        weights[f"{norm}.running_var"] = rng.uniform(0.5, 1.5, shape[0]).astype(np.float32)
        weights[f"{norm}.num_batches_tracked"] = np.array(7, np.int64)

    layer("_conv_stem", "_bn0", (STEM_CHANNELS, 3, 3, 3))
    for index, block in enumerate(architecture.blocks()):
        name, middle = f"_blocks.{index}", block.inputs * block.expansion
        if block.expansion > 1:
            layer(f"{name}._expand_conv", f"{name}._bn0", (middle, block.inputs, 1, 1))
        layer(f"{name}._depthwise_conv", f"{name}._bn1", (middle, 1, block.kernel, block.kernel))
        layer(f"{name}._project_conv", f"{name}._bn2", (block.outputs, middle, 1, 1))
    layer("_conv_head", "_bn1", (FEATURES, block.outputs, 1, 1))
    weights["_fc.weight"] = rng.normal(0, 0.05, (classes, FEATURES)).astype(np.float32)
    weights["_fc.bias"] = rng.normal(0, 0.05, classes).astype(np.float32)
    return weights


class _Tensor:
    def __init__(self, array: NDArray[Any], key: str) -> None:
        self.array, self.key = array, key

    def __reduce__(self) -> tuple[Any, ...]:
        # The strides of an array that is not contiguous are those within its own memory.
        strides = tuple(step // self.array.itemsize for step in self.array.strides)
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        return rebuild, (_Storage(self), 0, self.array.shape, strides, False, OrderedDict())


class _Storage:
    def __init__(self, tensor: _Tensor) -> None:
        self.tensor = tensor


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, _Storage):
            return None
        array = value.tensor.array
        names = {"<f4": "FloatStorage", "<i8": "LongStorage", "<f2": "HalfStorage"}
        return (
            "storage",
            getattr(sys.modules["torch"], names[array.dtype.str]),
            value.tensor.key,
            "cpu",
            array.size,
            None,
        )


def legacy_pth(tensors: Mapping[str, Any], protocol: int = 2) -> bytes:
    """The bytes of a legacy ``.pth`` as torch.save wrote them; what is no array is pickled as it is."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage", "HalfStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch", "__qualname__": name}))

    def _rebuild_tensor_v2() -> None: ...

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    vars(utils)["_rebuild_tensor_v2"] = _rebuild_tensor_v2
    wrapped = OrderedDict(
        (name, _Tensor(value, str(number)) if isinstance(value, np.ndarray) else value)
        for number, (name, value) in enumerate(tensors.items())
    )
    stored = [tensor for tensor in wrapped.values() if isinstance(tensor, _Tensor)]
    out = io.BytesIO()
    with mock.patch.dict(sys.modules, {"torch": torch, "torch._utils": utils}):
        writer = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
        for value in (0x1950A86A20F9469CFC6C, 1001, writer, wrapped, [tensor.key for tensor in stored]):
            _Pickler(out, protocol).dump(value)
    for tensor in stored:
        out.write(struct.pack("<q", tensor.array.size) + tensor.array.tobytes(order="A"))
    return out.getvalue()


def write_wheel(folder: Path, package: str, files: Mapping[str, bytes], version: str = "0.1.0") -> tuple[Path, str]:
    """A wheel that pip accepts, and its SHA-256."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{package}-{version}-py2.py3-none-any.whl"
    info = f"{package}-{version}.dist-info"
    described = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**files, **described}.items():
            archive.writestr(name, data)
        archive.writestr(f"{info}/RECORD", "")
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def write_small_bundle(
    folder: Path,
    *,
    precision: str = "f32",
    network: bytes = b"a network that nobody runs",
    banks: Sequence[str] = ("imagenet",),
    made: Mapping[str, Any] | None = None,
    probe: NDArray[Any] | None = None,
    weight: float = 1,
    preprocessing: Preprocessing = PREPROCESSING,
) -> Bundle:
    """A bundle of 3 features and the classes in `CLASS_ROWS`; the features are the leaves' own scores.

    The bank "imagenet" is a softmax over the three leaves; any other is a sigmoid that knows teapots and dogs,
    with a `weight` for the feature of each.
    """
    folder.mkdir(parents=True)
    (folder / NETWORK).write_bytes(network)
    np.save(folder / PROBE, np.ones((PROBE_PICTURES, 3), np.float32) if probe is None else probe)
    table = ClassTable(CLASS_ROWS)
    table.write(folder / CLASSES)
    key = network_key(folder / NETWORK, precision, preprocessing)
    leaves = table.ids[:3]
    for name in banks:
        if name == "imagenet":
            rule: Softmax | Sigmoid = Softmax(1.0, 0.5, 0.5, table.members(leaves))
            weights = np.eye(3, dtype=np.float32)
            ClassifierBank.write(folder / BANKS / name, name, key, leaves, weights, np.zeros(3, np.float32), rule)
        else:
            rule = Sigmoid(np.ones(2, np.float32), np.zeros(2, np.float32), np.full(2, 0.5, np.float32))
            weights = np.array([[0, 1], [0, 0], [1, 0]], np.float32) * np.float32(weight)
            biases = np.zeros(2, np.float32)
            ClassifierBank.write(folder / BANKS / name, name, key, ("n3", "n11"), weights, biases, rule)
    return Bundle.seal(folder, "small", key, precision, preprocessing, made or {})


def colour_network(size: int) -> bytes:
    """A network whose three features are the mean red, green and blue of the input, from 0 to 1."""
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", size, size, 3])
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 3])
    constants = [
        numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
        numpy_helper.from_array(np.array(255, np.float32), "white"),
    ]
    nodes = [
        helper.make_node("Cast", ["pixels"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["values", "axes"], ["means"], keepdims=0),
        helper.make_node("Div", ["means", "white"], ["features"]),
    ]
    graph = helper.make_graph(nodes, "colours", [pixels], [features], constants)
    opsets = [helper.make_opsetid("", 18)]
    model: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return model


def write_colour_bundle(folder: Path, weight: float = 1, size: int = 4) -> Bundle:
    """A bundle that can be run: the redder a photo the more a dog, the bluer the more a teapot, by `weight`.

    Another weight is another bank over the same network; another size is another network with its preprocessing.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.with_suffix(".onnx")
    path.write_bytes(colour_network(size))
    probe = FeatureNetwork.open(path, "f32").features(probe_pixels(size))
    path.unlink()
    preprocessing = Preprocessing(size=size, resize_short_side=size + 1, interpolation="bicubic")
    return write_small_bundle(
        folder,
        network=colour_network(size),
        banks=["colours"],
        probe=probe,
        weight=weight,
        preprocessing=preprocessing,
    )
