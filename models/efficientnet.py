"""EfficientNet-Lite as ONNX: a state dict of weights becomes a graph with batch norm folded into its convolutions.

Source: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (2019), table 1; what
"Lite" changes (no squeeze-and-excite, ReLU6, stem and head of fixed width, first and last stage of fixed depth) and the
scaling table are facts of tensorflow/tpu, models/official/efficientnet/lite/efficientnet_lite_builder.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.preprocessing import Preprocessing

if TYPE_CHECKING:
    import onnx

BN_EPSILON = 1e-3
STEM_CHANNELS = 32
FEATURES = 1280
MEAN, SCALE = 127.0, 128.0
"""Pixels enter the first convolution as (pixel - MEAN) / SCALE. ImageNet's own mean and deviation cost 11 points."""
OPSET, IR_VERSION = 17, 8
"""Fixed, so that the same weights give the same bytes with every version of onnx."""


@dataclass(frozen=True)
class Block:
    """One inverted bottleneck: expand (1x1), depthwise (`kernel`, `stride`), project (1x1), added to its input."""

    kernel: int
    stride: int
    expansion: int
    inputs: int
    outputs: int

    @property
    def has_shortcut(self) -> bool:
        return self.stride == 1 and self.inputs == self.outputs


@dataclass(frozen=True)
class Stage:
    """Blocks of one resolution, before scaling."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    outputs: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


@dataclass(frozen=True)
class Architecture:
    """One network of the family: the side of its input in pixels, and the scale of its channels and repeats."""

    size: int
    width: float
    depth: float

    @property
    def preprocessing(self) -> Preprocessing:
        """Crop the middle 87.5 % of the short side, as in the weights' own evaluation.

        They were trained on TensorFlow's bicubic, which does not antialias; of Pillow's filters "hamming" is the
        narrow one that still does. "bicubic" takes half as long again and is as good, give or take a photo in 300,
        but only with "hamming" does Lite0 in bf16 reach 90 % top-1: bench/thresholds.md.
        """
        return Preprocessing(size=self.size, resize_short_side=round(self.size / 0.875), interpolation="hamming")

    def blocks(self) -> Iterator[Block]:
        """Return all blocks in order, scaled."""
        inputs = STEM_CHANNELS
        for place, stage in enumerate(STAGES):
            outputs = _scaled_channels(stage.outputs, self.width)
            is_end = place in (0, len(STAGES) - 1)
            for repeat in range(stage.repeats if is_end else math.ceil(stage.repeats * self.depth)):
                yield Block(stage.kernel, 1 if repeat else stage.stride, stage.expansion, inputs, outputs)
                inputs = outputs


ARCHITECTURES = {
    "efficientnet-lite0": Architecture(224, 1.0, 1.0),
    "efficientnet-lite2": Architecture(260, 1.1, 1.2),
}


def build_onnx(weights: Mapping[str, NDArray[Any]], architecture: Architecture) -> bytes:
    """Build the ONNX file of a network, checked with ``onnx.checker``; the same weights give the same bytes.

    Its input is ``pixels``, uint8 [n, size, size, 3], RGB, any n; its outputs are ``features``, float32 [n, 1280], and
    ``logits``, float32 [n, classes], the head's own linear classifiers.

    Args:
        weights: a state dict with lukemelas' names (``_blocks.0._bn1.weight``).

    Raises:
        ModelError: a weight is missing, superfluous or of another shape than expected; or onnx is not installed.
    """
    onnx = _import_onnx()
    graph = _Graph(weights)
    size = architecture.size
    x = graph.normalise("pixels")
    x, size = graph.conv(x, "_conv_stem", "_bn0", (STEM_CHANNELS, 3, 3, 3), size, stride=2)
    for index, block in enumerate(architecture.blocks()):
        x, size = graph.block(x, f"_blocks.{index}", block, size)
    channels = graph.shape(f"_blocks.{index}._project_conv.weight")[0]
    x, size = graph.conv(x, "_conv_head", "_bn1", (FEATURES, channels, 1, 1), size)
    graph.node("GlobalAveragePool", [x], "pooled")
    graph.node("Flatten", ["pooled"], "features")
    classes = graph.classify("features", "logits")
    graph.check_all_used()

    side = architecture.size
    tensor, types = onnx.helper.make_tensor_value_info, onnx.TensorProto
    proto = onnx.helper.make_graph(
        graph.nodes,
        "efficientnet-lite",
        [tensor("pixels", types.UINT8, ["n", side, side, 3])],
        [tensor("features", types.FLOAT, ["n", FEATURES]), tensor("logits", types.FLOAT, ["n", classes])],
        graph.initializers,
    )
    model = onnx.helper.make_model(
        proto, producer_name="autotag", opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def head(weights: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the head's linear classifiers: weights float32 [1280, classes], and biases float32 [classes] to add."""
    try:
        weight, bias = weights["_fc.weight"], weights["_fc.bias"]
    except KeyError as error:
        raise ModelError(f"the weights have no {error}") from error
    if weight.shape != (len(bias), FEATURES):
        raise ModelError(f"_fc.weight should be [{len(bias)}, {FEATURES}]. Given: {weight.shape}")
    return np.ascontiguousarray(weight.T, np.float32), bias.astype(np.float32)


class _Graph:
    """Nodes and initialisers under construction; a weight is removed from the state dict when it is used."""

    def __init__(self, weights: Mapping[str, NDArray[Any]]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._onnx = _import_onnx()
        self._weights = weights
        self._unused = {name for name in weights if not name.endswith(".num_batches_tracked")}

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(self._onnx.helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: NDArray[Any] | np.float32) -> str:
        self.initializers.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._weights[name].shape)

    def normalise(self, pixels: str) -> str:
        """Turn uint8 [n, h, w, 3] into float32 [n, 3, h, w] around 0; the mean is 0, so that zero padding is grey."""
        x = self.node("Cast", [pixels], "pixels.float", to=self._onnx.TensorProto.FLOAT)
        x = self.node("Sub", [x, self.constant("mean", np.float32(MEAN))], "pixels.centred")
        x = self.node("Mul", [x, self.constant("scale", np.float32(1 / SCALE))], "pixels.scaled")
        return self.node("Transpose", [x], "pixels.planes", perm=[0, 3, 1, 2])

    def block(self, x: str, name: str, block: Block, size: int) -> tuple[str, int]:
        shortcut, middle = x, block.inputs * block.expansion
        if block.expansion > 1:
            x, size = self.conv(x, f"{name}._expand_conv", f"{name}._bn0", (middle, block.inputs, 1, 1), size)
        kernel = (middle, 1, block.kernel, block.kernel)
        x, size = self.conv(x, f"{name}._depthwise_conv", f"{name}._bn1", kernel, size, block.stride, groups=middle)
        project = (block.outputs, middle, 1, 1)
        x, size = self.conv(x, f"{name}._project_conv", f"{name}._bn2", project, size, activate=False)
        if block.has_shortcut:
            x = self.node("Add", [x, shortcut], f"{name}.sum")
        return x, size

    def conv(
        self, x: str, conv: str, norm: str, shape: tuple[int, ...], size: int, stride: int = 1, groups: int = 1,
        activate: bool = True,
    ) -> tuple[str, int]:  # fmt: skip
        """Add a convolution with its batch norm folded in, and ReLU6; return the output's name and side in pixels."""
        kernel, shift = self._folded(conv, norm, shape)
        weight, bias = self.constant(f"{conv}.kernel", kernel), self.constant(f"{conv}.bias", shift)
        before, after, out = same_padding(size, shape[-1], stride)
        x = self.node(
            "Conv", [x, weight, bias], conv,
            kernel_shape=list(shape[-2:]), strides=[stride] * 2, pads=[before] * 2 + [after] * 2, group=groups,
        )  # fmt: skip
        if activate:
            if not any(tensor.name == "six" for tensor in self.initializers):
                self.constant("zero", np.float32(0))
                self.constant("six", np.float32(6))
            x = self.node("Clip", [x, "zero", "six"], f"{conv}.relu6")
        return x, out

    def classify(self, features: str, output: str) -> int:
        weight, bias = head(self._weights)
        self._unused -= {"_fc.weight", "_fc.bias"}
        self.node("Gemm", [features, self.constant("_fc.kernel", weight), self.constant("_fc.bias", bias)], output)
        return len(bias)

    def check_all_used(self) -> None:
        if self._unused:
            raise ModelError(f"the architecture has no place for {len(self._unused)} weights: {sorted(self._unused)}")

    def _folded(self, conv: str, norm: str, shape: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[Any]]:
        kernel = self._take(f"{conv}.weight", shape).astype(np.float64)
        gamma, beta, mean, variance = (
            self._take(f"{norm}.{part}", shape[:1]).astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain = gamma / np.sqrt(variance + BN_EPSILON)
        return (kernel * gain[:, None, None, None]).astype(np.float32), (beta - mean * gain).astype(np.float32)

    def _take(self, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        if name not in self._weights:
            raise ModelError(f"the weights have no {name!r}")
        if self.shape(name) != shape:
            raise ModelError(f"weight {name!r} should have shape {shape}. Given: {self.shape(name)}")
        self._unused.discard(name)
        return self._weights[name]


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int, int]:
    """Return the padding before and after, and the output's size, as TensorFlow's "SAME": the odd pixel goes after."""
    out = math.ceil(size / stride)
    total = max((out - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2, out


def _scaled_channels(channels: int, width: float) -> int:
    """Return `channels` times `width`, rounded to the nearest multiple of 8 that is at least 0.9 of it."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8


def _import_onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise ModelError("building a network needs onnx: pip install 'autotag[build]'") from error
    return onnx
