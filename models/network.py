"""FeatureNetwork: pixels to feature vectors. The only file that knows the network runtime, OpenVINO."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import openvino  # type: ignore[import-untyped]  # it ships none
from numpy.typing import NDArray

from models.errors import ModelError
from models.preprocessing import PRECISIONS

logger = logging.getLogger(__name__)


class FeatureNetwork:
    """A network loaded for its whole life. One caller at a time."""

    # One photo an inference, whatever the batch. Measured with OpenVINO 2026.4 on one core, EfficientNet-Lite0, bf16,
    # photos a second: 421 at a fixed batch of 1, 439 at a fixed 8, 385 at a fixed 16; where the batch may vary 372,
    # 360, 336, 310 at 1, 8, 16, 32, because larger activations leave the cache. So batches would gain nothing, and
    # alone each photo's features are the same to the last bit whatever it is tagged with.

    def __init__(self, compiled: openvino.CompiledModel, size: int, dim: int, precision: str) -> None:
        self.size = size
        """Side of the input in pixels."""
        self.dim = dim
        """Length of a feature vector."""
        self.precision = precision
        """What it is really computed in: f32 where bf16 was asked for and the CPU has none."""
        self._request = compiled.create_infer_request()
        self._input = openvino.Tensor(np.zeros((1, size, size, 3), np.uint8), shared_memory=False)
        self._request.set_input_tensor(self._input)

    @classmethod
    def open(cls, path: Path, precision: str = "bf16", threads: int = 1) -> FeatureNetwork:
        """Read and compile a network; some 0.2 s.

        Args:
            path: ONNX with an input ``pixels``, uint8 [n, s, s, 3], and an output ``features``, float32 [n, d]. What
                leads to other outputs only is not computed.
            precision: one of `PRECISIONS`. bf16 on a CPU without it becomes f32, with a warning; an int8 network
                says in its file which of its parts are 8 bits wide.
            threads: how many cores one inference may use.

        Raises:
            ModelError: the file is missing, is no such network, or cannot be compiled.
        """
        if precision not in PRECISIONS:
            raise ModelError(f"{path}: the precision must be one of {PRECISIONS}. Given: {precision!r}")
        if threads < 1:
            raise ModelError(f"{path}: a network needs at least one thread. Given: {threads!r}")
        if not path.is_file():
            raise ModelError(f"{path}: there is no such network")
        core = openvino.Core()
        if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            logger.warning(
                "this CPU has no bf16: %s is computed in f32, slower and with scores a little different", path
            )
            precision = "f32"
        try:
            model = core.read_model(path)
            size, dim = _cut(model, path)
            compiled = core.compile_model(
                model,
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
                    "INFERENCE_NUM_THREADS": threads,
                    "NUM_STREAMS": 1,
                    # Every process would pin itself to the same first cores.
                    "ENABLE_CPU_PINNING": False,
                },
            )
        except RuntimeError as error:
            raise ModelError(f"{path}: OpenVINO cannot load this network: {error}") from error
        return cls(compiled, size, dim, precision)

    def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The feature vectors of photos: float32 [n, dim], a new array; some milliseconds a photo.

        Args:
            pixels: uint8 [n, size, size, 3], RGB.

        Raises:
            ModelError: another shape or type; nothing was computed.
        """
        wanted = (self.size, self.size, 3)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != wanted:
            shape = f"[n, {self.size}, {self.size}, 3]"
            raise ModelError(f"pixels must be uint8 {shape}. Given: {pixels.dtype} {list(pixels.shape)}")
        features = np.empty((len(pixels), self.dim), np.float32)
        for row, photo in zip(features, pixels, strict=True):
            self._input.data[0] = photo
            self._request.infer()
            row[:] = self._request.get_output_tensor(0).data[0]
        return features


def _cut(model: Any, path: Path) -> tuple[int, int]:
    """Leave one input of one photo and the features; gives the input's side and the features' length."""
    names = {name for port in (*model.inputs, *model.outputs) for name in port.get_names()}
    if not {"pixels", "features"} <= names or len(model.inputs) != 1:
        raise ModelError(f"{path}: a network needs 'pixels' in and 'features' out. It has {sorted(names)}")
    for result in list(model.get_results()):
        if "features" not in result.input_value(0).get_names():
            model.remove_result(result)
    pixels = model.input(0)
    shape = pixels.get_partial_shape()
    kind = pixels.get_element_type().get_type_name()
    if kind != "u8" or len(shape) != 4 or shape[1].is_dynamic or shape[1] != shape[2] or shape[3] != 3:
        raise ModelError(f"{path}: pixels must be uint8 [n, s, s, 3]. They are {kind} {shape}")
    size: int = shape[1].get_length()
    model.reshape([1, size, size, 3])
    features = model.output(0)
    kind, shape = features.get_element_type().get_type_name(), features.get_partial_shape()
    if kind != "f32" or len(shape) != 2 or shape[0] != 1 or shape[1].is_dynamic:
        raise ModelError(f"{path}: features must be float32 [n, d]. They are {kind} {shape}")
    return size, int(shape[1].get_length())
