"""FeatureNetwork: the same photo, the same features; anything else than such a network is refused by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest
from onnx import TensorProto, helper

from autotag.settings import PROJECT
from models.efficientnet import Architecture, build_onnx
from models.errors import ModelError
from models.network import FeatureNetwork
from tests.model_files import random_weights

SIZE = 32


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    architecture = Architecture(SIZE, 1.0, 1.0)
    path = tmp_path_factory.mktemp("network") / "network.onnx"
    path.write_bytes(build_onnx(random_weights(architecture, classes=10), architecture))
    return path


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)


@pytest.mark.parametrize("precision", ["bf16", "f32"])
def test_a_photo_has_the_same_features_in_any_batch(path: Path, pixels: np.ndarray, precision: str) -> None:
    # To the last bit where it was measured; another CPU's kernels may add in another order for four than for one.
    close = {"bf16": 2e-2, "f32": 1e-4}[precision]
    network = FeatureNetwork.open(path, precision)
    together = network.features(pixels)
    assert together.shape == (5, network.dim) == (5, 1280)
    assert together.dtype == np.float32
    for photo, row in zip(pixels, together, strict=True):
        np.testing.assert_allclose(network.features(photo[None])[0], row, rtol=0, atol=close * row.max())
    np.testing.assert_allclose(network.features(pixels[::-1])[::-1], together, rtol=0, atol=close * together.max())
    assert len({row.tobytes() for row in together}) == 5


def test_bf16_is_close_to_f32_and_not_the_same(path: Path, pixels: np.ndarray) -> None:
    half, full = FeatureNetwork.open(path, "bf16"), FeatureNetwork.open(path, "f32")
    features, exact = half.features(pixels), full.features(pixels)
    # Where the CPU has no bf16 it is f32, and says so.
    assert np.array_equal(features, exact) == (half.precision == "f32")
    cosines = (features * exact).sum(axis=1) / np.linalg.norm(features, axis=1) / np.linalg.norm(exact, axis=1)
    assert cosines.min() > 0.995


def test_the_system_chooses_the_cores(path: Path) -> None:
    # Pinned, the processes of a host would all sit on the same one.
    for request in FeatureNetwork.open(path)._requests.values():
        assert not request.get_compiled_model().get_property("ENABLE_CPU_PINNING")


def test_features_are_the_callers_to_keep(path: Path, pixels: np.ndarray) -> None:
    network = FeatureNetwork.open(path, "f32")
    first = network.features(pixels[:1])
    before = first.copy()
    network.features(pixels[1:2])
    np.testing.assert_array_equal(first, before)


def test_no_photos_have_no_features(path: Path, pixels: np.ndarray) -> None:
    assert FeatureNetwork.open(path, "f32").features(pixels[:0]).shape == (0, 1280)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, SIZE, SIZE, 3), np.float32),
        np.zeros((1, SIZE, SIZE + 1, 3), np.uint8),
        np.zeros((SIZE, SIZE, 3), np.uint8),
        np.zeros((1, 3, SIZE, SIZE), np.uint8),
    ],
)
def test_pixels_of_another_shape_or_type_are_refused_with_both(path: Path, wrong: np.ndarray) -> None:
    with pytest.raises(ModelError, match=r"uint8 \[n, 32, 32, 3\]") as caught:
        FeatureNetwork.open(path, "f32").features(wrong)
    assert f"{wrong.dtype} {list(wrong.shape)}" in str(caught.value)


def test_a_cpu_without_bf16_computes_in_f32_and_says_so(
    path: Path, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class OldCore(openvino.Core):
        def get_property(self, device: str, name: str) -> Any:
            assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
            return ["FP32", "INT8"]

    monkeypatch.setattr(openvino, "Core", OldCore)
    network = FeatureNetwork.open(path, "bf16")
    assert network.precision == "f32"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    np.testing.assert_array_equal(network.features(pixels), FeatureNetwork.open(path, "f32").features(pixels))


def test_nothing_is_written_to_standard_output(
    path: Path, pixels: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    FeatureNetwork.open(path, "bf16").features(pixels)
    assert capfd.readouterr().out == ""


def test_a_missing_file_and_one_that_is_no_network_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.onnx"):
        FeatureNetwork.open(tmp_path / "none.onnx")
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no network at all")
    with pytest.raises(ModelError, match=r"bad\.onnx"):
        FeatureNetwork.open(bad)


def test_an_unknown_precision_and_no_threads_are_refused(path: Path) -> None:
    with pytest.raises(ModelError, match="'f16'"):
        FeatureNetwork.open(path, "f16")
    with pytest.raises(ModelError, match="at least one thread"):
        FeatureNetwork.open(path, threads=0)


@pytest.mark.parametrize(
    ("kind", "shape", "output", "message"),
    [
        (TensorProto.FLOAT, ["n", 4, 4, 3], "features", "pixels must be uint8"),
        (TensorProto.UINT8, ["n", 4, 5, 3], "features", "pixels must be uint8"),
        (TensorProto.UINT8, ["n", 4, 4, 3], "other", "'features' out"),
    ],
)
def test_another_kind_of_network_is_refused(
    tmp_path: Path, kind: int, shape: list[Any], output: str, message: str
) -> None:
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], [output]),
    ]
    pixels = helper.make_tensor_value_info("pixels", kind, shape)
    features = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "other", [pixels], [features])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ModelError, match=message):
        FeatureNetwork.open(tmp_path / "other.onnx")


def test_no_library_sends_usage_data_or_writes_to_the_users_home(tmp_path: Path) -> None:
    program = "import models.network, onnxruntime, sys; print(sys.modules['openvino.tools.ovc.telemetry_stub'])"
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"HOME": str(tmp_path)}, cwd=PROJECT, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*")) == []
