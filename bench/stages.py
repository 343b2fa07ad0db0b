"""Each stage of tagging alone, on one core: what the whole could reach if nothing were lost between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from autotag.decoding import decode_photo
from bench.processes import settings_for
from models.bundle import Bundle
from models.network import FeatureNetwork

BATCH = settings_for(Path("unused")).batch_photos


@dataclass(frozen=True)
class Stages:
    """Milliseconds a photo."""

    decode_ms: float
    network_ms: float
    bank_ms: float

    @property
    def allowed_per_s(self) -> float:
        """Photos a second on two cores that do nothing else."""
        return 2 * 1000 / (self.decode_ms + self.network_ms + self.bank_ms)


def measure(model: Path, photos: Sequence[Path]) -> Stages:
    """Time decode, network and bank, one after the other."""
    bundle = Bundle.open(model)
    size, short_side = bundle.preprocessing.size, bundle.preprocessing.resize_short_side
    how = bundle.preprocessing.interpolation
    data = [path.read_bytes() for path in photos]
    pixels = np.stack([np.asarray(decode_photo(one, size, short_side, 10**9, how)) for one in data])
    network = FeatureNetwork.open(bundle.network_path, bundle.precision, threads=1)
    features = network.features(pixels)
    count = len(photos)
    with threadpool_limits(1, user_api="blas"):
        bundle.tags(features[:BATCH])
        bank_ms = _ms(lambda: [bundle.tags(features[at : at + BATCH]) for at in range(0, count, BATCH)], count)
    decode_ms = _ms(lambda: [np.asarray(decode_photo(one, size, short_side, 10**9, how)) for one in data], count)
    network_ms = _ms(lambda: network.features(pixels), count)
    return Stages(decode_ms, network_ms, bank_ms)


def _ms(work: Callable[[], object], photos: int) -> float:
    start = time.monotonic()
    work()
    return (time.monotonic() - start) * 1000 / photos
