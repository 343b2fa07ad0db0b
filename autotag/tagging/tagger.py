"""Tagger: computes the tags of photos. Bolt, command line and backfill all use it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from autotag.photos.reader import PhotoError, PhotoPixels, PhotoReader
from autotag.photos.source import EVENT_SOURCE, PhotoSource
from autotag.settings import Settings
from autotag.view.results import ModelVersion
from autotag.view.tag_order import top_tags
from models.bundle import Bundle, Tag
from models.network import FeatureNetwork
from models.pixels import Colour, pixel_facts
from models.probe import probe_pixels

Value = TypeVar("Value")


class PhotoTags(tuple[Tag, ...]):
    """The tags of a photo, best first."""

    colours: tuple[Colour, ...]
    """The dominant colours, the largest share first."""
    partial: bool
    """True if the photo is damaged, and some of it may be missing."""

    def __new__(cls, tags: Iterable[Tag], partial: bool, colours: tuple[Colour, ...] = ()) -> Self:
        made = super().__new__(cls, tags)
        made.partial = partial
        made.colours = colours
        return made


class FeatureExtractor:
    """A loaded network and a reader of photos for it, shared by all bundles with this network."""

    def __init__(self, bundle: Bundle, settings: Settings, source: PhotoSource = EVENT_SOURCE) -> None:
        self.network = FeatureNetwork.open(bundle.network_path, bundle.precision, settings.tagger_network_threads)
        # Computed here, while no other thread uses the network. It also warms the network up for the first photo.
        self.probe = self.network.features(probe_pixels(bundle.preprocessing.size))
        """The network's features of the probe, float32 [8, d]."""
        self.reader = PhotoReader(settings, bundle.preprocessing, source)


class Tagger:
    """A loaded bundle and a reader of photos for it; a context manager. Closed when its model is replaced."""

    def __init__(self, bundle: Bundle, extractor: FeatureExtractor, settings: Settings) -> None:
        self.bundle = bundle
        self.model = ModelVersion.of(bundle)
        self.extractor = extractor
        self._settings = settings

    @classmethod
    def open(cls, settings: Settings, source: PhotoSource = EVENT_SOURCE) -> Tagger:
        """Load the bundle that `settings` name; about a second.

        Args:
            source: the places that photos may be read from.

        Raises:
            ModelError: there is no such bundle, it is damaged, or its network computes other features on this machine.
                The message names the file.
        """
        return cls.load(Bundle.open(settings.path(settings.model)), settings, source)

    @classmethod
    def load(
        cls,
        bundle: Bundle,
        settings: Settings,
        source: PhotoSource = EVENT_SOURCE,
        *,
        beside: Tagger | None = None,
    ) -> Tagger:
        """Load an opened bundle and check it on this machine.

        Limits numpy's BLAS to `tagger_network_threads` in the whole process: the processes of a host share its cores.

        Args:
            source: the places that photos may be read from.
            beside: another Tagger, which may be in use. If its network is the same, this one shares its extractor.

        Raises:
            ModelError: as from `open`.
        """
        threadpool_limits(settings.tagger_network_threads, user_api="blas")
        if beside and beside.bundle.network_key == bundle.network_key:
            extractor = beside.extractor
        else:
            extractor = FeatureExtractor(bundle, settings, source)
        bundle.use_bf16(settings.tagger_network_threads)
        bundle.self_check(extractor.probe)
        extractor.reader.start()
        return cls(bundle, extractor, settings)

    def read(self, uri: str) -> PhotoPixels:
        """Fetch and decode one photo, at the network's size. Safe for many threads.

        Raises:
            PhotoError: it gives no pixels; `reason` says why, `transient` is True if a later try may succeed.
        """
        return self.extractor.reader.read(uri)

    def score(
        self, photos: Sequence[PhotoPixels], top: int | None = None, min_score: float | None = None
    ) -> list[PhotoTags]:
        """Return the tags of each photo that `read` gave, best first. One caller at a time.

        Args:
            photos: one or more.
            top: keep this many of the most specific tags, and the tags that contain them; see view/tag_order.py.
            min_score: replaces the classes' own thresholds.
        """
        pixels = np.stack([photo.pixels for photo in photos])
        # Before the network, which moves the pixels out of the CPU's cache: a third of the time.
        facts = pixel_facts(pixels, [(photo.width, photo.height) for photo in photos])
        features = self.extractor.network.features(pixels)
        scored: Sequence[Sequence[Tag]] = self.bundle.tags(features, min_score, [one.scores for one in facts])
        if top is not None:
            scored = [top_tags(tags, self.bundle.classes.ancestors, top) for tags in scored]
        return [
            PhotoTags(tags, photo.partial, one.colours) for tags, one, photo in zip(scored, facts, photos, strict=True)
        ]

    def tag(
        self,
        uris: Iterable[str],
        top: int | None = None,
        min_score: float | None = None,
        read: Callable[[str], PhotoPixels] | None = None,
    ) -> Iterator[tuple[str, PhotoTags | PhotoError]]:
        """Yield the tags of each photo, or the error that prevents them, in the order of `uris`.

        Photos are read ahead. `uris` may be endless: at most a few batches are taken ahead of the results.

        Args:
            top: as for `score`.
            min_score: as for `score`.
            read: replaces the method `read`; called by several threads at once.
        """

        return self._each(uris, read or self.read, lambda photos: self.score(photos, top, min_score))

    def features(
        self, uris: Iterable[str], read: Callable[[str], PhotoPixels] | None = None
    ) -> Iterator[tuple[str, NDArray[np.float32] | PhotoError]]:
        """Yield the network's features of each photo, float32 [d], or the error that prevents them; otherwise as `tag`.

        Args:
            read: as for `tag`.
        """

        def compute(photos: Sequence[PhotoPixels]) -> list[NDArray[np.float32]]:
            return list(self.extractor.network.features(np.stack([photo.pixels for photo in photos])))

        return self._each(uris, read or self.read, compute)

    def _each(
        self,
        uris: Iterable[str],
        read: Callable[[str], PhotoPixels],
        compute: Callable[[Sequence[PhotoPixels]], Sequence[Value]],
    ) -> Iterator[tuple[str, Value | PhotoError]]:
        """Yield the values computed from each photo's pixels, in batches, while later photos are read."""
        ahead = self._settings.photo_fetch_threads + 2 * self._settings.tagger_batch_photos
        reads: deque[tuple[str, Future[PhotoPixels]]] = deque()
        pool = ThreadPoolExecutor(self._settings.photo_fetch_threads, thread_name_prefix="read")
        try:
            for uri in uris:
                reads.append((uri, pool.submit(read, uri)))
                if len(reads) >= ahead:
                    yield from self._computed(reads, compute)
            while reads:
                yield from self._computed(reads, compute)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _computed(
        self,
        reads: deque[tuple[str, Future[PhotoPixels]]],
        compute: Callable[[Sequence[PhotoPixels]], Sequence[Value]],
    ) -> Iterator[tuple[str, Value | PhotoError]]:
        """Take the oldest photo and those after it that are already read, up to a batch, and compute them together."""
        batch: list[tuple[str, PhotoPixels | PhotoError]] = []
        while reads and len(batch) < self._settings.tagger_batch_photos and (not batch or reads[0][1].done()):
            uri, photo = reads.popleft()
            try:
                batch.append((uri, photo.result()))
            except PhotoError as error:
                batch.append((uri, error))
        good = [photo for _, photo in batch if not isinstance(photo, PhotoError)]
        computed = iter(compute(good) if good else ())
        for uri, read in batch:
            yield uri, read if isinstance(read, PhotoError) else next(computed)

    def close(self) -> None:
        """End the decoding processes, also for the Taggers that share them."""
        self.extractor.reader.close()

    def __enter__(self) -> Tagger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
