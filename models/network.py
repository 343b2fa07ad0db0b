"""FeatureNetwork: turns pixels into feature vectors, with the network runtime, OpenVINO."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import openvino  # type: ignore[import-untyped]  # it ships no types
from numpy.typing import NDArray

from models.errors import ModelError
from models.preprocessing import PRECISIONS

log = logging.getLogger(__name__)

INFERENCE_PHOTOS = (4, 1)
"""Numbers of photos that one inference may take; a batch is cut into these."""


class FeatureNetwork:
    """A network, loaded and compiled once. One caller at a time."""

    # Few photos an inference, whatever the batch: more photos leave the cache. Measured with OpenVINO 2026.4, bf16,
    # EfficientNet-Lite0. One process on one core: 421 photos a second at a fixed batch of 1, 439 at 8, 385 at 16, and
    # 372 down to 310 where the batch may vary. Two processes that also decode, on two cores: 386 at 1, 400 at 4, 380
    # at 8. The features were the same to the last bit at every size (AVX-512). On other CPUs the size may change the
    # last digit, which bf16 leaves uncertain anyway.

    def __init__(self, requests: dict[int, openvino.InferRequest], size: int, dim: int, precision: str) -> None:
        self.size = size
        """Side of the input in pixels."""
        self.dim = dim
        """Length of a feature vector."""
        self.precision = precision
        """The precision of the computation: f32 if bf16 was requested and the CPU has none."""
        self._requests = requests
        """Compiled networks by the number of photos that each takes, the largest first."""
        for photos, request in requests.items():
            pixels = np.zeros((photos, size, size, 3), np.uint8)
            request.set_input_tensor(openvino.Tensor(pixels, shared_memory=False))

    @classmethod
    def open(cls, path: Path, precision: str = "bf16", threads: int = 1) -> FeatureNetwork:
        """Read and compile a network; some 0.2 s.

        Args:
            path: ONNX with an input ``pixels``, uint8 [n, s, s, 3], and an output ``features``, float32 [n, d].
                Nodes that lead to other outputs only are not computed.
            precision: one of `PRECISIONS`. bf16 on a CPU without it becomes f32, with a warning; the file of an
                int8 network states which of its parts are 8 bits wide.
            threads: number of cores that one inference may use.

        Raises:
            ModelError: the file is missing, is not such a network, or cannot be compiled.
        """
        if precision not in PRECISIONS:
            raise ModelError(f"{path}: the precision must be one of {PRECISIONS}. Given: {precision!r}")
        if threads < 1:
            raise ModelError(f"{path}: a network needs at least one thread. Given: {threads!r}")
        if not path.is_file():
            raise ModelError(f"{path}: the network is missing")
        core = openvino.Core()
        if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            log.warning("this CPU has no bf16: %s is computed in f32, slower and with scores a little different", path)
            precision = "f32"
        properties = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # otherwise every process pins itself to the same first cores
        }
        try:
            model = core.read_model(path)
            size, dim = _cut(model, path)
            requests = {}
            for photos in INFERENCE_PHOTOS:
                model.reshape([photos, size, size, 3])
                requests[photos] = core.compile_model(model, "CPU", properties).create_infer_request()
        except RuntimeError as error:
            raise ModelError(f"{path}: OpenVINO cannot load this network: {error}") from error
        return cls(requests, size, dim, precision)

    def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the feature vectors of photos: float32 [n, dim], a new array; some milliseconds a photo.

        Args:
            pixels: uint8 [n, size, size, 3], RGB.

        Raises:
            ModelError: the pixels have another shape or type; nothing was computed.
        """
        wanted = (self.size, self.size, 3)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != wanted:
            shape = f"[n, {self.size}, {self.size}, 3]"
            raise ModelError(f"pixels must be uint8 {shape}. Given: {pixels.dtype} {list(pixels.shape)}")
        features = np.empty((len(pixels), self.dim), np.float32)
        start = 0
        for photos, request in self._requests.items():
            while len(pixels) - start >= photos:
                request.get_input_tensor().data[:] = pixels[start : start + photos]
                request.infer()
                features[start : start + photos] = request.get_output_tensor().data
                start += photos
        return features


def _cut(model: Any, path: Path) -> tuple[int, int]:
    """Reduce the network to one input and the features; return the input's side and the features' length."""
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
