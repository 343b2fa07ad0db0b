"""EfficientNet-Lite as ONNX: the same numbers as a plain reading of the paper, and the same bytes each time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from models.efficientnet import ARCHITECTURES, Architecture, build_onnx, head, same_padding
from models.errors import ModelError
from models.network import FeatureNetwork
from tests.model_files import random_weights

SMALL = Architecture(33, 1.0, 1.0)
"""Lite0 for a tiny photo of odd size: 33, 17, 9, 5, 3, 2 pixels, so that padding is even here and odd there."""


@pytest.fixture(scope="module")
def weights() -> dict[str, NDArray[Any]]:
    return random_weights(SMALL, classes=10)


def reference(pixels: NDArray[np.uint8], weights: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Features of one photo, uint8 [s, s, 3], by loops and in float64, batch norm not folded."""
    wide = {name: value.astype(np.float64) for name, value in weights.items()}

    def layer(x: NDArray[Any], conv: str, norm: str, stride: int = 1, *, depthwise: bool = False) -> NDArray[Any]:
        kernel = wide[f"{conv}.weight"]
        side, size = kernel.shape[-1], x.shape[-1]
        out = math.ceil(size / stride)
        total = max((out - 1) * stride + side - size, 0)
        x = np.pad(x, ((0, 0), (total // 2, total - total // 2), (total // 2, total - total // 2)))
        y = np.zeros((len(kernel), out, out))
        for row in range(side):
            for column in range(side):
                seen = x[
                    :, row : row + (out - 1) * stride + 1 : stride, column : column + (out - 1) * stride + 1 : stride
                ]
                weight = kernel[:, :, row, column]
                y += weight[:, 0, None, None] * seen if depthwise else np.einsum("oi,ihw->ohw", weight, seen)
        gamma, beta, mean, var = (wide[f"{norm}.{k}"] for k in ("weight", "bias", "running_mean", "running_var"))
        scaled = (y - mean[:, None, None]) / np.sqrt(var + 1e-3)[:, None, None]
        return scaled * gamma[:, None, None] + beta[:, None, None]

    def relu6(x: NDArray[Any]) -> NDArray[Any]:
        return np.clip(x, 0, 6)

    x = relu6(layer((pixels.astype(np.float64).transpose(2, 0, 1) - 127) / 128, "_conv_stem", "_bn0", 2))
    for index, block in enumerate(SMALL.blocks()):
        name, before = f"_blocks.{index}", x
        if block.expansion > 1:
            x = relu6(layer(x, f"{name}._expand_conv", f"{name}._bn0"))
        x = relu6(layer(x, f"{name}._depthwise_conv", f"{name}._bn1", block.stride, depthwise=True))
        x = layer(x, f"{name}._project_conv", f"{name}._bn2")
        if x.shape == before.shape:
            x = x + before
    return relu6(layer(x, "_conv_head", "_bn1")).mean(axis=(1, 2))


def test_the_network_computes_what_a_plain_loop_does(tmp_path: Path, weights: dict[str, NDArray[Any]]) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(build_onnx(weights, SMALL))
    pixels = np.random.default_rng(1).integers(0, 256, (2, 33, 33, 3), np.uint8)
    features = FeatureNetwork.open(path, "f32").features(pixels)
    for photo, row in zip(pixels, features, strict=True):
        wanted = reference(photo, weights)
        assert wanted.std() > 0.05  # a network that says the same of everything would prove nothing
        np.testing.assert_allclose(row, wanted, atol=2e-3)


def test_the_same_weights_give_the_same_bytes(weights: dict[str, NDArray[Any]]) -> None:
    first = build_onnx(weights, SMALL)
    assert first == build_onnx(dict(reversed(weights.items())), SMALL)
    weights = weights | {"_fc.bias": weights["_fc.bias"] + 1}
    assert first != build_onnx(weights, SMALL)


def test_inputs_and_outputs_are_what_the_docstring_says(weights: dict[str, NDArray[Any]]) -> None:
    graph = onnx.load_from_string(build_onnx(weights, SMALL)).graph
    shapes = {
        port.name: [dim.dim_param or dim.dim_value for dim in port.type.tensor_type.shape.dim]
        for port in (*graph.input, *graph.output)
    }
    assert shapes == {"pixels": ["n", 33, 33, 3], "features": ["n", 1280], "logits": ["n", 10]}
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8


def test_a_missing_a_misshapen_and_a_superfluous_weight_are_named(weights: dict[str, NDArray[Any]]) -> None:
    name = "_blocks.3._expand_conv.weight"
    with pytest.raises(ModelError, match=f"no '{name}'"):
        build_onnx({key: value for key, value in weights.items() if key != name}, SMALL)
    with pytest.raises(ModelError, match=rf"{name}.*\(144, 24, 1, 1\).*\(1, 2\)"):
        build_onnx(weights | {name: np.zeros((1, 2), np.float32)}, SMALL)
    with pytest.raises(ModelError, match=r"_blocks\.99"):
        build_onnx(weights | {"_blocks.99._bn0.weight": np.zeros(3, np.float32)}, SMALL)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "wanted"),
    [
        (224, 3, 2, (0, 1, 112)),  # one pixel too few: it goes after
        (5, 3, 1, (1, 1, 5)),
        (14, 5, 2, (1, 2, 7)),
        (65, 3, 2, (1, 1, 33)),
        (7, 1, 1, (0, 0, 7)),
        (4, 1, 2, (0, 0, 2)),
    ],
)
def test_padding_is_tensorflows(size: int, kernel: int, stride: int, wanted: tuple[int, int, int]) -> None:
    assert same_padding(size, kernel, stride) == wanted


def test_lite2_is_wider_and_deeper_as_published() -> None:
    lite0, lite2 = (list(ARCHITECTURES[f"efficientnet-lite{number}"].blocks()) for number in (0, 2))
    assert (len(lite0), len(lite2)) == (16, 21)
    assert [block.outputs for block in lite0][::5] == [16, 80, 112, 320]
    assert [lite2[index].outputs for index in (0, 1, 4, 7, 11, 15, 19, 20)] == [16, 24, 48, 88, 120, 208, 208, 352]


def test_preprocessing_keeps_seven_eighths_of_the_short_side() -> None:
    sizes = [(a.preprocessing.size, a.preprocessing.resize_short_side) for a in ARCHITECTURES.values()]
    assert sizes == [(224, 256), (260, 297)]


def test_the_head_is_the_linear_classifiers(weights: dict[str, NDArray[Any]]) -> None:
    matrix, biases = head(weights)
    assert matrix.shape == (1280, 10)
    np.testing.assert_array_equal(matrix[:, 3], weights["_fc.weight"][3])
    np.testing.assert_array_equal(biases, weights["_fc.bias"])
    with pytest.raises(ModelError, match=r"_fc\.weight"):
        head({"_fc.bias": weights["_fc.bias"]})
