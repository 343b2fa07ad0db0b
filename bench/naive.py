"""The naive way: full decode, one photo at a time through ONNX Runtime's defaults, a loop over the classifiers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from models.bundle import Bundle


def images_per_s(model: Path, photos: Sequence[Path]) -> float:
    """Return photos a second from bytes on disk to the best five classes, on all cores."""
    bundle = Bundle.open(model)
    session = onnxruntime.InferenceSession(str(bundle.network_path), providers=["CPUExecutionProvider"])
    classifiers = [
        (np.array(weights), float(bias))
        for bank in bundle.banks
        for matrix in [np.load(bundle.folder / "banks" / bank.name / "weights.npy")]
        for weights, bias in zip(matrix[:-1].T, matrix[-1], strict=True)
    ]
    size, short_side = bundle.preprocessing.size, bundle.preprocessing.resize_short_side

    def tag(path: Path) -> list[int]:
        photo = Image.open(path).convert("RGB")
        scale = short_side / min(photo.size)
        photo = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.BICUBIC)
        left, top = (photo.width - size) // 2, (photo.height - size) // 2
        pixels = np.asarray(photo.crop((left, top, left + size, top + size)))[None]
        features = session.run(["features"], {"pixels": pixels})[0][0]
        scores = [float(np.dot(weights, features)) + bias for weights, bias in classifiers]
        return sorted(range(len(scores)), key=scores.__getitem__)[-5:]

    tag(photos[0])
    start = time.monotonic()
    for path in photos:
        tag(path)
    return len(photos) / (time.monotonic() - start)
