"""Times each stage of tagging alone, on both cores: their sum is the bound of tagging without any loss between them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from autotag.photos.decode_main import decode_photo
from bench.processes import CONTEXT, settings_for
from models.bundle import Bundle
from models.network import FeatureNetwork

BATCH = settings_for(Path("unused")).tagger_batch_photos


@dataclass(frozen=True)
class Stages:
    """Milliseconds a photo."""

    decode_ms: float
    network_ms: float
    bank_ms: float

    @property
    def allowed_per_s(self) -> float:
        """Photos a second on two cores, from the sum of the stages."""
        return 2 * 1000 / (self.decode_ms + self.network_ms + self.bank_ms)


def measure(model: Path, photos: Sequence[Path], processes: int) -> Stages:
    """Time decode, network and bank, one after another, in `processes` at once; return the mean of the processes."""
    barrier, results = CONTEXT.Barrier(processes), CONTEXT.Queue()
    workers = [CONTEXT.Process(target=_measure, args=(model, photos, barrier, results)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=600) for _ in workers]
    for worker in workers:
        worker.join()
    return Stages(*(statistics.mean(times) for times in zip(*map(astuple, found), strict=True)))


def _measure(model: Path, photos: Sequence[Path], barrier: Barrier, results: Any) -> None:
    bundle = Bundle.open(model)
    size, short_side = bundle.preprocessing.size, bundle.preprocessing.resize_short_side
    how = bundle.preprocessing.interpolation
    data = [path.read_bytes() for path in photos]
    pixels = np.stack([np.asarray(decode_photo(one, size, short_side, 10**9, how).picture) for one in data])
    network = FeatureNetwork.open(bundle.network_path, bundle.precision, threads=1)
    features = network.features(pixels)
    count = len(photos)
    bundle.use_bf16()

    def ms(work: Callable[[], object]) -> float:
        barrier.wait()
        start = time.monotonic()
        work()
        return (time.monotonic() - start) * 1000 / count

    with threadpool_limits(1, user_api="blas"):
        bundle.tags(features[:BATCH])
        bank_ms = ms(lambda: [bundle.tags(features[at : at + BATCH]) for at in range(0, count, BATCH)])
    decode_ms = ms(lambda: [np.asarray(decode_photo(one, size, short_side, 10**9, how).picture) for one in data])
    batches = [pixels[at : at + BATCH] for at in range(0, count, BATCH)]
    network_ms = ms(lambda: [network.features(batch) for batch in batches])
    results.put(Stages(decode_ms, network_ms, bank_ms))
