"""Tagger: photos to tags. The one place that joins photos, network and bank; bolt, command line and backfill use it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from autotag.fetching import Fetch
from autotag.photos import PhotoError, PhotoReader
from autotag.results import ModelVersion
from autotag.settings import Settings
from models.bundle import Bundle, Tag
from models.network import FeatureNetwork


class Tagger:
    """A loaded bundle and the means to read photos for it; a context manager. Made once, used for a process's life."""

    def __init__(self, bundle: Bundle, network: FeatureNetwork, reader: PhotoReader, settings: Settings) -> None:
        self.bundle = bundle
        self.model = ModelVersion.of(bundle)
        self._network = network
        self._reader = reader
        self._settings = settings

    @classmethod
    def open(cls, settings: Settings, *, any_file: bool = False, other_schemes: Fetch | None = None) -> Tagger:
        """Load the bundle that `settings` name; about a second.

        Limits numpy's BLAS to `network_threads` in this whole process: the processes of a host share its cores.

        Args:
            any_file: read any file, not only those below `photo_roots`: for a person who names the files.
            other_schemes: what fetches URIs that are not file, http or https; without it they are refused.

        Raises:
            ModelError: there is no such bundle, or it is damaged; the message names the file.
        """
        bundle = Bundle.open(settings.path(settings.model))
        network = FeatureNetwork.open(bundle.network_path, bundle.precision, settings.network_threads)
        threadpool_limits(settings.network_threads, user_api="blas")
        reader = PhotoReader(settings, bundle.preprocessing, any_file=any_file, other_schemes=other_schemes)
        tagger = cls(bundle, network, reader, settings)
        size = bundle.preprocessing.size
        tagger._reader.start()
        tagger.score(np.zeros((1, size, size, 3), np.uint8))  # whatever is done once, is done before the first photo
        return tagger

    def read(self, uri: str) -> NDArray[np.uint8]:
        """Fetch and decode one photo: uint8 [s, s, 3], RGB, at the network's size. Safe for many threads.

        Raises:
            PhotoError: it gives no pixels; `reason` says why, `transient` whether it may work later.
        """
        return self._reader.read(uri)

    def score(
        self, pixels: NDArray[np.uint8], top: int | None = None, min_score: float | None = None
    ) -> list[tuple[Tag, ...]]:
        """The tags of each photo, best first. One caller at a time.

        Args:
            pixels: uint8 [n, s, s, 3], as `read` gives them.
            top: the best so many only.
            min_score: instead of the classes' own thresholds.
        """
        features = self._network.features(pixels)
        return [tuple(tags) for tags in self.bundle.tags(features, top=top, min_score=min_score)]

    def tag(
        self, uris: Iterable[str], top: int | None = None, min_score: float | None = None
    ) -> Iterator[tuple[str, tuple[Tag, ...] | PhotoError]]:
        """The tags of each photo, or why there are none, in the order of `uris`; photos are read ahead.

        `uris` may be endless: at most a few batches are taken beyond what was yielded.
        """
        ahead = self._settings.fetch_threads + 2 * self._settings.batch_photos
        reads: deque[tuple[str, Future[NDArray[np.uint8]]]] = deque()
        pool = ThreadPoolExecutor(self._settings.fetch_threads, thread_name_prefix="read")
        try:
            for uri in uris:
                reads.append((uri, pool.submit(self.read, uri)))
                if len(reads) >= ahead:
                    yield from self._score_reads(reads, top, min_score)
            while reads:
                yield from self._score_reads(reads, top, min_score)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _score_reads(
        self, reads: deque[tuple[str, Future[NDArray[np.uint8]]]], top: int | None, min_score: float | None
    ) -> Iterator[tuple[str, tuple[Tag, ...] | PhotoError]]:
        """Take the oldest read and whatever is read behind it, up to the batch limit, and score it at once."""
        batch: list[tuple[str, NDArray[np.uint8] | PhotoError]] = []
        while reads and len(batch) < self._settings.batch_photos and (not batch or reads[0][1].done()):
            uri, read = reads.popleft()
            try:
                batch.append((uri, read.result()))
            except PhotoError as error:
                batch.append((uri, error))
        good = [pixels for _, pixels in batch if not isinstance(pixels, PhotoError)]
        scored = iter(self.score(np.stack(good), top, min_score)) if good else iter(())
        for uri, pixels in batch:
            yield uri, pixels if isinstance(pixels, PhotoError) else next(scored)

    def close(self) -> None:
        """End the decoding processes."""
        self._reader.close()

    def __enter__(self) -> Tagger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
