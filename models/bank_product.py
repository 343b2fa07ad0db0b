"""The product of features and a bank's matrix in bf16: a fifth of the time of float32, and scores alike to 0.01.

The matrix is packed once, for the CPU's bf16 instructions, in memory of this process; float32 banks are mapped and
shared instead.
"""

from __future__ import annotations

import threading

import numpy as np
import openvino  # type: ignore[import-untyped]  # it ships no types
from numpy.typing import NDArray
from openvino import opset13 as ops


def has_bf16() -> bool:
    """Return True if this CPU multiplies bf16."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class Bf16Product:
    """Computes features @ weights + biases; compiled in a tenth of a second for 20,000 classifiers. Thread-safe.

    Args:
        weights: float32 [d, n].
        biases: float32 [n].
        threads: number of cores that one product may use.
    """

    def __init__(self, weights: NDArray[np.float32], biases: NDArray[np.float32], threads: int) -> None:
        features = ops.parameter([-1, len(weights)], np.float32)
        product = ops.add(ops.matmul(features, ops.constant(weights), False, False), ops.constant(biases[None]))
        properties = {
            "INFERENCE_PRECISION_HINT": "bf16",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # otherwise every process pins itself to the same first cores
        }
        model = openvino.Model([product], [features], "bank")
        self._request = openvino.Core().compile_model(model, "CPU", properties).create_infer_request()
        self._lock = threading.Lock()

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the scores of features [n, d]: float32 [n, classifiers], a new array."""
        with self._lock:
            return np.array(self._request.infer({0: np.ascontiguousarray(features)})[0], np.float32)
